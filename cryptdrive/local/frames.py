"""The bytes of the journal: files of sealed frames, each bound to the one before (docs/format.md §14)."""

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from cryptdrive.crypto.keys import Purpose
from cryptdrive.crypto.sealing import BLOB_BYTES_MAX, HASH_BYTES, Sealer, sealed_length, table_length
from cryptdrive.errors import Integrity
from cryptdrive.objects.pack import IndexEntry, decode_entries, encode_index
from cryptdrive.objects.ref import PackedRef
from cryptdrive.types import Epoch, PackId
from cryptdrive.vault.commits import CommitId

FILE_VERSION = 1
MARKER_BYTES = 8
RECORDS_BYTES_MAX = 1 << 20
"""What one frame holds of a group's records, about; a larger group takes several frames."""

_MAGIC = b"CDJF"
_file_header = struct.Struct(">4sB3xQ8s")
_frame_head = struct.Struct(">8sII")
_frame_body = struct.Struct(">32sQQB")
_start = struct.Struct(">QQQ32s")
_group = struct.Struct(">QIBI")
_record = struct.Struct(">Hi")
_pack = struct.Struct(">16sBIIIII")
_prepared = struct.Struct(">QQ32sBII")
_counted = struct.Struct(">16sI")

FILE_HEADER_BYTES = _file_header.size
FRAME_HEAD_BYTES = _frame_head.size


class FrameKind(enum.IntEnum):
    """What a frame says."""

    START = 1
    GROUP = 2
    PREPARED = 3


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that was read, and where the next one is."""

    index: int
    durable: int
    """The frames up to this index were on disk when this one was written."""
    kind: FrameKind
    body: bytes
    tag: bytes
    """What the next frame names this one by."""
    end: int


@dataclass(frozen=True, slots=True)
class Start:
    """Begins a file: its own number, and the file and frame that it follows (0: none)."""

    number: int
    previous_number: int
    previous_index: int
    previous_tag: bytes


@dataclass(slots=True)
class PackChange:
    """What a group adds to one data pack.

    ``entries`` are the blobs that the pack got since the last group, from ``start`` to ``end``.
    ``inline`` holds exactly those bytes; where it is empty they are in the outbox's file, as all
    before them. A complete pack has ``length`` bytes, all in the file; else ``length`` is 0.
    """

    pack: PackId
    epoch: Epoch
    start: int
    end: int
    length: int
    entries: list[IndexEntry] = field(default_factory=list)
    inline: bytes = b""


@dataclass(slots=True)
class Group:
    """All changes of some requests, from one moment to another. ``sequence`` counts the groups.

    ``records`` are new values, and None for what was deleted.
    """

    sequence: int
    records: list[tuple[bytes, bytes | None]]
    packs: list[PackChange]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A commit that may be on the store from now on: these bytes or none.

    It contains the groups up to ``through``. ``packs`` (id, length) go to the store before it.
    """

    through: int
    commit: CommitId
    root: PackedRef | None
    packs: tuple[tuple[PackId, int], ...]
    data: bytes


# --- files and frames ----------------------------------------------------------------------------


def encode_file_header(number: int, marker: bytes) -> bytes:
    return _file_header.pack(_MAGIC, FILE_VERSION, number, marker)


def decode_file_header(data: bytes) -> tuple[int, bytes] | None:
    """A journal file's number and marker; None for what is none."""
    if len(data) < FILE_HEADER_BYTES:
        return None
    magic, version, number, marker = _file_header.unpack_from(data)
    return (number, marker) if magic == _MAGIC and version == FILE_VERSION else None


def seal_frame(
    sealer: Sealer, marker: bytes, previous_tag: bytes, index: int, durable: int, kind: FrameKind, body: bytes
) -> tuple[bytearray, bytes]:
    """A frame's bytes, and its tag."""
    text = _frame_body.pack(previous_tag, index, durable, kind) + body
    data = bytearray(FRAME_HEAD_BYTES + sealed_length(len(text)))
    _frame_head.pack_into(data, 0, marker, len(text), sealer.epoch)
    tag = sealer.seal_into(memoryview(data)[FRAME_HEAD_BYTES:], text, Purpose.LOCAL)
    return data, tag


def open_frame(sealer: Sealer, marker: bytes, data: memoryview, offset: int) -> tuple[Frame, bytes] | None:
    """The frame at ``offset`` and the tag it follows; None where no whole frame of this file is."""
    if len(data) - offset < FRAME_HEAD_BYTES:
        return None
    found, length, epoch = _frame_head.unpack_from(data, offset)
    start = offset + FRAME_HEAD_BYTES
    if found != marker or not _frame_body.size <= length <= BLOB_BYTES_MAX:
        return None
    end = start + sealed_length(length)
    if end > len(data):
        return None
    sealed = data[start:end]
    # No ref names a frame; its own tag, which needs the vault's key, is what it is trusted by.
    bound = sealed[: table_length(length)] or sealed
    tag = sha256(bound).digest()
    try:
        text = sealer.open_whole(sealed, Purpose.LOCAL, Epoch(epoch), tag, length)
        previous, index, durable, kind = _frame_body.unpack_from(text)
        return Frame(index, durable, FrameKind(kind), text[_frame_body.size :], tag, end), previous
    except (Integrity, ValueError):
        return None


# --- what frames say -------------------------------------------------------------------------------


def encode_start(start: Start) -> bytes:
    return _start.pack(start.number, start.previous_number, start.previous_index, start.previous_tag)


def decode_start(body: bytes) -> Start:
    """Raises Integrity."""
    if len(body) != _start.size:
        raise Integrity("a journal file's first frame is malformed")
    return Start(*_start.unpack(body))


def encode_group(group: Group) -> list[bytes]:
    """The bodies of a group's frames: it counts only where all of them are there."""
    parts: list[tuple[int, list[bytes]]] = []
    count, pieces, size = 0, list[bytes](), 0

    def end_part() -> None:
        nonlocal count, pieces, size
        if pieces:
            parts.append((count, pieces))
        count, pieces, size = 0, [], 0

    for key, value in group.records:
        piece = _record.pack(len(key), -1 if value is None else len(value)) + key + (value or b"")
        if size + len(piece) > RECORDS_BYTES_MAX:
            end_part()
        pieces.append(piece)
        count += 1
        size += len(piece)
    for change in group.packs:
        piece = _encode_pack_change(change)
        if size + len(piece) > RECORDS_BYTES_MAX:
            end_part()
        pieces.append(piece)
        size += len(piece)
    end_part()
    last = len(parts) - 1
    return [
        _group.pack(group.sequence, part, part == last, records) + b"".join(pieces)
        for part, (records, pieces) in enumerate(parts)
    ]


def decode_group(bodies: Sequence[bytes]) -> Group:
    """One group from all of its frames. Raises Integrity."""
    group = Group(0, [], [])
    try:
        for body in bodies:
            group.sequence, _, _, count = _group.unpack_from(body)
            place = _group.size
            for _ in range(count):
                key_length, value_length = _record.unpack_from(body, place)
                place += _record.size
                key = body[place : place + key_length]
                place += key_length
                value = None if value_length < 0 else body[place : place + value_length]
                place += max(value_length, 0)
                group.records.append((key, value))
            while place < len(body):
                change, place = _decode_pack_change(body, place)
                group.packs.append(change)
            if place != len(body):
                raise Integrity("a journal's group is malformed")
    except struct.error:
        raise Integrity("a journal's group is malformed") from None
    return group


def place_of_group(body: bytes) -> tuple[int, int, bool]:
    """A group's sequence, which part of it this is, and whether it is the last. Raises Integrity."""
    if len(body) < _group.size:
        raise Integrity("a journal's group is malformed")
    sequence, part, last, _ = _group.unpack_from(body)
    return sequence, part, bool(last)


def _encode_pack_change(change: PackChange) -> bytes:
    entries = encode_index(change.entries)
    flags = 1 if change.inline else 0
    return (
        _pack.pack(
            change.pack, flags, change.epoch, change.start, change.end, change.length, len(change.entries)
        )
        + entries
        + change.inline
    )


def _decode_pack_change(body: bytes, place: int) -> tuple[PackChange, int]:
    pack, flags, epoch, start, end, length, count = _pack.unpack_from(body, place)
    place += _pack.size
    entries, place = decode_entries(body, place, count)
    inline = b""
    if flags:
        inline = body[place : place + end - start]
        place += end - start
    if start > end or place > len(body):
        raise Integrity("a journal's group is malformed")
    return PackChange(PackId(pack), Epoch(epoch), start, end, length, entries, inline), place


def encode_prepared(prepared: Prepared) -> bytes:
    root = prepared.root
    head = _prepared.pack(
        prepared.through, prepared.commit.number, prepared.commit.hash, root is not None,
        len(prepared.packs), len(prepared.data),
    )  # fmt: skip
    packs = b"".join(_counted.pack(pack, length) for pack, length in prepared.packs)
    return head + packs + prepared.data + (root or b"")


def decode_prepared(body: bytes) -> Prepared:
    """Raises Integrity."""
    try:
        through, number, digest, has_root, count, size = _prepared.unpack_from(body)
        place = _prepared.size
        packs, place = _decode_packs(body, place, count)
    except struct.error:
        raise Integrity("a journal's prepared commit is malformed") from None
    data, root = body[place : place + size], body[place + size :]
    if len(data) != size or len(digest) != HASH_BYTES or bool(root) != bool(has_root):
        raise Integrity("a journal's prepared commit is malformed")
    return Prepared(through, CommitId(number, digest), PackedRef(root) if root else None, packs, data)


def _decode_packs(body: bytes, place: int, count: int) -> tuple[tuple[tuple[PackId, int], ...], int]:
    packs = []
    for _ in range(count):
        pack, length = _counted.unpack_from(body, place)
        packs.append((PackId(pack), length))
        place += _counted.size
    return tuple(packs), place
