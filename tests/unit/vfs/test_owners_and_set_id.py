"""Who owns what was made, and when the privileges of a program go."""

import os
import stat

import pytest

from cryptdrive.store.memory import MemoryStore
from cryptdrive.types import InodeNumber
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.values import Caller, SetAttr
from tests.model.clock import ManualClock
from tests.support.vault import SmallVault

USER = Caller(1000, 1001)
ROOT = Caller()


@pytest.fixture
def fs() -> FileSystem:
    return SmallVault(MemoryStore(), ManualClock()).open()


def _shared_folder(fs: FileSystem) -> InodeNumber:
    """A set-group-id directory of group 7."""
    inode = fs.mkdir(fs.root, b"shared", 0o755, ROOT).inode
    fs.setattr(inode, SetAttr(mode=0o2775, gid=7), ROOT)
    return inode


def test_a_copied_tree_takes_the_group_of_the_directory_it_lies_in(fs: FileSystem) -> None:
    source = fs.mkdir(fs.root, b"source", 0o755, USER).inode
    inside = fs.mkdir(source, b"inside", 0o755, USER).inode
    fs.mknod(inside, b"file", 0o644, 0, USER)
    fs.clone(source, _shared_folder(fs), b"copy", False, USER)
    for path, mode in ((b"shared/copy", 0o2755), (b"shared/copy/inside", 0o2755)):
        attr = fs.resolve(path)
        assert (attr.gid, stat.S_IMODE(attr.mode)) == (7, mode)
    assert fs.resolve(b"shared/copy/inside/file").gid == 7


def test_an_upload_over_a_file_keeps_its_group_in_a_shared_directory(fs: FileSystem) -> None:
    shared = _shared_folder(fs)
    old = fs.mknod(shared, b"file", 0o644, 0, USER)
    fs.setattr(old.inode, SetAttr(uid=5, gid=6, mode=0o640), ROOT)
    new = fs.publish(fs.stage(0o600, USER), shared, b"file", True, USER)
    assert (new.uid, new.gid, stat.S_IMODE(new.mode)) == (5, 6, 0o640)


@pytest.mark.parametrize("kind", [stat.S_IFREG, stat.S_IFIFO])
def test_a_new_owner_takes_the_set_id_bits(fs: FileSystem, kind: int) -> None:
    attr = fs.mknod(fs.root, b"program", kind | 0o6755, 0, ROOT)
    after = fs.setattr(attr.inode, SetAttr(uid=5), ROOT)
    assert stat.S_IMODE(after.mode) == 0o755


@pytest.mark.parametrize(("caller", "mode"), [(USER, 0o755), (ROOT, 0o6755)])
def test_truncation_by_a_user_takes_the_set_id_bits(fs: FileSystem, caller: Caller, mode: int) -> None:
    for name in (b"first", b"second"):
        attr = fs.mknod(fs.root, name, 0o6755, 0, ROOT)
        if name == b"first":
            fs.setattr(attr.inode, SetAttr(size=0), caller)
        else:
            fs.close(fs.open(attr.inode, os.O_RDWR | os.O_TRUNC, caller))
        assert stat.S_IMODE(fs.getattr(attr.inode).mode) == mode
