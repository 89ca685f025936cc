"""Attributes as the kernel sees them."""

import os
import stat
from dataclasses import replace

import pyfuse3
import pytest

from cryptdrive.fuse.encoding import CACHE_SECONDS, Presentation, changes_of, missing_entry, statistics
from cryptdrive.fuse.options import MountOptions
from cryptdrive.types import InodeNumber
from cryptdrive.vfs.values import Attr, FileSystemStatistics, SetAttr

ATTR = Attr(
    inode=InodeNumber((0xABCDEF << 40) | 77),
    mode=stat.S_IFREG | 0o6754,
    uid=1000,
    gid=2000,
    nlink=3,
    size=(1 << 63) - 1,
    allocated=513,
    rdev=0,
    atime_ns=1_700_000_000_000_000_001,
    mtime_ns=-1,
    ctime_ns=(1 << 33) * 1_000_000_000 + 999_999_999,
    btime_ns=0,
    change=5,
)


def test_every_field() -> None:
    shown = Presentation(MountOptions()).attributes(ATTR)
    assert shown.st_ino == ATTR.inode
    assert shown.st_mode == ATTR.mode
    assert (shown.st_uid, shown.st_gid, shown.st_nlink) == (1000, 2000, 3)
    assert shown.st_size == ATTR.size
    assert shown.st_blocks == 2
    assert shown.st_atime_ns == ATTR.atime_ns
    assert shown.st_mtime_ns == -1
    assert shown.st_ctime_ns == ATTR.ctime_ns
    assert shown.entry_timeout == shown.attr_timeout == CACHE_SECONDS


def test_devices() -> None:
    attr = replace(ATTR, mode=stat.S_IFBLK | 0o600, rdev=os.makedev(259, 70000))
    assert Presentation(MountOptions()).attributes(attr).st_rdev == os.makedev(259, 70000)


@pytest.mark.parametrize("kind", [stat.S_IFREG, stat.S_IFDIR])
def test_what_the_options_change(kind: int) -> None:
    presentation = Presentation(MountOptions(uid=0, gid=5, umask=0o027))
    shown = presentation.attributes(replace(ATTR, mode=kind | 0o777))
    assert (shown.st_uid, shown.st_gid) == (0, 5)
    assert shown.st_mode == kind | 0o750


def test_the_mode_of_a_symbolic_link_stays() -> None:
    shown = Presentation(MountOptions(umask=0o077)).attributes(replace(ATTR, mode=stat.S_IFLNK | 0o777))
    assert shown.st_mode == stat.S_IFLNK | 0o777


def test_a_missing_name_may_be_kept() -> None:
    assert missing_entry().st_ino == 0
    assert missing_entry().entry_timeout == CACHE_SECONDS


class Fields:
    """As SetattrFields, which cannot be filled from Python."""

    def __init__(self, *wanted: str) -> None:
        for name in ("atime", "mtime", "ctime", "mode", "uid", "gid", "size"):
            setattr(self, f"update_{name}", name in wanted)


def changed(*wanted: str) -> SetAttr:
    attr = pyfuse3.EntryAttributes()
    attr.st_mode = stat.S_IFREG | 0o4711
    attr.st_uid, attr.st_gid, attr.st_size = 8, 9, 1 << 40
    attr.st_atime_ns, attr.st_mtime_ns, attr.st_ctime_ns = 11, 12, 13
    return changes_of(attr, Fields(*wanted))  # type: ignore[arg-type]


def test_changes() -> None:
    assert changed() == SetAttr()
    assert changed("ctime") == SetAttr()
    assert changed("mode") == SetAttr(mode=0o4711)
    assert changed("uid", "gid") == SetAttr(uid=8, gid=9)
    assert changed("size") == SetAttr(size=1 << 40)
    assert changed("atime", "mtime") == SetAttr(atime_ns=11, mtime_ns=12)


def test_statistics() -> None:
    shown = statistics(FileSystemStatistics(1 << 50, 1 << 49, 1 << 48, 1 << 49, 12, 255))
    assert shown.f_blocks * shown.f_frsize == 1 << 50
    assert (shown.f_bfree, shown.f_bavail) == ((1 << 49) // 4096, (1 << 48) // 4096)
    assert shown.f_files - shown.f_ffree == 12
    assert shown.f_namemax == 255
