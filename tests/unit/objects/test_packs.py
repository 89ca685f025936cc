"""Packs: what is written is read back, and nothing else is accepted."""

import os
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptdrive.crypto.keys import KeyRing, Purpose
from cryptdrive.crypto.padding import is_size_class, size_class
from cryptdrive.crypto.sealing import SEGMENT_BYTES, Sealer
from cryptdrive.errors import FormatTooNew, Integrity, ObjectNotFound
from cryptdrive.objects.pack import PACK_BYTES_MAX, PackKind, Role, decode_footer, pack_name
from cryptdrive.objects.reader import BlobReader, read_index
from cryptdrive.objects.ref import Ref
from cryptdrive.objects.writer import PackWriter
from cryptdrive.types import Epoch, PackId, VaultId

PACK = PackId(bytes(range(16)))


def make_sealer(key: bytes = b"k" * 32, vault: bytes = b"v" * 32) -> Sealer:
    return Sealer(KeyRing(VaultId(vault), {Epoch(1): key}), os.urandom)


class DictSource:
    """Packs in a dict; counts what is asked for."""

    def __init__(self, packs: dict[PackId, bytes]) -> None:
        self.packs = packs
        self.requests: list[tuple[int, int]] = []

    def read(self, pack: PackId, offset: int, length: int) -> bytes:
        self.requests.append((offset, length))
        if pack not in self.packs:
            raise ObjectNotFound("no such pack")
        return self.packs[pack][offset : offset + length]


def write_pack(texts: list[bytes], sealer: Sealer) -> tuple[bytes, list[Ref]]:
    writer = PackWriter(sealer, PackKind.DATA, PACK, bytearray(PACK_BYTES_MAX))
    refs = [writer.add(text, Role.FILE_DATA, 7, place) for place, text in enumerate(texts)]
    return bytes(writer.finish(os.urandom)), refs


def test_every_blob_comes_back_whole_and_in_parts() -> None:
    sealer = make_sealer()
    texts = [os.urandom(n) for n in (0, 1, 1000, SEGMENT_BYTES, SEGMENT_BYTES + 1, 300_000, 4 << 20)]
    whole, refs = write_pack(texts, sealer)
    reader = BlobReader(sealer, DictSource({PACK: whole}), 1 << 20)
    for text, ref in zip(texts, refs, strict=True):
        assert reader.read_whole(ref, Purpose.DATA) == text
        for offset in (0, len(text) // 3, len(text) - 1):
            for length in (1, 100, SEGMENT_BYTES + 5):
                if offset >= 0 and length <= len(text) - offset:
                    assert reader.read(ref, offset, length) == text[offset : offset + length]


def test_a_small_read_of_a_large_blob_fetches_little() -> None:
    sealer = make_sealer()
    whole, (ref,) = write_pack([os.urandom(4 << 20)], sealer)
    source = DictSource({PACK: whole})
    reader = BlobReader(sealer, source, 1 << 20)
    reader.read(ref, 2_000_000, 4096)
    assert sum(length for _, length in source.requests) < 2 * SEGMENT_BYTES + 4096
    source.requests.clear()
    reader.read(ref, 2_000_000 + 4096, 100)
    assert source.requests == []


def test_size_is_a_class_and_index_lists_every_blob() -> None:
    sealer = make_sealer()
    whole, refs = write_pack([b"a" * 10, b"b" * 5000, b"c"], sealer)
    assert is_size_class(len(whole))
    entries = read_index(sealer, PACK, whole)
    assert [(entry.offset, entry.length, entry.hash) for entry in entries] == [
        (ref.offset, ref.length, ref.hash) for ref in refs
    ]
    assert [entry.position for entry in entries] == [0, 1, 2]


def test_packs_of_few_bytes_differ_in_nothing_that_shows() -> None:
    sealer = make_sealer()
    sizes = {len(write_pack([b"x" * n], sealer)[0]) for n in range(0, 3000, 100)}
    assert sizes == {4096}


def test_no_byte_can_be_changed() -> None:
    sealer = make_sealer()
    whole, refs = write_pack([b"hello", os.urandom(900)], sealer)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        with pytest.raises(Integrity):
            read_index(sealer, PACK, bytes(damaged))
        reader = BlobReader(sealer, DictSource({PACK: bytes(damaged)}), 1 << 16)
        for ref, text in zip(refs, (b"hello", None), strict=True):
            inside = ref.offset <= place < ref.offset + ref.sealed_length
            if inside:
                with pytest.raises(Integrity):
                    reader.read(ref, 0, ref.length)
            elif text is not None:
                assert reader.read(ref, 0, ref.length) == text


def test_a_changed_checksum_does_not_help() -> None:
    """Who recomputes the keyless checksum still has to forge the footer or the index."""
    sealer = make_sealer()
    whole, _ = write_pack([b"hello"], sealer)
    for place in range(len(whole) - 204, len(whole) - 32):
        damaged = bytearray(whole)
        damaged[place] ^= 0x80
        damaged[-32:] = sha256(damaged[:-32]).digest()
        with pytest.raises(Integrity):
            read_index(sealer, PACK, bytes(damaged))


def test_refs_bind_pack_vault_purpose_and_key() -> None:
    sealer = make_sealer()
    whole, (ref, other) = write_pack([b"a" * 100, b"b" * 100], sealer)
    source = DictSource({PACK: whole, PackId(b"y" * 16): whole})
    assert BlobReader(sealer, source, 1 << 16).read(ref, 0, 100) == b"a" * 100
    wrong = [
        (sealer, ref._replace(offset=other.offset), Purpose.DATA),
        (sealer, ref._replace(hash=other.hash), Purpose.DATA),
        (sealer, ref._replace(length=99), Purpose.DATA),
        (sealer, ref, Purpose.NODE),
        (sealer, ref._replace(pack=PackId(b"z" * 16)), Purpose.DATA),
        (sealer, ref._replace(epoch=Epoch(2)), Purpose.DATA),
        (make_sealer(vault=b"w" * 32), ref, Purpose.DATA),
        (make_sealer(key=b"l" * 32), ref, Purpose.DATA),
    ]
    for each_sealer, each_ref, purpose in wrong:
        with pytest.raises(Integrity):
            BlobReader(each_sealer, source, 1 << 16).read_whole(each_ref, purpose)


def test_a_ciphertext_with_two_meanings_is_refused() -> None:
    """AES-GCM lets one ciphertext open under two keys; the ref's hash names one ciphertext only.

    The other ciphertext authenticates under the same key and context, and is refused all the same.
    """
    sealer = make_sealer()
    whole, (ref,) = write_pack([b"the author's text"], sealer)
    forged = bytearray(whole)
    forged[ref.offset : ref.offset + ref.sealed_length] = sealer.seal(b"an evil twin text", Purpose.DATA)
    with pytest.raises(Integrity):
        BlobReader(sealer, DictSource({PACK: bytes(forged)}), 1 << 16).read(ref, 0, 17)


def test_segments_cannot_be_swapped_cut_or_repeated() -> None:
    sealer = make_sealer()
    text = os.urandom(3 * SEGMENT_BYTES)
    whole, (ref,) = write_pack([text], sealer)
    table = ref.sealed_length - 3 * (SEGMENT_BYTES + 16)
    start = ref.offset + table
    size = SEGMENT_BYTES + 16
    segments = [whole[start + n * size : start + (n + 1) * size] for n in range(3)]
    for order in ((1, 0, 2), (0, 0, 2), (0, 2, 1)):
        forged = whole[:start] + b"".join(segments[n] for n in order) + whole[start + 3 * size :]
        with pytest.raises(Integrity):
            BlobReader(sealer, DictSource({PACK: forged}), 1 << 16).read(ref, 0, len(text))
    with pytest.raises(Integrity):
        BlobReader(sealer, DictSource({PACK: whole[: start + 2 * size]}), 1 << 16).read(ref, 0, len(text))


def test_newer_pack_version_is_named() -> None:
    sealer = make_sealer()
    whole = bytearray(write_pack([b"hello"], sealer)[0])
    whole[4] = 2
    whole[-32:] = sha256(whole[:-32]).digest()
    with pytest.raises(FormatTooNew):
        read_index(sealer, PACK, bytes(whole))


def test_a_full_pack_keeps_within_its_limit() -> None:
    sealer = make_sealer()
    writer = PackWriter(sealer, PackKind.DATA, PACK, bytearray(PACK_BYTES_MAX))
    count = 0
    while writer.has_room(1_000_000):
        writer.add(bytes(1_000_000), Role.FILE_DATA, 1, count)
        count += 1
    while writer.has_room(0):
        writer.add(b"", Role.FILE_DATA, 1, count)
        count += 1
        if count > 40000:
            raise AssertionError("a pack takes blobs without end")
    whole = bytes(writer.finish(os.urandom))
    assert len(whole) <= PACK_BYTES_MAX
    assert len(read_index(sealer, PACK, whole)) == count


def test_names_spread_over_folders() -> None:
    assert pack_name(PACK) == "packs/00/000102030405060708090a0b0c0d0e0f"


@given(st.integers(1, 1 << 25))
def test_size_classes(length: int) -> None:
    padded = size_class(length)
    assert padded >= length
    assert is_size_class(padded)
    assert padded == 4096 or padded <= length * 1.25
    while padded % 2 == 0 and padded > 7 * 1024:
        padded //= 2
    assert padded in {4096, 5120, 6144, 7168}


@given(st.binary(min_size=52, max_size=52))
@settings(max_examples=300)
def test_footer_decoder_is_canonical(data: bytes) -> None:
    with pytest.raises(Integrity):
        decode_footer(b"\xff" + data[1:])
