"""Filling a pack in memory (docs/format.md §7)."""

from collections.abc import Callable, Sequence
from hashlib import sha256

from cryptdrive.crypto.keys import Purpose
from cryptdrive.crypto.padding import size_class
from cryptdrive.crypto.sealing import BLOB_BYTES_MAX, HASH_BYTES, Buffer, Sealer, sealed_length
from cryptdrive.errors import Integrity
from cryptdrive.objects.pack import (
    ENTRY_BYTES,
    FOOTER_BYTES,
    HEADER_BYTES,
    PACK_BYTES_MAX,
    PACK_ENTRIES_MAX,
    TRAILER_BYTES,
    IndexEntry,
    PackFooter,
    PackHeader,
    PackKind,
    Role,
    decode_header,
    encode_footer,
    encode_header,
    encode_index,
)
from cryptdrive.objects.ref import Ref
from cryptdrive.types import PackId

# How many random bytes are asked for at once to pad with.
_PADDING_PIECE_BYTES = 1 << 20


class PackWriter:
    """One open pack in a buffer of PACK_BYTES_MAX bytes.

    Not thread-safe: the caller adds under a lock of its own. Reading what is already in it by
    :meth:`sealed` is safe beside adding, for a blob's bytes never change once its ref is known.
    """

    def __init__(self, sealer: Sealer, kind: PackKind, pack: PackId, buffer: bytearray) -> None:
        if len(buffer) != PACK_BYTES_MAX:
            raise ValueError("a pack is written into a buffer of its largest size")
        self.pack = pack
        self.kind = kind
        self._sealer = sealer
        self.epoch = sealer.epoch
        self._purpose = Purpose.NODE if kind is PackKind.NODES else Purpose.DATA
        self.view = memoryview(buffer)
        self.view[:HEADER_BYTES] = encode_header(PackHeader(self.epoch, pack))
        self.end = HEADER_BYTES
        """Where the next blob will be."""
        self._entries: list[IndexEntry] = []

    def add_sealed(self, sealed: Buffer, blob: Ref, role: Role, owner: int, position: int) -> Ref:
        """Take a blob over from another pack, byte for byte. The caller has asked :meth:`has_room`."""
        offset = self.end
        self.view[offset : offset + len(sealed)] = sealed
        self._entries.append(IndexEntry(role, offset, blob.length, blob.hash, owner, position))
        self.end += len(sealed)
        return Ref(self.pack, self.epoch, offset, blob.length, blob.hash)

    @property
    def entry_count(self) -> int:
        return len(self._entries)

    def entries_from(self, place: int) -> list[IndexEntry]:
        """The blobs from the ``place``-th on."""
        return self._entries[place:]

    def restore(self, content: Buffer, entries: Sequence[IndexEntry]) -> None:
        """Go on with an empty pack as another writer left it: its bytes up to its last blob's end.

        Raises Integrity where they do not fit each other.
        """
        end = HEADER_BYTES
        for entry in entries:
            if entry.offset != end or entry.length > BLOB_BYTES_MAX:
                raise Integrity("an unfinished pack has blobs that do not lie side by side")
            end += sealed_length(entry.length)
        decode_header(bytes(content[:HEADER_BYTES]), self.pack)
        if len(content) != end or end > PACK_BYTES_MAX:
            raise Integrity("an unfinished pack is cut short")
        self.view[:end] = content
        self._entries = list(entries)
        self.end = end

    @property
    def is_empty(self) -> bool:
        return not self._entries

    def has_room(self, length: int) -> bool:
        """Whether a blob with ``length`` bytes of plaintext still fits."""
        count = len(self._entries) + 1
        index_bytes = sealed_length(count * ENTRY_BYTES)
        total = self.end + sealed_length(length) + index_bytes + TRAILER_BYTES
        return count <= PACK_ENTRIES_MAX and total <= PACK_BYTES_MAX

    def add(self, plaintext: Buffer, role: Role, owner: int, position: int) -> Ref:
        """Seal a blob into the pack. The caller has asked :meth:`has_room`."""
        length = len(plaintext)
        offset = self.end
        end = offset + sealed_length(length)
        digest = self._sealer.seal_into(self.view[offset:end], plaintext, self._purpose)
        self._entries.append(IndexEntry(role, offset, length, digest, owner, position))
        self.end = end
        return Ref(self.pack, self.epoch, offset, length, digest)

    def sealed(self, offset: int, length: int) -> bytes:
        """A copy of the pack's bytes ``[offset, offset + length)``."""
        return bytes(self.view[offset : offset + length])

    def finish(self, randomness: Callable[[int], bytes]) -> memoryview:
        """Close the pack: padding, index, footer, checksum. Returns the whole object.

        Nothing may be added afterwards.
        """
        view = self.view
        index = encode_index(self._entries)
        if len(index) > BLOB_BYTES_MAX:
            raise ValueError("a pack's index is over the format's limit")
        tail = sealed_length(len(index)) + TRAILER_BYTES
        total = size_class(self.end + tail)
        index_offset = total - tail
        for start in range(self.end, index_offset, _PADDING_PIECE_BYTES):
            stop = min(start + _PADDING_PIECE_BYTES, index_offset)
            view[start:stop] = randomness(stop - start)
        footer_offset = total - TRAILER_BYTES
        index_hash = self._sealer.seal_into(view[index_offset:footer_offset], index, Purpose.INDEX)
        footer = PackFooter(self.kind, self.end, index_offset, len(index), index_hash)
        checksum_offset = footer_offset + FOOTER_BYTES
        self._sealer.seal_into(view[footer_offset:checksum_offset], encode_footer(footer), Purpose.FOOTER)
        view[checksum_offset:total] = sha256(view[:checksum_offset]).digest()
        assert checksum_offset + HASH_BYTES == total
        return view[:total]
