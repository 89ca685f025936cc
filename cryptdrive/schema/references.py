"""Which blob a record names."""

from cryptdrive.objects.pack import Role
from cryptdrive.objects.ref import REF_BYTES, PackedRef
from cryptdrive.schema.inode import blob_target
from cryptdrive.schema.keys import PREFIX_BYTES, Kind, extent_offset
from cryptdrive.schema.records import RECORD_OF_BLOB, decode_extent

_EXTENT, _XATTR, _INODE = int(Kind.EXTENT), int(Kind.XATTR), int(Kind.INODE)


def blob_of(key: bytes, value: bytes) -> PackedRef | None:
    """The blob that a record names, of an extent, an extended attribute or a link's target; None for none."""
    if len(key) < PREFIX_BYTES:
        return None
    kind = key[PREFIX_BYTES - 1]
    if kind in (_EXTENT, _XATTR):
        return PackedRef(value[1 : 1 + REF_BYTES]) if value[0] == RECORD_OF_BLOB else None
    return blob_target(value) if kind == _INODE else None


def with_blob(value: bytes, ref: PackedRef) -> bytes:
    """A record of an extent or extended attribute that names a blob, with another one in its place."""
    return value[:1] + ref + value[1 + REF_BYTES :]


def entry_of(key: bytes, value: bytes) -> tuple[Role, int, int]:
    """How a pack's index lists the blob that such a record names: role, owner, position."""
    owner = int.from_bytes(key[:8])
    if key[PREFIX_BYTES - 1] == _XATTR:
        return Role.XATTR, owner, 0
    offset = extent_offset(key)
    return Role.FILE_DATA, owner, offset - decode_extent(offset, value).blob_offset
