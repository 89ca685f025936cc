"""Directory entries, extents, extended attributes and the vault's own records (docs/format.md §9)."""

import struct
from typing import NamedTuple

from cryptdrive.errors import Integrity
from cryptdrive.objects.ref import REF_BYTES, PackedRef, Ref
from cryptdrive.types import InodeNumber

EXTENT_INLINE_MAX = 512
"""Bytes of file data that lie in the extent record itself."""
XATTR_INLINE_MAX = 1024
XATTR_VALUE_BYTES_MAX = 65536

_TOTAL_MAX = 2**64 - 1

_VERSION = 1
_INLINE, _BLOB = 1, 2
RECORD_OF_BLOB = _BLOB
"""The first byte of an extent's or extended attribute's record that names a blob."""

_dirent = struct.Struct(">BBQ")
_extent = struct.Struct(">B60sII")
_usage = struct.Struct(">BQQ")
_device = struct.Struct(">BQQH")


class Dirent(NamedTuple):
    """What a name stands for; ``file_type`` is ``st_mode`` >> 12."""

    inode: InodeNumber
    file_type: int


def encode_dirent(inode: int, mode: int) -> bytes:
    return _dirent.pack(_VERSION, mode >> 12, inode)


def decode_dirent(data: bytes) -> Dirent:
    """Raises Integrity."""
    if len(data) != _dirent.size:
        raise Integrity("a directory entry has a wrong length")
    version, file_type, inode = _dirent.unpack(data)
    if version != _VERSION or file_type > 15 or inode == 0:
        raise Integrity("a directory entry is not valid")
    return Dirent(InodeNumber(inode), file_type)


class Extent(NamedTuple):
    """A run of a file's bytes: where it starts in the file, how long it is, where its bytes are.

    ``inline`` holds them, or ``ref`` names the blob and ``blob_offset`` the first of them in it.
    """

    offset: int
    length: int
    ref: PackedRef | None
    blob_offset: int
    inline: bytes

    @property
    def end(self) -> int:
        return self.offset + self.length

    def cut(self, start: int, stop: int) -> "Extent":
        """The part of it in the file's bytes ``[start, stop)``, which lie within it."""
        skip = start - self.offset
        if self.ref is None:
            return Extent(start, stop - start, None, 0, self.inline[skip : stop - self.offset])
        return Extent(start, stop - start, self.ref, self.blob_offset + skip, b"")


def encode_extent(extent: Extent) -> bytes:
    if extent.ref is None:
        return bytes((_INLINE,)) + extent.inline
    return _extent.pack(_BLOB, extent.ref, extent.blob_offset, extent.length)


def decode_extent(offset: int, data: bytes) -> Extent:
    """Raises Integrity."""
    if data[:1] == b"\x01" and 2 <= len(data) <= EXTENT_INLINE_MAX + 1:
        return Extent(offset, len(data) - 1, None, 0, data[1:])
    if data[:1] != b"\x02" or len(data) != _extent.size:
        raise Integrity("an extent record is not valid")
    _, ref, blob_offset, length = _extent.unpack(data)
    if length < 1 or blob_offset + length > Ref.decode(ref).length:
        raise Integrity("an extent reaches beyond its blob")
    return Extent(offset, length, PackedRef(ref), blob_offset, b"")


def encode_xattr(value: bytes | Ref) -> bytes:
    if isinstance(value, Ref):
        return bytes((_BLOB,)) + value.encode()
    return bytes((_INLINE,)) + value


def decode_xattr(data: bytes) -> bytes | Ref:
    """Raises Integrity."""
    if data[:1] == b"\x01" and len(data) <= XATTR_INLINE_MAX + 1:
        return data[1:]
    if data[:1] == b"\x02" and len(data) == REF_BYTES + 1:
        ref = Ref.decode(data[1:])
        if XATTR_INLINE_MAX < ref.length <= XATTR_VALUE_BYTES_MAX:
            return ref
    raise Integrity("an extended attribute's record is not valid")


class Usage(NamedTuple):
    """Totals of the vault: bytes that hold data, and inodes."""

    allocated: int
    inodes: int

    def bounded(self) -> "Usage":
        """Within what the record can hold: totals that a hostile member set too low must not go below 0."""
        return Usage(*(min(max(each, 0), _TOTAL_MAX) for each in self))


def encode_usage(usage: Usage) -> bytes:
    return _usage.pack(_VERSION, usage.allocated, usage.inodes)


def decode_usage(data: bytes) -> Usage:
    """Raises Integrity."""
    if len(data) != _usage.size or data[0] != _VERSION:
        raise Integrity("the usage record is not valid")
    return Usage(*_usage.unpack(data)[1:])


class DeviceRecord(NamedTuple):
    """A device, and from where on its inode and change counters are free."""

    next_inode: int
    next_change: int
    certificate: bytes


def encode_device(device: DeviceRecord) -> bytes:
    return (
        _device.pack(_VERSION, device.next_inode, device.next_change, len(device.certificate))
        + device.certificate
    )


def decode_device(data: bytes) -> DeviceRecord:
    """Raises Integrity."""
    if len(data) < _device.size:
        raise Integrity("a device record is cut short")
    version, next_inode, next_change, length = _device.unpack_from(data)
    if version != _VERSION or len(data) != _device.size + length or max(next_inode, next_change) >> 40:
        raise Integrity("a device record is not valid")
    return DeviceRecord(next_inode, next_change, data[_device.size :])
