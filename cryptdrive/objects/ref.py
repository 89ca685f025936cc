"""Refs: where a blob is, and what it must be (docs/format.md §6)."""

import struct
from typing import NamedTuple, NewType

from cryptdrive.crypto.sealing import BLOB_BYTES_MAX, sealed_length
from cryptdrive.errors import Integrity
from cryptdrive.types import Epoch, PackId

_ref = struct.Struct(">16sIII32s")

REF_BYTES = _ref.size

PackedRef = NewType("PackedRef", bytes)
"""A ref as its 60 bytes: how trees and caches carry it."""


class Ref(NamedTuple):
    """A blob's pack, key epoch, offset in the pack, plaintext length, and hash."""

    pack: PackId
    epoch: Epoch
    offset: int
    length: int
    hash: bytes

    @property
    def sealed_length(self) -> int:
        """Bytes that the sealed blob takes in its pack."""
        return sealed_length(self.length)

    def encode(self) -> PackedRef:
        return PackedRef(_ref.pack(*self))

    @classmethod
    def decode(cls, data: bytes) -> "Ref":
        """Raises Integrity for anything that ``encode`` does not make."""
        if len(data) != REF_BYTES:
            raise Integrity("a ref has a wrong length")
        pack, epoch, offset, length, digest = _ref.unpack(data)
        if length > BLOB_BYTES_MAX or epoch == 0:
            raise Integrity("a ref is out of the format's limits")
        return cls(PackId(pack), Epoch(epoch), offset, length, digest)
