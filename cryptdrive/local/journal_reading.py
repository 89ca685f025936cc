"""Reading a journal after a crash, a power failure or an ordinary end (docs/format.md §14).

What was being written when everything stopped is a torn tail: it was never acknowledged, and is
cut off. Anything else that cannot be read is damage, and reported: frames say up to where the
journal was on disk when they were written, and files say which frame they follow.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cryptdrive.crypto.sealing import Sealer
from cryptdrive.errors import Integrity
from cryptdrive.local.disk import LocalFolder
from cryptdrive.local.frames import (
    FILE_HEADER_BYTES,
    Frame,
    FrameKind,
    Group,
    Prepared,
    Start,
    decode_file_header,
    decode_group,
    decode_prepared,
    decode_start,
    open_frame,
    place_of_group,
)
from cryptdrive.local.journal import JournalEnd, JournalFile, file_name

_BEGINNING_BYTES = 4096
"""More than a file's header and first frame take."""


@dataclass(slots=True)
class JournalContent:
    """What a journal holds; groups that were trimmed may be missing at the start, or among it."""

    groups: Iterable[Group] = ()
    """In order. Read from the disk each time that they are gone through: a journal may be far larger
    than what it makes of the map."""
    last_sequence: int = 0
    """Of the last group that is whole; 0 for none."""
    prepared: Prepared | None = None
    """The last one; those before were published."""
    end: JournalEnd = field(default_factory=JournalEnd)


@dataclass(slots=True)
class _File:
    number: int
    marker: bytes
    start: Start
    first: Frame


class _Groups:
    """The groups in files that were found to be well. Raises Integrity, OSError."""

    def __init__(self, folder: LocalFolder, sealer: Sealer, chain: list[_File]) -> None:
        self._folder = folder
        self._sealer = sealer
        self._chain = chain

    def __iter__(self) -> Iterator[Group]:
        parts: list[bytes] = []
        for file, following in _with_following(self._chain):
            data = _load(self._folder, file.number)
            for frame in _frames(self._folder, self._sealer, file, data, following):
                if frame.kind is FrameKind.GROUP:
                    _, part, is_last = place_of_group(frame.body)
                    if not part:
                        parts.clear()
                    parts.append(frame.body)
                    if is_last:
                        yield decode_group(parts)
                        parts.clear()


def read_journal(folder: LocalFolder, sealer: Sealer, *, read_only: bool = False) -> JournalContent:
    """All that counts; it is on disk for certain when this returns, unless ``read_only``.

    Raises Integrity where acknowledged changes cannot be read; OSError.
    """
    names = sorted(name for name in folder.names() if len(name) == 16)
    chain = _chain(folder, sealer, names)
    content = JournalContent(_Groups(folder, sealer, chain))
    files: list[JournalFile] = []
    last: Frame | None = None
    sequence = 0
    for file, following in _with_following(chain):
        data = _load(folder, file.number)
        for frame in _frames(folder, sealer, file, data, following):
            last = frame
            if frame.kind is FrameKind.GROUP:
                sequence, _, is_last = place_of_group(frame.body)
                if is_last:
                    content.last_sequence = sequence
            elif frame.kind is FrameKind.PREPARED:
                content.prepared = decode_prepared(frame.body)
        if not read_only:
            _let_be_durable(folder, file, data, is_newest=following is None)
        files.append(JournalFile(file.number, sequence))
    if not read_only:
        folder.sync()
    number_max = max((int(name, 16) for name in names), default=0)
    counting = {file.number for file in files}
    unused = [JournalFile(int(name, 16), 0) for name in names if int(name, 16) not in counting]
    if last is not None:
        content.end = JournalEnd(chain[-1].number, number_max, last.index, last.tag, (*unused, *files))
    return content


def _let_be_durable(folder: LocalFolder, file: _File, data: memoryview, *, is_newest: bool) -> None:
    """What a process reads may be in the system's memory only, and others are about to rely on it.

    A sync alone does not tell: what an earlier one failed to write counts as written since (fsync(2),
    errors are reported once). Of all but the newest file the next one says how far it was on disk.
    """
    opened = folder.open(file_name(file.number), writable=is_newest)
    if is_newest:
        opened.write(0, data)
    opened.sync()


def _with_following(chain: list[_File]) -> Iterator[tuple[_File, Start | None]]:
    """Each file, and how the next one starts."""
    yield from zip(chain, [*(file.start for file in chain[1:]), None], strict=True) if chain else ()


def _chain(folder: LocalFolder, sealer: Sealer, names: list[str]) -> list[_File]:
    """The files that count, oldest first: the newest, and what each says it follows."""
    if not names:
        return []
    chain: list[_File] = []
    name = names[-1]
    while True:
        file = _open(folder, sealer, name)
        if file is None:
            raise Integrity(f"{_place(folder, name)}: the journal is damaged")
        chain.append(file)
        name = file_name(file.start.previous_number)
        if name not in names or file.start.previous_number >= file.number:
            # Trimmed: what it held is on the store. If it is not, the groups' numbers tell.
            return chain[::-1]


def _load(folder: LocalFolder, number: int) -> memoryview:
    file = folder.open(file_name(number))
    return memoryview(file.read(0, file.size()))


def _open(folder: LocalFolder, sealer: Sealer, name: str) -> _File | None:
    data = memoryview(folder.open(name).read(0, _BEGINNING_BYTES))
    header = decode_file_header(data[:FILE_HEADER_BYTES].tobytes())
    if header is None or file_name(header[0]) != name:
        return None
    number, marker = header
    found = open_frame(sealer, marker, data, FILE_HEADER_BYTES)
    if found is None or found[0].kind is not FrameKind.START:
        return None
    frame, previous = found
    start = decode_start(frame.body)
    if start.number != number or start.previous_tag != previous or frame.index != start.previous_index + 1:
        return None
    return _File(number, marker, start, frame)


def _frames(
    folder: LocalFolder, sealer: Sealer, file: _File, data: memoryview, following: Start | None
) -> Iterator[Frame]:
    """A file's frames, up to the one that the ``following`` file says it follows. Raises Integrity."""
    frame = file.first
    while True:
        yield frame
        if following is not None and frame.index == following.previous_index:
            if frame.tag == following.previous_tag:
                return
            break
        found = open_frame(sealer, file.marker, data, frame.end)
        if found is None or found[1] != frame.tag or found[0].index != frame.index + 1:
            break
        frame = found[0]
    if following is not None or _claims_more(sealer, file.marker, data, frame):
        raise Integrity(
            f"{_place(folder, file_name(file.number))}: the journal is damaged after frame {frame.index}: "
            "changes that were saved on this machine cannot be read"
        )


def _claims_more(sealer: Sealer, marker: bytes, data: memoryview, last: Frame) -> bool:
    """Whether anything after the last whole frame says that more was on disk: damage, and no torn tail."""
    content, place = bytes(data), last.end
    while (place := content.find(marker, place)) >= 0:
        found = open_frame(sealer, marker, data, place)
        if found is not None and found[0].durable > last.index:
            return True
        place += 1
    return False


def _place(folder: LocalFolder, name: str) -> str:
    return f"{folder.path}/{name}" if folder.path is not None else name
