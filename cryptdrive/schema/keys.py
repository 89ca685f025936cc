"""Keys of the map: (inode, kind, suffix), so that one inode's records lie together (docs/format.md §9)."""

import enum
import struct

from cryptdrive.errors import Integrity
from cryptdrive.types import InodeNumber

TAG_BITS = 24
COUNTER_BITS = 40
NAME_BYTES_MAX = 255
XATTR_NAME_BYTES_MAX = 255

VAULT_RECORDS = InodeNumber(0)
"""The inode number under which the vault's own records lie."""


class Kind(enum.IntEnum):
    """The record kinds of an inode, then those of the vault."""

    INODE = 1
    DIRENT = 2
    EXTENT = 3
    XATTR = 4
    USAGE = 16
    DEVICE = 17
    HISTORY = 18
    ORPHAN = 19


_prefix = struct.Struct(">QB").pack
_extent = struct.Struct(">QBQ")
_unpack_extent = _extent.unpack
_pack_extent = _extent.pack
_orphan = struct.Struct(">QBIQ")

PREFIX_BYTES = 9
USAGE_KEY = _prefix(VAULT_RECORDS, Kind.USAGE)

_INODE, _DIRENT, _EXTENT, _XATTR = int(Kind.INODE), int(Kind.DIRENT), int(Kind.EXTENT), int(Kind.XATTR)


def inode_key(inode: int) -> bytes:
    return _prefix(inode, _INODE)


def is_inode_key(key: bytes) -> bool:
    """Whether it is the key of an inode's own record."""
    return len(key) == PREFIX_BYTES and key[PREFIX_BYTES - 1] == _INODE


def dirent_key(directory: int, name: bytes) -> bytes:
    return _prefix(directory, _DIRENT) + name


def dirent_name(key: bytes) -> bytes:
    """The name in a directory entry's key.

    Raises Integrity: a hostile member may have written any name; one that holds ``/`` or NUL, or
    is ``.`` or ``..``, must never reach a kernel.
    """
    name = key[PREFIX_BYTES:]
    if not 1 <= len(name) <= NAME_BYTES_MAX or b"/" in name or b"\0" in name or name in (b".", b".."):
        raise Integrity("a directory holds a name that no file can have")
    return name


def dirent_range(directory: int) -> tuple[bytes, bytes]:
    """Where a directory's entries start, and where they end."""
    return _prefix(directory, _DIRENT), _prefix(directory, _DIRENT + 1)


def extent_key(inode: int, offset: int) -> bytes:
    return _pack_extent(inode, _EXTENT, offset)


def extent_offset(key: bytes) -> int:
    """The file offset in an extent's key. Raises Integrity."""
    if len(key) != _extent.size:
        raise Integrity("an extent's key has a wrong length")
    offset: int = _unpack_extent(key)[2]
    return offset


def extent_end(inode: int) -> bytes:
    """Where an inode's extents end."""
    return _prefix(inode, _EXTENT + 1)


def xattr_key(inode: int, name: bytes) -> bytes:
    return _prefix(inode, _XATTR) + name


def xattr_range(inode: int) -> tuple[bytes, bytes]:
    return _prefix(inode, _XATTR), _prefix(inode, _XATTR + 1)


def inode_range(inode: int) -> tuple[bytes, bytes]:
    """All records of an inode."""
    return _prefix(inode, 0), _prefix(inode + 1, 0)


def device_key(tag: int) -> bytes:
    return _prefix(VAULT_RECORDS, Kind.DEVICE) + tag.to_bytes(3, "big")


def device_range() -> tuple[bytes, bytes]:
    return _prefix(VAULT_RECORDS, Kind.DEVICE), _prefix(VAULT_RECORDS, Kind.DEVICE + 1)


def history_key(number: int, digest: bytes) -> bytes:
    return _prefix(VAULT_RECORDS, Kind.HISTORY) + number.to_bytes(8, "big") + digest


def orphan_key(tag: int, inode: int) -> bytes:
    return _orphan.pack(VAULT_RECORDS, Kind.ORPHAN, tag, inode)


def orphan_range(tag: int) -> tuple[bytes, bytes]:
    return _orphan.pack(VAULT_RECORDS, Kind.ORPHAN, tag, 0), _orphan.pack(
        VAULT_RECORDS, Kind.ORPHAN, tag + 1, 0
    )


def orphan_inode(key: bytes) -> InodeNumber:
    """Raises Integrity."""
    if len(key) != _orphan.size:
        raise Integrity("an orphan's key has a wrong length")
    return InodeNumber(_orphan.unpack(key)[3])
