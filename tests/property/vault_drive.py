"""The real file system over a store in memory, as the comparison with the model drives it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

from cryptdrive.config import DriveSettings
from cryptdrive.objects.pack import Role
from cryptdrive.objects.ref import Ref
from cryptdrive.store.faults import FaultPlan, FaultyStore
from cryptdrive.store.memory import MemoryStore
from cryptdrive.types import ObjectName
from cryptdrive.vfs.filesystem import FileSystem
from tests.model.clock import ManualClock
from tests.property.audit import audit
from tests.support.vault import ListedCommits, SmallVault


class WriteOnceStore(MemoryStore):
    """Nothing in a store is ever overwritten; what failed is put again, the same bytes."""

    def put(self, name: ObjectName, data: bytes | bytearray | memoryview, *, exclusive: bool = False) -> None:
        before = self.objects.get(name, b"")
        same = bytes(data).startswith(before) or before.startswith(bytes(data))
        assert same, "an object would be overwritten"
        super().put(name, data, exclusive=exclusive)


class VaultDrive:
    """A small vault, opened."""

    def __init__(self, clock: ManualClock, limits: DriveSettings | None = None) -> None:
        self.store = FaultyStore(WriteOnceStore(), lambda operation, name: None)
        self.vault = SmallVault(self.store, clock, limits or DriveSettings())
        self.fs = self.vault.open()

    def seal(self) -> None:
        self.fs.sealer.seal_oldest()

    def publish(self) -> None:
        self.fs.purge_some()
        self.fs.sync()
        self.audit_commit()

    def settle(self) -> None:
        while self.fs.purge_some():
            pass

    def drop_caches(self) -> None:
        self.vault.drop_caches(self.fs)

    def reopen(self) -> None:
        self.fs.sync()
        self.fs = self.vault.open()
        self.settle()
        self.fs.sync()
        audit(self.fs)

    @contextmanager
    def failing(self, plan: FaultPlan) -> Iterator[None]:
        """Until the end of the block the store fails as planned."""
        before, self.store.plan = self.store.plan, plan
        try:
            yield
        finally:
            self.store.plan = before

    @contextmanager
    def meanwhile(self, action: Callable[[], None]) -> Iterator[None]:
        """Until the end of the block ``action`` is called before and after bytes are sealed.

        It may not do what waits for the sealing to end.
        """
        storage = self.vault.storage
        assert storage is not None
        add = storage.appender.add
        inside = False

        def hooked(plaintext: bytes, role: Role, owner: int, position: int) -> Ref:
            nonlocal inside
            if inside:
                return add(plaintext, role, owner, position)
            inside = True
            try:
                action()
                ref = add(plaintext, role, owner, position)
                action()
            finally:
                inside = False
            return ref

        with mock.patch.object(storage.appender, "add", hooked):
            yield

    def audit_commit(self) -> None:
        """What the last commit shows is whole in itself, whatever is open here."""
        seen = self.last_commit()
        if seen is not None:
            audit(seen, orphans=True)

    def last_commit(self) -> FileSystem | None:
        """What somebody else would see now, who opens the vault only to read; None for an empty one."""
        roots = self.vault.commits.roots
        if not roots:
            return None
        commits = ListedCommits(roots[-1:])
        return SmallVault(self.store, self.vault.clock, DriveSettings(), commits, self.vault.sealer).open(
            read_only=True
        )

    def close(self) -> None:
        storage = self.vault.storage
        assert storage is not None
        storage.close()
