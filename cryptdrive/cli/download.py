"""From a drive's files to this machine's."""

import os
import secrets
import stat
import sys
from contextlib import suppress

from cryptdrive.cli.paths import about, joined
from cryptdrive.cli.terminal import Meter, complain, displayed
from cryptdrive.control.files import CONTENT_BYTES_MAX, DriveFiles
from cryptdrive.errors import CryptdriveError, Exists
from cryptdrive.vfs.values import Attr

TEMPORARY_PREFIX = b".cryptdrive-"


class Download:
    """Gets files and folders, with their modes and times. A file appears whole or not at all."""

    def __init__(self, files: DriveFiles, meter: Meter) -> None:
        self._files = files
        self._meter = meter

    def get(self, path: bytes, local: bytes) -> None:
        """Get a file (of a link: what it leads to), or a folder with all that is in it.

        Raises OSError, FileError, Integrity.
        """
        with about(path):
            attr = self._files.stat(path, follow=True)
        self._get(path, attr, local)

    def get_to_standard_output(self, path: bytes) -> None:
        with about(path):
            handle = self._files.open(path)
            offset = 0
            while data := self._files.read(handle, offset, CONTENT_BYTES_MAX):
                sys.stdout.buffer.write(data)
                offset += len(data)
            self._files.close(handle)
        sys.stdout.buffer.flush()

    def _get(self, path: bytes, attr: Attr, local: bytes) -> None:
        if stat.S_ISDIR(attr.mode):
            self._get_folder(path, attr, local)
        elif stat.S_ISREG(attr.mode):
            self._get_file(path, attr, local)
        elif stat.S_ISLNK(attr.mode):
            self._get_link(path, attr, local)
        else:
            complain(f"{displayed(path)}: left out: neither a file nor a folder nor a link")

    def _get_folder(self, path: bytes, attr: Attr, local: bytes) -> None:
        try:
            os.mkdir(local, 0o700)
        except FileExistsError:
            # A link is not followed: an earlier download may have made it, to anywhere.
            if not stat.S_ISDIR(os.lstat(local).st_mode):
                raise Exists(f"{displayed(local)} is there and is no folder") from None
        with about(path):
            entries = list(self._files.entries(path))
        for name, entry in sorted(entries):
            self._get(joined(path, name), entry, joined(local, name))
        os.chmod(local, stat.S_IMODE(attr.mode) & 0o777)
        os.utime(local, ns=(attr.atime_ns, attr.mtime_ns))

    def _get_link(self, path: bytes, attr: Attr, local: bytes) -> None:
        with about(path):
            target = self._files.read_link(path)
        temporary = _temporary_beside(local)
        os.symlink(target, temporary)
        try:
            os.utime(temporary, ns=(attr.atime_ns, attr.mtime_ns), follow_symlinks=False)
            os.rename(temporary, local)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def _get_file(self, path: bytes, attr: Attr, local: bytes) -> None:
        self._meter.name(displayed(os.path.basename(local)))
        self._meter.expect(attr.size)
        temporary = _temporary_beside(local)
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                self._copy(path, file)
                os.fchmod(file, stat.S_IMODE(attr.mode) & 0o777)
                os.utime(file, ns=(attr.atime_ns, attr.mtime_ns))
                os.fsync(file)
            finally:
                os.close(file)
            os.rename(temporary, local)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def _copy(self, path: bytes, file: int) -> None:
        """The content; where it is all zeros a hole is left."""
        with about(path):
            handle = self._files.open(path)
            try:
                offset = 0
                while data := self._files.read(handle, offset, CONTENT_BYTES_MAX):
                    if data.count(0) != len(data):
                        _write_at(file, data, offset)
                    offset += len(data)
                    self._meter.advance(len(data))
                os.ftruncate(file, offset)
            finally:
                with suppress(CryptdriveError):
                    self._files.close(handle)


def _write_at(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _temporary_beside(local: bytes) -> bytes:
    """A new name in the same folder; short, for the name itself may be as long as names can be."""
    name = TEMPORARY_PREFIX + secrets.token_hex(8).encode("ascii")
    return os.path.join(os.path.dirname(local.rstrip(b"/")), name)
