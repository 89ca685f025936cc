"""Reading a journal after a crash, a power failure or an ordinary end (docs/format.md §14).

What was being written when everything stopped is a torn tail: it was never acknowledged, and is
cut off. Anything else that cannot be read is damage, and reported: frames say up to where the
journal was on disk when they were written, and files say which frame they follow.
"""

from collections.abc import Iterator
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


@dataclass(slots=True)
class JournalContent:
    """What a journal holds, in order; groups that were trimmed may be missing at the start, or among it."""

    groups: list[Group] = field(default_factory=list)
    prepared: Prepared | None = None
    """The last one; those before were published."""
    end: JournalEnd = field(default_factory=JournalEnd)

    @property
    def last_sequence(self) -> int:
        return self.groups[-1].sequence if self.groups else 0


@dataclass(slots=True)
class _File:
    number: int
    data: memoryview
    marker: bytes
    start: Start
    first: Frame


def read_journal(folder: LocalFolder, sealer: Sealer) -> JournalContent:
    """All that counts; it is on disk for certain when this returns.

    Raises Integrity where acknowledged changes cannot be read; OSError.
    """
    names = sorted(name for name in folder.names() if len(name) == 16)
    chain = _chain(folder, sealer, names)
    content = JournalContent()
    parts: list[bytes] = []
    files: list[JournalFile] = []
    last: Frame | None = None
    sequence = 0
    for place, file in enumerate(chain):
        following = chain[place + 1].start if place + 1 < len(chain) else None
        for frame in _frames(folder, sealer, file, following):
            last = frame
            if frame.kind is FrameKind.GROUP:
                sequence, part, is_last = place_of_group(frame.body)
                if not part:
                    parts.clear()
                parts.append(frame.body)
                if is_last:
                    content.groups.append(decode_group(parts))
                    parts.clear()
            elif frame.kind is FrameKind.PREPARED:
                content.prepared = decode_prepared(frame.body)
        # What a process has read may be in the system's memory only: others are about to rely on it.
        folder.open(file_name(file.number)).sync()
        files.append(JournalFile(file.number, sequence))
    folder.sync()
    number_max = max((int(name, 16) for name in names), default=0)
    counting = {file.number for file in files}
    unused = [JournalFile(int(name, 16), 0) for name in names if int(name, 16) not in counting]
    if last is not None:
        content.end = JournalEnd(chain[-1].number, number_max, last.index, last.tag, (*unused, *files))
    return content


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


def _open(folder: LocalFolder, sealer: Sealer, name: str) -> _File | None:
    file = folder.open(name)
    data = memoryview(file.read(0, file.size()))
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
    return _File(number, data, marker, start, frame)


def _frames(folder: LocalFolder, sealer: Sealer, file: _File, following: Start | None) -> Iterator[Frame]:
    """A file's frames, up to the one that the ``following`` file says it follows. Raises Integrity."""
    frame = file.first
    while True:
        yield frame
        if following is not None and frame.index == following.previous_index:
            if frame.tag == following.previous_tag:
                return
            break
        found = open_frame(sealer, file.marker, file.data, frame.end)
        if found is None or found[1] != frame.tag or found[0].index != frame.index + 1:
            break
        frame = found[0]
    if following is not None or _claims_more(sealer, file, frame):
        raise Integrity(
            f"{_place(folder, file_name(file.number))}: the journal is damaged after frame {frame.index}: "
            "changes that were saved on this machine cannot be read"
        )


def _claims_more(sealer: Sealer, file: _File, last: Frame) -> bool:
    """Whether anything after the last whole frame says that more was on disk: damage, and no torn tail."""
    data, place = bytes(file.data), last.end
    while (place := data.find(file.marker, place)) >= 0:
        found = open_frame(sealer, file.marker, file.data, place)
        if found is not None and found[0].durable > last.index:
            return True
        place += 1
    return False


def _place(folder: LocalFolder, name: str) -> str:
    return f"{folder.path}/{name}" if folder.path is not None else name
