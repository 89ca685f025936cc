"""Which blob a record names."""

from cryptdrive.objects.ref import REF_BYTES, PackedRef
from cryptdrive.schema.inode import blob_target
from cryptdrive.schema.keys import PREFIX_BYTES, Kind
from cryptdrive.schema.records import RECORD_OF_BLOB

_EXTENT, _XATTR, _INODE = int(Kind.EXTENT), int(Kind.XATTR), int(Kind.INODE)


def blob_of(key: bytes, value: bytes) -> PackedRef | None:
    """The blob that a record names, of an extent, an extended attribute or a link's target; None for none."""
    if len(key) < PREFIX_BYTES:
        return None
    kind = key[PREFIX_BYTES - 1]
    if kind in (_EXTENT, _XATTR):
        return PackedRef(value[1 : 1 + REF_BYTES]) if value[0] == RECORD_OF_BLOB else None
    return blob_target(value) if kind == _INODE else None
