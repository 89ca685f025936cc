"""The journal: what makes a change durable on this machine (docs/format.md §14)."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptdrive.clock import Randomness
from cryptdrive.crypto.sealing import HASH_BYTES, Sealer
from cryptdrive.local.disk import LocalFile, LocalFolder, disk_errors
from cryptdrive.local.frames import (
    MARKER_BYTES,
    FrameKind,
    Start,
    encode_file_header,
    encode_start,
    seal_frame,
)

JOURNAL_FILE_BYTES = 4 << 20
"""Files are written in full before they are used: a sync of what lies inside a file's size is three
times as fast as one that has to write the file's new size too."""
SPARE = "spare"
NEW = "new"


@dataclass(frozen=True, slots=True)
class JournalFile:
    """A file that still counts: its number, and the last group in it."""

    number: int
    last_sequence: int
    is_reusable: bool = False
    """It was made by this process, whole."""

    @property
    def name(self) -> str:
        return file_name(self.number)


@dataclass(frozen=True, slots=True)
class JournalEnd:
    """Where a journal goes on: after which file and frame, and the files so far.

    ``number_max`` is the highest number that any file has, counting or not.
    """

    number: int = 0
    number_max: int = 0
    index: int = 0
    tag: bytes = bytes(HASH_BYTES)
    files: tuple[JournalFile, ...] = field(default=())


def file_name(number: int) -> str:
    return f"{number:016x}"


class Journal:
    """Appends frames, each call durably. Thread-safe.

    A file is never appended to after a crash or a failure: what follows a failed sync is unknown.
    The next file says which frame it follows, so that what an abandoned one holds beyond is nothing.
    """

    def __init__(
        self,
        folder: LocalFolder,
        sealer: Sealer,
        randomness: Randomness,
        end: JournalEnd,
        *,
        file_bytes: int | None = None,
    ) -> None:
        self._folder = folder
        self._sealer = sealer
        self._randomness = randomness
        self._file_bytes = file_bytes or JOURNAL_FILE_BYTES
        self._lock = threading.Lock()
        self._file: LocalFile | None = None
        self._marker = b""
        self._position = 0
        self._number = end.number_max
        self._current: int | None = None
        """The file begun last, also if that failed."""
        self._index, self._tag = end.index, end.tag
        self._durable_number = end.number
        self._durable_index, self._durable_tag = end.index, end.tag
        self._files = list(end.files)
        self._last_sequence = 0
        self._is_whole = False
        self._is_begun = False
        self._has_spare = False
        """A spare that an earlier process left may be a file that counts, under another name."""
        self.sync_seconds = 0.0
        """How long the disk takes to keep something, of late."""
        self.syncs = 0
        """How often the disk was asked to keep what was appended."""

    def append(self, kind: FrameKind, bodies: Sequence[bytes], sequence: int = 0) -> None:
        """Append frames, which are on disk when it returns; ``sequence`` is the group's they are of.

        Raises DiskError, NoSpace: then none of them counts, and the caller appends them all again.
        """
        with self._lock, disk_errors(self._folder, "keeping changes in the journal"):
            # Before anything is written: the file must stay until that group is on the store.
            self._last_sequence = max(self._last_sequence, sequence)
            try:
                for body in bodies:
                    self._write(kind, body)
                self._sync()
            except BaseException:
                self._file = None
                self._index, self._tag = self._durable_index, self._durable_tag
                raise

    def _write(self, kind: FrameKind, body: bytes) -> None:
        if self._file is None:
            self._begin_file()
        data, tag = self._seal(kind, body)
        if self._position + len(data) > self._file_bytes:
            self._sync()
            self._begin_file()
            data, tag = self._seal(kind, body)
        assert self._file is not None
        self._file.write(self._position, data)
        self._position += len(data)
        self._index += 1
        self._tag = tag

    def _seal(self, kind: FrameKind, body: bytes) -> tuple[bytearray, bytes]:
        return seal_frame(
            self._sealer, self._marker, self._tag, self._index + 1, self._durable_index, kind, body
        )

    def _sync(self) -> None:
        if self._file is not None and self._index != self._durable_index:
            self.syncs += 1
            start = time.perf_counter()
            self._file.sync()
            self.sync_seconds += (time.perf_counter() - start - self.sync_seconds) / 8
            self._durable_index, self._durable_tag = self._index, self._tag

    def _begin_file(self) -> None:
        """Start the next file, after the last frame that is known to be on disk."""
        if self._current is not None:
            if self._is_begun:  # of one that was not begun there is nothing but NEW, or SPARE
                self._files.append(JournalFile(self._current, self._last_sequence, self._is_whole))
            self._current = None
        # Used up even if this fails: a file of that number may be there then.
        number = self._number = self._current = self._number + 1
        marker = self._randomness(MARKER_BYTES)
        self._file, self._is_whole, self._is_begun = None, False, False
        file, name = self._empty_file()
        header = encode_file_header(number, marker)
        body = encode_start(Start(number, self._durable_number, self._durable_index, self._durable_tag))
        index = self._durable_index + 1
        data, tag = seal_frame(
            self._sealer, marker, self._durable_tag, index, self._durable_index, FrameKind.START, body
        )
        file.write(0, header + bytes(data))
        file.sync()
        self._is_begun = True  # from here on a file of that number may be there
        self._folder.rename(name, file_name(number))
        self._folder.sync()
        self._is_whole = True
        self._file, self._marker, self._position = file, marker, len(header) + len(data)
        self._durable_number = number
        self._index = self._durable_index = index
        self._tag = self._durable_tag = tag

    def _empty_file(self) -> tuple[LocalFile, str]:
        if self._has_spare:
            self._has_spare = False
            # Its old name has to be gone for certain before its content is.
            self._folder.sync()
            return self._folder.open(SPARE, writable=True), SPARE
        file = self._folder.create(NEW)
        file.write(0, bytes(self._file_bytes))
        return file, NEW

    def trim(self, through: int) -> None:
        """Let go of the files that hold only groups up to ``through``, which are on the store.

        Raises DiskError; they are tried again the next time.
        """
        with self._lock, disk_errors(self._folder, "tidying the journal"):
            while self._files and self._files[0].last_sequence <= through:
                name = self._files[0].name
                if not self._has_spare and self._files[0].is_reusable:
                    self._folder.rename(name, SPARE)
                    self._has_spare = True
                else:
                    self._folder.remove(name)
                self._files.pop(0)

    @property
    def byte_size(self) -> int:
        """Bytes on disk of the files that wait to be trimmed."""
        return len(self._files) * self._file_bytes
