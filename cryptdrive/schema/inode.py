"""The inode record (docs/format.md §9.1)."""

import stat
import struct

from cryptdrive.errors import Integrity
from cryptdrive.objects.ref import REF_BYTES, PackedRef, Ref
from cryptdrive.types import InodeNumber

FILE_BYTES_MAX = (1 << 63) - 1
LINKS_MAX = 1_000_000
LINK_TARGET_BYTES_MAX = 4095
LINK_TARGET_INLINE_MAX = 512

HAS_XATTRS = 1

_VERSION = 1
_NO_TARGET, _INLINE_TARGET, _BLOB_TARGET = 0, 1, 2

_record = struct.Struct(">BBHIIIIQQQqqqqQQ")
_pack = _record.pack
_unpack = _record.unpack_from
_SIZE = _record.size

_TYPES = frozenset(
    (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK)
)


class Inode:
    """An inode's attributes, as :class:`cryptdrive.vfs.values.Attr` describes them, and what only we need.

    One that lies in a cache is never changed: :meth:`copy` it, change the copy, store that.
    Hand-written rather than a dataclass: creating a file makes three of these.
    """

    __slots__ = (
        "number", "mode", "uid", "gid", "nlink", "rdev", "size", "allocated",
        "atime_ns", "mtime_ns", "ctime_ns", "btime_ns", "change", "parent", "flags", "target", "attr",
    )  # fmt: skip

    number: InodeNumber
    mode: int
    uid: int
    gid: int
    nlink: int
    rdev: int
    size: int
    allocated: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    btime_ns: int
    change: int
    parent: InodeNumber
    """The directory that a directory lies in; 0 for anything else."""
    flags: int
    target: bytes | Ref | None
    """A symbolic link's target, or where its blob is."""
    attr: object
    """Room for a front-end value derived from this; not stored."""

    def copy(self) -> "Inode":
        new = Inode.__new__(Inode)
        new.number = self.number
        new.mode = self.mode
        new.uid = self.uid
        new.gid = self.gid
        new.nlink = self.nlink
        new.rdev = self.rdev
        new.size = self.size
        new.allocated = self.allocated
        new.atime_ns = self.atime_ns
        new.mtime_ns = self.mtime_ns
        new.ctime_ns = self.ctime_ns
        new.btime_ns = self.btime_ns
        new.change = self.change
        new.parent = self.parent
        new.flags = self.flags
        new.target = self.target
        new.attr = None
        return new

    @property
    def is_directory(self) -> bool:
        return self.mode & 0o170000 == 0o040000

    @property
    def is_regular(self) -> bool:
        return self.mode & 0o170000 == 0o100000

    @property
    def is_symlink(self) -> bool:
        return self.mode & 0o170000 == 0o120000


def new_inode(number: InodeNumber, mode: int, uid: int, gid: int, now_ns: int, change: int) -> Inode:
    """An inode that nothing names yet."""
    new = Inode.__new__(Inode)
    new.number = number
    new.mode = mode
    new.uid = uid
    new.gid = gid
    new.nlink = 0
    new.rdev = 0
    new.size = 0
    new.allocated = 0
    new.atime_ns = new.mtime_ns = new.ctime_ns = new.btime_ns = now_ns
    new.change = change
    new.parent = InodeNumber(0)
    new.flags = 0
    new.target = None
    new.attr = None
    return new


def encode_inode(inode: Inode) -> bytes:
    """Raises Integrity for what no field can hold: numbers came from a record that was wrong already."""
    target = inode.target
    if target is None:
        kind, tail = _NO_TARGET, b""
    elif isinstance(target, Ref):
        kind, tail = _BLOB_TARGET, target.encode()
    else:
        kind, tail = _INLINE_TARGET, target
    try:
        head = _pack(
            _VERSION, kind, inode.flags, inode.mode, inode.uid, inode.gid, inode.nlink,
            inode.rdev, inode.size, inode.allocated,
            inode.atime_ns, inode.mtime_ns, inode.ctime_ns, inode.btime_ns,
            inode.change, inode.parent,
        )  # fmt: skip
    except struct.error:
        raise Integrity(f"the record of inode {inode.number} would leave the format's limits") from None
    return head + tail


def decode_inode(number: InodeNumber, data: bytes) -> Inode:
    """Raises Integrity for anything that :func:`encode_inode` does not make."""
    if len(data) < _SIZE:
        raise Integrity("an inode record is cut short")
    inode = Inode.__new__(Inode)
    inode.number = number
    inode.attr = None
    (
        version, kind, inode.flags, inode.mode, inode.uid, inode.gid, inode.nlink,
        inode.rdev, inode.size, inode.allocated,
        inode.atime_ns, inode.mtime_ns, inode.ctime_ns, inode.btime_ns,
        inode.change, parent,
    ) = _unpack(data)  # fmt: skip
    inode.parent = InodeNumber(parent)
    if version != _VERSION or inode.mode & 0o170000 not in _TYPES or inode.mode > 0o177777:
        raise Integrity("an inode record has an unknown version or type")
    if (
        max(inode.size, inode.allocated) > FILE_BYTES_MAX
        or inode.nlink > LINKS_MAX
        or inode.flags > HAS_XATTRS
    ):
        raise Integrity("an inode record is out of the format's limits")
    inode.target = _decode_target(inode, kind, data[_SIZE:])
    return inode


def blob_target(data: bytes) -> PackedRef | None:
    """The blob of a symbolic link's target in an inode's record; None for any other record."""
    return PackedRef(data[_SIZE:]) if data[1] == _BLOB_TARGET else None


def _decode_target(inode: Inode, kind: int, tail: bytes) -> bytes | Ref | None:
    if not inode.is_symlink:
        if kind != _NO_TARGET or tail:
            raise Integrity("an inode record has a tail that its type does not take")
        return None
    if kind == _INLINE_TARGET and 1 <= len(tail) <= LINK_TARGET_INLINE_MAX and len(tail) == inode.size:
        return tail
    if kind == _BLOB_TARGET and len(tail) == REF_BYTES:
        ref = Ref.decode(tail)
        if LINK_TARGET_INLINE_MAX < ref.length == inode.size <= LINK_TARGET_BYTES_MAX:
            return ref
    raise Integrity("a symbolic link's record has a wrong target")
