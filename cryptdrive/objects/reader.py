"""Reading blobs, whole or part, every byte checked against the ref (docs/format.md §4, §6)."""

from hashlib import sha256
from hmac import compare_digest
from typing import Protocol

from cryptdrive.crypto.keys import Purpose
from cryptdrive.crypto.padding import is_size_class
from cryptdrive.crypto.sealing import (
    HASH_BYTES,
    SEGMENT_BYTES,
    Sealer,
    SegmentTable,
    sealed_length,
    segment_place,
    table_length,
)
from cryptdrive.errors import Integrity, ObjectNotFound
from cryptdrive.objects.cache import GenerationCache
from cryptdrive.objects.pack import (
    FOOTER_BYTES,
    HEADER_BYTES,
    TRAILER_BYTES,
    IndexEntry,
    decode_footer,
    decode_header,
    decode_index,
)
from cryptdrive.objects.ref import Ref
from cryptdrive.types import PackId


class PackSource(Protocol):
    """Where the bytes of packs come from: the open pack, the outbox, a cache, the store."""

    def read(self, pack: PackId, offset: int, length: int) -> bytes:
        """May give fewer bytes than asked for. Raises StoreError."""


class BlobReader:
    """Opens blobs. Thread-safe; keeps decrypted segments and segment tables in a bounded cache."""

    def __init__(self, sealer: Sealer, source: PackSource, cache_bytes_max: int) -> None:
        self._sealer = sealer
        self._source = source
        self._segments: GenerationCache[tuple[bytes, int, int], bytes] = GenerationCache(cache_bytes_max)
        self._tables: GenerationCache[tuple[bytes, int], SegmentTable] = GenerationCache(
            max(cache_bytes_max // 8, 1 << 16)
        )

    @property
    def cache_bytes(self) -> int:
        return self._segments.byte_size

    def drop_cache(self) -> None:
        self._segments.clear()
        self._tables.clear()

    def _fetch(self, ref: Ref, offset: int, length: int) -> bytes:
        try:
            data = self._source.read(ref.pack, ref.offset + offset, length)
        except ObjectNotFound as error:
            raise Integrity(f"pack {ref.pack.hex()} is missing from the store") from error
        if len(data) != length:
            raise Integrity(f"pack {ref.pack.hex()} is cut short")
        return data

    def read_whole(self, ref: Ref, purpose: Purpose) -> bytes:
        """The plaintext of a blob, not kept in the cache. Raises Integrity, StoreError."""
        sealed = self._fetch(ref, 0, ref.sealed_length)
        return self._sealer.open_whole(sealed, purpose, ref.epoch, ref.hash, ref.length)

    def cached(self, ref: Ref, offset: int, length: int) -> bytes | None:
        """As :meth:`read` of file data, if all of it is in memory; else None."""
        first, last = offset // SEGMENT_BYTES, (offset + length - 1) // SEGMENT_BYTES
        parts = []
        for index in range(first, last + 1):
            segment = self._segments.get((ref.pack, ref.offset, index))
            if segment is None:
                return None
            parts.append(segment)
        start = offset - first * SEGMENT_BYTES
        if len(parts) == 1:
            return parts[0][start : start + length]
        return b"".join(parts)[start : start + length]

    def read(self, ref: Ref, offset: int, length: int) -> bytes:
        """Bytes ``[offset, offset + length)`` of a file-data blob; ``length`` ≥ 1 and within the blob.

        Fetches no more than the segments that hold them (and the blob's segment table once).
        Raises Integrity, StoreError.
        """
        if offset < 0 or length < 1 or offset + length > ref.length:
            raise Integrity("an extent reaches beyond its blob")
        found = self.cached(ref, offset, length)
        if found is not None:
            return found
        if ref.length <= SEGMENT_BYTES:
            text = self.read_whole(ref, Purpose.DATA)
            self._segments.put((ref.pack, ref.offset, 0), text, len(text) + 200)
            return text[offset : offset + length]
        first, last = offset // SEGMENT_BYTES, (offset + length - 1) // SEGMENT_BYTES
        text = b"".join(self._read_segments(ref, first, last))
        start = offset - first * SEGMENT_BYTES
        return text[start : start + length] if len(text) != length else text

    def _read_segments(self, ref: Ref, first: int, last: int) -> list[bytes]:
        table = self._tables.get((ref.pack, ref.offset))
        begin = segment_place(ref.length, first)[0]
        end = sum(segment_place(ref.length, last))
        if table is None:
            head = table_length(ref.length)
            if first == 0:
                # One request for both where they lie side by side.
                fetched = self._fetch(ref, 0, end)
                table_bytes, sealed = fetched[:head], memoryview(fetched)[begin:]
            else:
                table_bytes = self._fetch(ref, 0, head)
                sealed = memoryview(self._fetch(ref, begin, end - begin))
            table = self._sealer.open_table(table_bytes, Purpose.DATA, ref.epoch, ref.hash, ref.length)
            self._tables.put((ref.pack, ref.offset), table, head * 2)
        else:
            sealed = memoryview(self._fetch(ref, begin, end - begin))
        texts = []
        for index in range(first, last + 1):
            offset, size = segment_place(ref.length, index)
            offset -= begin
            text = self._sealer.open_segment(table, index, sealed[offset : offset + size], Purpose.DATA)
            self._segments.put((ref.pack, ref.offset, index), text, len(text) + 200)
            texts.append(text)
        return texts


def read_index(sealer: Sealer, pack: PackId, data: bytes) -> list[IndexEntry]:
    """The blobs of a pack, given the whole object, with its checksum verified.

    Raises Integrity, FormatTooNew.
    """
    if not is_size_class(len(data)) or len(data) < HEADER_BYTES + TRAILER_BYTES:
        raise Integrity(f"pack {pack.hex()} has an impossible size")
    if not compare_digest(sha256(memoryview(data)[:-HASH_BYTES]).digest(), data[-HASH_BYTES:]):
        raise Integrity(f"pack {pack.hex()} is damaged: its checksum is wrong")
    header = decode_header(data[:HEADER_BYTES], pack)
    footer_offset = len(data) - TRAILER_BYTES
    footer_bytes = data[footer_offset : footer_offset + FOOTER_BYTES]
    footer = decode_footer(sealer.open(footer_bytes, Purpose.FOOTER, header.epoch))
    if footer.index_offset + sealed_length(footer.index_length) != footer_offset:
        raise Integrity(f"pack {pack.hex()} has its index in a wrong place")
    index = sealer.open_whole(
        data[footer.index_offset : footer_offset],
        Purpose.INDEX,
        header.epoch,
        footer.index_hash,
        footer.index_length,
    )
    return decode_index(index, footer)
