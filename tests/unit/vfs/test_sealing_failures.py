"""Sealing goes on where the store is away or damaged, and nobody waits for it for ever."""

import os

import pytest

from cryptdrive.errors import Unavailable
from cryptdrive.store.faults import Fault, FaultyStore
from cryptdrive.store.memory import MemoryStore
from cryptdrive.types import InodeNumber
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.values import Caller, SetAttr
from tests.model.clock import ManualClock
from tests.support.vault import SmallVault

ROOT = Caller()
# Short enough to be sealed again with what follows, long enough to make the data pack the larger one.
FIRST, SECOND = b"first" * 2800, b"second" * 200


class AwayStore(FaultyStore):
    """``away`` makes every get fail."""

    def __init__(self) -> None:
        self.away = False
        super().__init__(MemoryStore(), lambda operation, name: self._fault(operation))

    def _fault(self, operation: str) -> Fault | None:
        return Fault.BEFORE if self.away and operation == "get" else None


@pytest.fixture
def store() -> AwayStore:
    return AwayStore()


@pytest.fixture
def vault(store: AwayStore) -> SmallVault:
    return SmallVault(store, ManualClock())


def _file_of_two_parts(fs: FileSystem, vault: SmallVault, offset: int = len(FIRST)) -> InodeNumber:
    """A file whose first part is on the store only, and whose second, from ``offset`` on, in memory only."""
    assert vault.storage is not None
    vault.storage.outbox.kept_bytes_max = 0  # the tree is on the store only, too
    handle, attr = fs.create(fs.root, b"file", 0o644, os.O_RDWR, ROOT)
    fs.write(handle, 0, FIRST)
    fs.sync()
    vault.drop_caches(fs)
    fs.getattr(attr.inode)
    fs.write(handle, offset, SECOND)
    return attr.inode


def _content(fs: FileSystem, inode: InodeNumber) -> bytes:
    handle = fs.open(inode, os.O_RDONLY, ROOT)
    try:
        return fs.read(handle, 0, 100_000)
    finally:
        fs.close(handle)


def test_what_is_appended_is_saved_though_what_is_before_it_is_lost(
    store: AwayStore, vault: SmallVault
) -> None:
    fs = vault.open()
    inode = _file_of_two_parts(fs, vault)
    inner = store.inner
    assert isinstance(inner, MemoryStore)
    data_pack = max(inner.objects, key=lambda name: len(inner.objects[name]))
    assert fs.read(fs.open(inode, os.O_RDONLY, ROOT), len(FIRST), 100_000) == SECOND
    vault.drop_caches(fs)
    fs.readdir(fs.opendir(fs.root))
    inner.delete(data_pack)
    fs.sync()
    reopened = vault.open()
    handle = reopened.open(inode, os.O_RDONLY, ROOT)
    assert reopened.read(handle, len(FIRST), 100_000) == SECOND


@pytest.mark.timeout(20)
def test_who_needs_a_sealing_that_failed_is_told_instead_of_waiting(
    store: AwayStore, vault: SmallVault
) -> None:
    fs = vault.open()
    inode = _file_of_two_parts(fs, vault, len(FIRST) - 1)
    vault.drop_caches(fs)
    store.away = True
    with pytest.raises(Unavailable):
        fs.sealer.seal_oldest()
    with pytest.raises(Unavailable):
        fs.setattr(inode, SetAttr(size=3), ROOT)
    with pytest.raises(Unavailable):
        fs.clone(inode, fs.root, b"copy", False, ROOT)
    store.away = False
    fs.setattr(inode, SetAttr(size=3), ROOT)
    assert _content(fs, inode) == FIRST[:3]
    fs.sync()
    assert _content(vault.open(), inode) == FIRST[:3]
