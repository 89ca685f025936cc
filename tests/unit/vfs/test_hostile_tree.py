"""Trees that no honest device writes: typed errors, and always an end."""

import pytest

from cryptdrive.clock import SystemClock
from cryptdrive.errors import CryptdriveError, Integrity
from cryptdrive.schema.keys import dirent_key
from cryptdrive.schema.records import encode_dirent
from cryptdrive.store.memory import MemoryStore
from cryptdrive.types import ROOT_INODE, InodeNumber
from cryptdrive.vfs.core import Transaction
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.values import Caller, RenameFlags
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


def test_an_entry_that_leads_nowhere(fs: FileSystem) -> None:
    plant(fs, ROOT_INODE, b"ghost", InodeNumber(1 << 50), 0o100644)
    fs.mkdir(ROOT_INODE, b"real", 0o755, CALLER)
    with pytest.raises(CryptdriveError):
        fs.lookup(ROOT_INODE, b"ghost")
    assert [entry.name for entry in fs.readdir(fs.opendir(ROOT_INODE))] == [b"real"]
