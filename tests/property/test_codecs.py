"""Every codec under mutation: a typed error, or a value of which exactly these bytes are the encoding."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptdrive.crypto.recovery import format_key, parse_key
from cryptdrive.errors import CryptdriveError, Integrity
from cryptdrive.objects.pack import (
    IndexEntry,
    PackFooter,
    PackHeader,
    PackKind,
    Role,
    decode_footer,
    decode_header,
    decode_index,
    encode_footer,
    encode_header,
    encode_index,
)
from cryptdrive.objects.ref import Ref
from cryptdrive.schema import keys
from cryptdrive.schema.inode import HAS_XATTRS, Inode, decode_inode, encode_inode, new_inode
from cryptdrive.schema.records import (
    DeviceRecord,
    Dirent,
    Extent,
    Usage,
    decode_device,
    decode_dirent,
    decode_extent,
    decode_usage,
    decode_xattr,
    encode_device,
    encode_dirent,
    encode_extent,
    encode_usage,
    encode_xattr,
)
from cryptdrive.types import Epoch, InodeNumber, PackId
from cryptdrive.vault import header as vault_header

NUMBER = InodeNumber(7 << 40 | 9)
PACK = PackId(bytes(range(16)))
REF = Ref(PACK, Epoch(3), 4096, 70_000, bytes(range(32)))


def inode(mode: int, **fields: Any) -> Inode:
    found = new_inode(NUMBER, mode, 1000, 2**32 - 1, -(2**63), 2**64 - 1)
    found.nlink, found.size, found.allocated, found.flags = 3, 2**63 - 1, 2**63 - 1, HAS_XATTRS
    for name, value in fields.items():
        setattr(found, name, value)
    return found


@dataclass(frozen=True)
class Codec:
    """``good`` are encodings of values; ``again`` encodes what ``decode`` makes of bytes."""

    good: tuple[bytes, ...]
    decode: Callable[[bytes], Any]
    again: Callable[[Any], bytes]


FOOTER = PackFooter(PackKind.DATA, 32 + 100 + 32, 4096, 60, bytes(32))
ENTRY = IndexEntry(Role.FILE_DATA, 32, 100, bytes(range(32)), NUMBER, 2**40)
CODECS = {
    "inode": Codec(
        (
            encode_inode(inode(0o100644)),
            encode_inode(inode(0o040755, size=0, allocated=0, parent=InodeNumber(1))),
            encode_inode(inode(0o120777, size=3, target=b"abc")),
            encode_inode(inode(0o120777, size=513, target=Ref(PACK, Epoch(1), 32, 513, bytes(32)))),
        ),
        lambda data: decode_inode(NUMBER, data),
        encode_inode,
    ),
    "entry": Codec(
        (encode_dirent(NUMBER, 0o100644),),
        decode_dirent,
        lambda value: encode_dirent(value.inode, value.file_type << 12),
    ),
    "extent": Codec(
        (
            encode_extent(Extent(0, 3, None, 0, b"abc")),
            encode_extent(Extent(5, 1000, REF.encode(), 69_000, b"")),
        ),
        lambda data: decode_extent(5, data),
        encode_extent,
    ),
    "attribute": Codec(
        (encode_xattr(b""), encode_xattr(b"value"), encode_xattr(REF._replace(length=1025))),
        decode_xattr,
        encode_xattr,
    ),
    "usage": Codec((encode_usage(Usage(2**64 - 1, 1)),), decode_usage, encode_usage),
    "device": Codec((encode_device(DeviceRecord(2**40 - 1, 5, b"c" * 128)),), decode_device, encode_device),
    "ref": Codec((bytes(REF.encode()),), Ref.decode, lambda ref: bytes(ref.encode())),
    "pack header": Codec(
        (encode_header(PackHeader(Epoch(2), PACK)),), lambda data: decode_header(data, PACK), encode_header
    ),
    "footer": Codec((encode_footer(FOOTER),), decode_footer, encode_footer),
    "index": Codec((encode_index([ENTRY]),), lambda data: decode_index(data, FOOTER), encode_index),
}


def check(codec: Codec, data: bytes) -> None:
    try:
        value = codec.decode(data)
    except CryptdriveError:
        return
    assert codec.again(value) == data


@pytest.mark.parametrize("name", CODECS)
def test_what_is_encoded_is_decoded(name: str) -> None:
    for data in CODECS[name].good:
        assert CODECS[name].again(CODECS[name].decode(data)) == data


@pytest.mark.parametrize("name", CODECS)
def test_every_bit_and_every_length(name: str) -> None:
    codec = CODECS[name]
    for data in codec.good:
        for place in range(8 * len(data)):
            changed = bytearray(data)
            changed[place // 8] ^= 1 << place % 8
            check(codec, bytes(changed))
        for size in range(len(data)):
            check(codec, data[:size])
        for more in (b"\0", b"\1", b"\xff" * 7):
            check(codec, data + more)


@pytest.mark.parametrize("name", CODECS)
@given(data=st.data())
def test_bytes_of_any_kind(name: str, data: st.DataObject) -> None:
    codec = CODECS[name]
    example = bytearray(data.draw(st.sampled_from(codec.good)))
    if data.draw(st.booleans()):
        check(codec, data.draw(st.binary(max_size=200)))
        return
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(example)))
        stop = data.draw(st.integers(start, min(start + 8, len(example))))
        example[start:stop] = data.draw(st.binary(max_size=8))
    check(codec, bytes(example))


def test_keys_that_no_record_has() -> None:
    for name in (b"", b".", b"..", b"a/b", b"a\0b", b"n" * 256):
        with pytest.raises(Integrity):
            keys.dirent_name(keys.dirent_key(NUMBER, name))
    for key in (keys.extent_key(NUMBER, 0)[:-1], keys.extent_key(NUMBER, 0) + b"\0"):
        with pytest.raises(Integrity):
            keys.extent_offset(key)
        with pytest.raises(Integrity):
            keys.orphan_inode(key)


def test_a_record_belongs_to_its_inode() -> None:
    first, last = keys.inode_range(NUMBER)
    for key in (
        keys.inode_key(NUMBER),
        keys.dirent_key(NUMBER, b"\xff" * 255),
        keys.extent_key(NUMBER, 2**63 - 1),
        keys.xattr_key(NUMBER, b"user.x"),
    ):
        assert first < key < last
    assert Dirent(NUMBER, 8) == decode_dirent(encode_dirent(NUMBER, 0o100600))


# --- objects with a place of their own ------------------------------------------------------------


def test_headers() -> None:
    """The one object in clear: a changed bit is damage, no vault, or a newer format; never another vault."""
    owner = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    data = vault_header.encode_header(owner, bytes(range(32)))
    good = vault_header.decode_header(data)
    assert good.owner_key == owner
    for place in range(8 * len(data)):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(CryptdriveError):
            vault_header.decode_header(bytes(changed))
    for size in range(len(data)):
        with pytest.raises(CryptdriveError):
            vault_header.decode_header(data[:size])
    for junk in (b"", b"[]", b"{}", b"null", b"[" * 60_000, os.urandom(100), data + b"\n", b" " + data):
        with pytest.raises(CryptdriveError):
            vault_header.decode_header(junk)


@given(st.binary(min_size=20, max_size=20), st.integers(0, 46), st.sampled_from("0123456789ABCXYZ!-"))
def test_recovery_keys(key: bytes, place: int, character: str) -> None:
    """A changed character is nearly always told, and never is anything but the key or an error."""
    text = format_key(key)
    assert parse_key(text) == key
    assert parse_key(text.lower().replace("0", "o").replace("1", "l").replace("-", " ")) == key
    changed = text[:place] + character + text[place + 1 :]
    try:
        found = parse_key(changed)
    except CryptdriveError as error:
        assert text[:5] not in str(error)
    else:
        assert format_key(found).replace("-", "") == changed.replace("-", "") or found == key
