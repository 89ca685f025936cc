"""What is left of an inode that has no name, and for how long."""

import pytest

from cryptdrive.errors import NotFound, Stale
from cryptdrive.store.memory import MemoryStore
from cryptdrive.vfs.values import Caller, XattrFlags
from tests.model.clock import ManualClock
from tests.support.vault import SmallVault

ROOT = Caller()


def test_a_removed_tree_that_is_open_keeps_its_attributes_until_it_is_closed() -> None:
    fs = SmallVault(MemoryStore(), ManualClock()).open()
    inode = fs.mkdir(fs.root, b"directory", 0o755, ROOT).inode
    child = fs.mkdir(inode, b"child", 0o755, ROOT).inode
    fs.setxattr(inode, b"user.name", b"value", XattrFlags.NONE, ROOT)
    handle = fs.opendir(inode)
    fs.remove_tree(fs.root, b"directory", ROOT)
    while fs.purge_some():
        pass
    assert fs.readdir(handle) == []
    assert fs.getxattr(inode, b"user.name") == b"value"
    with pytest.raises(NotFound):
        fs.lookup(fs.root, b"directory")
    with pytest.raises(Stale):
        fs.getattr(child)
    fs.closedir(handle)
    while fs.purge_some():
        pass
    with pytest.raises(Stale):
        fs.getattr(inode)
