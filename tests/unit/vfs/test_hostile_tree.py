"""Trees that no honest device writes: typed errors, and always an end."""

import os

import pytest

from cryptdrive.clock import SystemClock
from cryptdrive.errors import CryptdriveError, Integrity, NoSpace
from cryptdrive.schema.counters import COUNTER_MAX
from cryptdrive.schema.keys import dirent_key, extent_key
from cryptdrive.schema.records import Extent, encode_dirent, encode_extent
from cryptdrive.store.memory import MemoryStore
from cryptdrive.types import ROOT_INODE, InodeNumber
from cryptdrive.vfs.core import Transaction
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.values import Caller, RenameFlags, SetAttr
from tests.support.vault import SmallVault

CALLER = Caller()


@pytest.fixture
def fs() -> FileSystem:
    return SmallVault(MemoryStore(), SystemClock()).open()


def plant(fs: FileSystem, directory: InodeNumber, name: bytes, inode: InodeNumber, mode: int) -> None:
    """What only somebody with the vault's keys can do."""

    def operation(transaction: Transaction) -> None:
        transaction.put(dirent_key(directory, name), encode_dirent(inode, mode))

    fs.core.transact(operation)


@pytest.mark.timeout(20)
def test_a_directory_that_contains_itself(fs: FileSystem) -> None:
    outer = fs.mkdir(ROOT_INODE, b"outer", 0o755, CALLER)
    inner = fs.mkdir(outer.inode, b"inner", 0o755, CALLER)
    plant(fs, inner.inode, b"again", outer.inode, outer.mode)
    assert fs.resolve(b"/outer/inner/again/inner").inode == inner.inode
    with pytest.raises(Integrity):
        fs.clone(outer.inode, ROOT_INODE, b"copy", False, CALLER)
    fs.remove_tree(ROOT_INODE, b"outer", CALLER)
    for _ in range(100):
        if not fs.purge_some():
            break
    else:
        raise AssertionError("removing a loop never ends")
    fs.sync()
    assert [entry.name for entry in fs.readdir(fs.opendir(ROOT_INODE))] == []


@pytest.mark.timeout(20)
def test_parents_in_a_circle(fs: FileSystem) -> None:
    first = fs.mkdir(ROOT_INODE, b"first", 0o755, CALLER)
    second = fs.mkdir(first.inode, b"second", 0o755, CALLER)
    third = fs.mkdir(ROOT_INODE, b"third", 0o755, CALLER)

    def operation(transaction: Transaction) -> None:
        transaction.edit(first.inode).parent = second.inode

    fs.core.transact(operation)
    with pytest.raises(CryptdriveError):
        fs.rename(ROOT_INODE, b"third", second.inode, b"moved", RenameFlags.NONE, CALLER)
    with pytest.raises(CryptdriveError):
        fs.clone(third.inode, second.inode, b"copy", False, CALLER)


@pytest.mark.parametrize("name", [b"a/b", b"..", b".", b"nul\0"])
def test_names_that_no_file_can_have(fs: FileSystem, name: bytes) -> None:
    plant(fs, ROOT_INODE, name, ROOT_INODE, 0o040755)
    with pytest.raises(Integrity):
        fs.readdir(fs.opendir(ROOT_INODE))


def plant_extents(fs: FileSystem, inode: InodeNumber, extents: list[Extent]) -> None:
    def operation(transaction: Transaction) -> None:
        edited = transaction.edit(inode)
        edited.allocated = sum(each.length for each in extents)
        edited.size = max(each.end for each in extents)
        for each in extents:
            transaction.put(extent_key(inode, each.offset), encode_extent(each))

    fs.core.transact(operation)


def test_extents_that_overlap(fs: FileSystem) -> None:
    handle, attr = fs.create(ROOT_INODE, b"file", 0o644, os.O_RDWR, CALLER)
    plant_extents(fs, attr.inode, [Extent(0, 10, None, 0, b"a" * 10), Extent(5, 10, None, 0, b"b" * 10)])
    with pytest.raises(Integrity):
        fs.read(handle, 0, 15)
    with pytest.raises(Integrity):
        fs.setattr(attr.inode, SetAttr(size=3), CALLER)
    fs.close(handle)
    fs.unlink(ROOT_INODE, b"file", CALLER)
    while fs.purge_some():
        pass
    fs.sync()


def test_damage_in_what_was_removed_keeps_nothing_else_from_being_freed(fs: FileSystem) -> None:
    inodes = []
    for name in (b"first", b"second", b"third"):
        handle, attr = fs.create(ROOT_INODE, name, 0o644, os.O_RDWR, CALLER)
        fs.write(handle, 0, b"x" * 100)
        fs.close(handle)
        inodes.append(attr.inode)
    fs.sync()
    broken = extent_key(inodes[1], 7)
    fs.core.transact(lambda transaction: transaction.put(broken, b"junk"))
    for name in (b"first", b"second", b"third"):
        fs.unlink(ROOT_INODE, name, CALLER)
    while fs.purge_some():
        pass
    fs.sync()
    assert fs.statfs().inodes == 2  # the root and what is damaged
    assert list(fs.core.orphans) == [inodes[1]]


def test_numbers_at_their_end(fs: FileSystem) -> None:
    """Whatever a member has written into this device's record, it publishes nothing that no reader takes."""
    counters = fs.core.counters
    counters.next_inode = COUNTER_MAX - 1
    last = fs.mkdir(ROOT_INODE, b"last", 0o755, CALLER)
    with pytest.raises(NoSpace):
        fs.mkdir(ROOT_INODE, b"one too many", 0o755, CALLER)
    fs.sync()
    assert fs.lookup(ROOT_INODE, b"last").inode == last.inode

    def operation(transaction: Transaction) -> None:
        transaction.edit(last.inode).nlink = -1

    with pytest.raises(Integrity):
        fs.core.transact(operation)


def test_an_entry_that_leads_nowhere(fs: FileSystem) -> None:
    plant(fs, ROOT_INODE, b"ghost", InodeNumber(1 << 50), 0o100644)
    fs.mkdir(ROOT_INODE, b"real", 0o755, CALLER)
    with pytest.raises(CryptdriveError):
        fs.lookup(ROOT_INODE, b"ghost")
    assert [entry.name for entry in fs.readdir(fs.opendir(ROOT_INODE))] == [b"real"]
