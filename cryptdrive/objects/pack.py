"""The bytes of a pack: header, index and footer (docs/format.md §7)."""

import enum
import struct
from dataclasses import dataclass
from typing import NamedTuple

from cryptdrive.crypto.sealing import BLOB_BYTES_MAX, FORMAT_VERSION, HASH_BYTES, sealed_length
from cryptdrive.errors import FormatTooNew, Integrity
from cryptdrive.types import Epoch, ObjectName, PackId

PACK_BYTES_MAX = 16 * 1024 * 1024
PACK_ENTRIES_MAX = 32768

_MAGIC = b"CDPK"
_header = struct.Struct(">4sB3xI16s4x")
_entry = struct.Struct(">B3xII32sQQ")
_footer = struct.Struct(">B3xIII32s")

HEADER_BYTES = _header.size
ENTRY_BYTES = _entry.size
FOOTER_BYTES = sealed_length(_footer.size)
TRAILER_BYTES = FOOTER_BYTES + HASH_BYTES


class PackKind(enum.IntEnum):
    """What all blobs of one pack are."""

    DATA = 1
    NODES = 2


class Role(enum.IntEnum):
    """What a blob is for, so that a vault without its tree can be salvaged."""

    FILE_DATA = 1
    NODE = 2
    XATTR = 3
    LINK_TARGET = 4


class IndexEntry(NamedTuple):
    """A blob as its pack's index lists it.

    ``owner`` is the inode it was written for (0 for a node), ``position`` the file offset of its
    first byte (the level for a node).
    """

    role: Role
    offset: int
    length: int
    hash: bytes
    owner: int
    position: int


@dataclass(frozen=True, slots=True)
class PackHeader:
    epoch: Epoch
    pack: PackId


@dataclass(frozen=True, slots=True)
class PackFooter:
    """Where the sealed index starts, and what it must be. ``blobs_end`` is where the padding starts."""

    kind: PackKind
    blobs_end: int
    index_offset: int
    index_length: int
    index_hash: bytes


def pack_name(pack: PackId) -> ObjectName:
    """Packs lie in 256 folders by the first byte of their id."""
    text = pack.hex()
    return ObjectName(f"packs/{text[:2]}/{text}")


def encode_header(header: PackHeader) -> bytes:
    return _header.pack(_MAGIC, FORMAT_VERSION, header.epoch, header.pack)


def decode_header(data: bytes, expected: PackId) -> PackHeader:
    """Raises Integrity, or FormatTooNew for a later version."""
    if len(data) != HEADER_BYTES:
        raise Integrity(f"pack {expected.hex()} is cut short")
    magic, version, epoch, pack = _header.unpack(data)
    if magic == _MAGIC and version > FORMAT_VERSION:
        raise FormatTooNew(f"pack {expected.hex()} has format version {version}; this is {FORMAT_VERSION}")
    header = PackHeader(Epoch(epoch), PackId(pack))
    if encode_header(header) != data or pack != expected or epoch == 0:
        raise Integrity(f"pack {expected.hex()} has a wrong header")
    return header


def encode_footer(footer: PackFooter) -> bytes:
    return _footer.pack(
        footer.kind, footer.blobs_end, footer.index_offset, footer.index_length, footer.index_hash
    )


def decode_footer(data: bytes) -> PackFooter:
    """Raises Integrity."""
    if len(data) != _footer.size:
        raise Integrity("a pack's footer has a wrong length")
    kind, blobs_end, index_offset, index_length, index_hash = _footer.unpack(data)
    try:
        footer = PackFooter(PackKind(kind), blobs_end, index_offset, index_length, index_hash)
    except ValueError:
        raise Integrity("a pack's footer names an unknown kind") from None
    if encode_footer(footer) != data or not HEADER_BYTES <= blobs_end <= index_offset <= PACK_BYTES_MAX:
        raise Integrity("a pack's footer is not canonical")
    if index_length > BLOB_BYTES_MAX:
        raise Integrity("a pack's index is over the format's limit")
    return footer


def encode_index(entries: list[IndexEntry]) -> bytes:
    return b"".join([_entry.pack(*entry) for entry in entries])


def decode_index(data: bytes, footer: PackFooter) -> list[IndexEntry]:
    """The blobs of a pack in the order they lie in it. Raises Integrity."""
    if len(data) % ENTRY_BYTES or len(data) > PACK_ENTRIES_MAX * ENTRY_BYTES:
        raise Integrity("a pack's index has a wrong length")
    entries = []
    end = HEADER_BYTES
    try:
        for role, offset, length, digest, owner, position in _entry.iter_unpack(data):
            if offset != end or length > BLOB_BYTES_MAX:
                raise Integrity("a pack's index has blobs that do not lie side by side")
            end = offset + sealed_length(length)
            entries.append(IndexEntry(Role(role), offset, length, digest, owner, position))
    except ValueError:
        raise Integrity("a pack's index names an unknown role") from None
    if end != footer.blobs_end or encode_index(entries) != data:
        raise Integrity("a pack's index is not canonical")
    return entries


def decode_entries(data: bytes, offset: int, count: int) -> tuple[list[IndexEntry], int]:
    """``count`` entries that stand at ``offset``, and where they end; not checked against a pack.

    Raises Integrity.
    """
    end = offset + count * ENTRY_BYTES
    if end > len(data):
        raise Integrity("a list of blobs is cut short")
    try:
        fields = _entry.iter_unpack(data[offset:end])
        return [IndexEntry(Role(role), *rest) for role, *rest in fields], end
    except ValueError:
        raise Integrity("a list of blobs names an unknown role") from None
