"""From this machine's files to a drive's."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress

from cryptdrive.cli.paths import about, joined
from cryptdrive.cli.terminal import Meter, complain, displayed
from cryptdrive.control.files import CONTENT_BYTES_MAX, DriveFiles, kind_at
from cryptdrive.errors import CryptdriveError, IsADirectory, NotADirectory, NotFound


class Upload:
    """Puts files and folders, with their modes and times. A file appears whole or not at all."""

    def __init__(self, files: DriveFiles, meter: Meter) -> None:
        self._files = files
        self._meter = meter

    def put(self, local: bytes, path: bytes) -> None:
        """Put a file, or a folder with all that is in it. Raises OSError, FileError."""
        status = os.lstat(local)
        if stat.S_ISDIR(status.st_mode):
            self._put_folder(local, path, status)
        elif stat.S_ISREG(status.st_mode):
            self._put_file(local, path)
        elif stat.S_ISLNK(status.st_mode):
            self._put_link(local, path)
        else:
            complain(f"{displayed(local)}: left out: neither a file nor a folder nor a link")

    def put_standard_input(self, path: bytes) -> None:
        """Put what comes on standard input."""
        self._publish(path, _pieces_of_stream(), None, None)

    def _put_folder(self, local: bytes, path: bytes, status: os.stat_result) -> None:
        with about(path):
            kind = kind_at(self._files, path)
            if not kind:
                self._files.make_directory(path, 0o700)
            elif not stat.S_ISDIR(kind):
                raise NotADirectory("not a directory; a folder cannot take its place")
        for name in sorted(os.listdir(local)):
            self.put(joined(local, name), joined(path, name))
        with about(path):
            self._files.set_attributes(path, stat.S_IMODE(status.st_mode), status.st_mtime_ns)

    def _put_link(self, local: bytes, path: bytes) -> None:
        target = os.readlink(local)
        with about(path):
            if stat.S_ISLNK(_own_kind(self._files, path)):
                self._files.remove(path, recursive=False)
            self._files.make_link(path, target)
            self._files.set_attributes(path, None, os.lstat(local).st_mtime_ns)

    def _put_file(self, local: bytes, path: bytes) -> None:
        # Not through a link that somebody puts there meanwhile, and without waiting at a fifo.
        file = os.open(local, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(file)
            self._meter.name(displayed(os.path.basename(local)))
            self._meter.expect(status.st_size)
            pieces = _pieces_of_file(file, status.st_size)
            self._publish(path, pieces, stat.S_IMODE(status.st_mode), status.st_mtime_ns)
        finally:
            os.close(file)

    def _publish(
        self, path: bytes, pieces: Iterator[tuple[int, bytes]], mode: int | None, mtime_ns: int | None
    ) -> None:
        with about(path):
            if stat.S_ISDIR(_own_kind(self._files, path)):
                raise IsADirectory("is a directory; a file cannot take its place")
            handle = self._files.stage()
            try:
                for offset, data in pieces:
                    self._files.write(handle, offset, data)
                    self._meter.advance(len(data))
                self._files.publish(handle, path, mode, mtime_ns, replace=True)
            except BaseException:
                with suppress(CryptdriveError):
                    self._files.close(handle)
                raise


def _own_kind(files: DriveFiles, path: bytes) -> int:
    """The file type of what has a name itself; 0 if there is nothing."""
    try:
        return stat.S_IFMT(files.stat(path).mode)
    except NotFound:
        return 0


def _pieces_of_stream() -> Iterator[tuple[int, bytes]]:
    offset = 0
    while data := sys.stdin.buffer.read(CONTENT_BYTES_MAX):
        yield offset, data
        offset += len(data)


def _pieces_of_file(file: int, size: int) -> Iterator[tuple[int, bytes]]:
    """The file's data without its holes, in pieces; a byte at the end where a hole ends it."""
    written = 0
    for start, end in _data_ranges(file, size):
        offset = start
        while offset < end and (data := os.pread(file, min(CONTENT_BYTES_MAX, end - offset), offset)):
            yield offset, data
            offset += len(data)
        written = offset
    if written < size:
        yield size - 1, b"\0"


def _data_ranges(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file has data (SEEK_DATA, lseek(2)); a file that grows is read to its size at the start."""
    position = 0
    while position < size:
        try:
            start = os.lseek(file, position, os.SEEK_DATA)
        except OSError:
            return  # ENXIO: only a hole is left
        end = min(os.lseek(file, start, os.SEEK_HOLE), size)
        if start >= end:
            return
        yield start, end
        position = end
