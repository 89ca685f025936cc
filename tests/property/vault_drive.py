"""The real file system over a store in memory, as the comparison with the model drives it."""

from cryptdrive.config import DriveSettings
from cryptdrive.store.memory import MemoryStore
from cryptdrive.types import ObjectName
from tests.model.clock import ManualClock
from tests.property.audit import audit
from tests.support.vault import SmallVault


class WriteOnceStore(MemoryStore):
    """Nothing in a store is ever overwritten."""

    def put(self, name: ObjectName, data: bytes | bytearray | memoryview, *, exclusive: bool = False) -> None:
        assert name not in self.objects, "an object would be overwritten"
        super().put(name, data, exclusive=exclusive)


class VaultDrive:
    """A small vault, opened."""

    def __init__(self, clock: ManualClock, limits: DriveSettings | None = None) -> None:
        self.vault = SmallVault(WriteOnceStore(), clock, limits or DriveSettings())
        self.fs = self.vault.open()

    def seal(self) -> None:
        self.fs.sealer.seal_oldest()

    def publish(self) -> None:
        self.fs.purge_some()
        self.fs.sync()

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

    def close(self) -> None:
        storage = self.vault.storage
        assert storage is not None
        storage.outbox.close()
