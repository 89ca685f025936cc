"""The values of the file system as pyfuse3's, with what the mount options change in them."""

import stat

import pyfuse3

from cryptdrive.fuse.options import MountOptions
from cryptdrive.types import InodeNumber
from cryptdrive.vfs.values import Attr, Caller, FileSystemStatistics, SetAttr

CACHE_SECONDS = 300.0
"""How long the kernel may keep names (those that are missing too) and attributes. Its own changes it
knows; all others are taken out of its caches by the invalidation thread."""

PREFERRED_IO_BYTES = 65536
"""``st_blksize``: programs that buffer by it then write whole segments, not 4 KiB at a time."""

STATFS_BLOCK_BYTES = 4096
SECTOR_BYTES = 512
FREE_INODES = 1 << 40
"""Inode numbers of one device never run out; ``df -i`` wants a number."""


def caller_of(context: pyfuse3.RequestContext) -> Caller:
    """Who asks, marked as coming through this front end."""
    return Caller(context.uid, context.gid, "fuse")


class Presentation:
    """Shows attributes as the mount options want them."""

    def __init__(self, options: MountOptions) -> None:
        self._uid = options.uid
        self._gid = options.gid
        self._umask = options.umask or 0

    def attributes(self, attr: Attr) -> pyfuse3.EntryAttributes:
        """``attr`` in the kernel's words."""
        shown = pyfuse3.EntryAttributes()
        shown.st_ino = attr.inode
        shown.entry_timeout = CACHE_SECONDS
        shown.attr_timeout = CACHE_SECONDS
        shown.st_mode = attr.mode if stat.S_ISLNK(attr.mode) else attr.mode & ~self._umask
        shown.st_nlink = attr.nlink
        shown.st_uid = attr.uid if self._uid is None else self._uid
        shown.st_gid = attr.gid if self._gid is None else self._gid
        shown.st_rdev = attr.rdev
        shown.st_size = attr.size
        shown.st_blocks = -(-attr.allocated // SECTOR_BYTES)
        shown.st_blksize = PREFERRED_IO_BYTES
        shown.st_atime_ns = attr.atime_ns
        shown.st_mtime_ns = attr.mtime_ns
        shown.st_ctime_ns = attr.ctime_ns
        return shown


def missing_entry() -> pyfuse3.EntryAttributes:
    """The answer "there is no such name", which the kernel may keep."""
    shown = pyfuse3.EntryAttributes()
    shown.st_ino = InodeNumber(0)
    shown.entry_timeout = CACHE_SECONDS
    return shown


def changes_of(attr: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields) -> SetAttr:
    """What a setattr request wants changed. The kernel alone keeps ctime's rules with the file system."""
    return SetAttr(
        mode=stat.S_IMODE(attr.st_mode) if fields.update_mode else None,
        uid=attr.st_uid if fields.update_uid else None,
        gid=attr.st_gid if fields.update_gid else None,
        size=attr.st_size if fields.update_size else None,
        atime_ns=attr.st_atime_ns if fields.update_atime else None,
        mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
    )


def statistics(figures: FileSystemStatistics) -> pyfuse3.StatvfsData:
    """``figures`` in blocks."""
    shown = pyfuse3.StatvfsData()
    shown.f_bsize = shown.f_frsize = STATFS_BLOCK_BYTES
    shown.f_blocks = figures.total_bytes // STATFS_BLOCK_BYTES
    shown.f_bfree = figures.free_bytes // STATFS_BLOCK_BYTES
    shown.f_bavail = figures.available_bytes // STATFS_BLOCK_BYTES
    shown.f_files = figures.inodes + FREE_INODES
    shown.f_ffree = shown.f_favail = FREE_INODES
    shown.f_namemax = figures.name_length_max
    return shown
