"""The local disk, as a protocol: what the drive's durability rests on, so that a simulation can stand in.

Everything raises OSError. What was written is on disk for certain only after :meth:`LocalFile.sync`
returned; what a folder shows, after :meth:`LocalFolder.sync`.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from cryptdrive.errors import CryptdriveError, DiskError, NoSpace

Buffer = bytes | bytearray | memoryview


class LocalFile(Protocol):
    """An open file; it is closed when nobody holds it any more."""

    def read(self, offset: int, length: int) -> bytes:
        """Fewer bytes only at the end of the file."""

    def write(self, offset: int, data: Buffer) -> None:
        """All of it."""

    def size(self) -> int: ...

    def sync(self) -> None:
        """What was written is on disk: fdatasync(2)."""


class LocalFolder(Protocol):
    """A folder of small names; its files are mode 0600."""

    @property
    def path(self) -> Path | None:
        """Where it is, for messages and links; None where it is no real one."""

    def folder(self, name: str) -> "LocalFolder":
        """A folder in it, made durably if it is not there."""

    def names(self) -> list[str]:
        """The files in it."""

    def create(self, name: str) -> LocalFile:
        """A new, empty file, in the place of one that was there."""

    def open(self, name: str, *, writable: bool = False) -> LocalFile:
        """Raises FileNotFoundError."""

    def rename(self, old: str, new: str) -> None:
        """``new`` goes if it is there."""

    def remove(self, name: str) -> None:
        """What is not there is no error."""

    def sync(self) -> None:
        """Its names are on disk."""

    def free_bytes(self) -> int:
        """Bytes that may still be written on its disk."""


def read_file(folder: LocalFolder, name: str) -> bytes | None:
    """A small file's content; None if there is none."""
    try:
        file = folder.open(name)
    except FileNotFoundError:
        return None
    return file.read(0, file.size())


def replace_durably(folder: LocalFolder, name: str, data: bytes) -> None:
    """Replace a file's content: after a crash there is the old or the new, never a mixture."""
    file = folder.create(name + ".new")
    file.write(0, data)
    file.sync()
    folder.rename(name + ".new", name)
    folder.sync()


def write_durably(path: Path, data: bytes) -> None:
    """:func:`replace_durably` for a file of this machine."""
    replace_durably(RealFolder(path.parent), path.name, data)


@contextmanager
def disk_errors(folder: LocalFolder, what: str) -> Iterator[None]:
    """OSError → DiskError or NoSpace, which say where; ``what`` could not be done."""
    try:
        yield
    except OSError as error:
        raise translate_disk_error(error, folder, what) from error


def translate_disk_error(error: OSError, folder: LocalFolder, what: str) -> CryptdriveError:
    kind = NoSpace if error.errno in (errno.ENOSPC, errno.EDQUOT) else DiskError
    return kind(f"{what} on this machine failed: {folder.path}: {error.strerror or error}")


class RealFile:
    """A file on a disk of this machine."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __del__(self) -> None:
        # Readers hold it while they read, so that nobody reads from a number that means another file.
        os.close(self._descriptor)

    def read(self, offset: int, length: int) -> bytes:
        content = os.pread(self._descriptor, length, offset)
        while len(content) < length:
            more = os.pread(self._descriptor, length - len(content), offset + len(content))
            if not more:
                break
            content += more
        return content

    def write(self, offset: int, data: Buffer) -> None:
        rest = memoryview(data).cast("B")
        while rest:
            count = os.pwrite(self._descriptor, rest, offset)
            rest, offset = rest[count:], offset + count

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def sync(self) -> None:
        os.fdatasync(self._descriptor)


class RealFolder:
    """A folder on a disk of this machine, which is there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        return self._path

    def folder(self, name: str) -> "RealFolder":
        inner = self._path / name
        if not inner.is_dir():
            inner.mkdir(mode=0o700)
        self.sync()  # also of one that is there: who made it may have died before, or failed
        return RealFolder(inner)

    def names(self) -> list[str]:
        with os.scandir(self._path) as entries:
            return sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))

    def create(self, name: str) -> RealFile:
        # Never written over in place: another name of the old file may be an object of a store.
        self.remove(name)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return RealFile(os.open(self._path / name, flags, 0o600))

    def open(self, name: str, *, writable: bool = False) -> RealFile:
        access = os.O_RDWR if writable else os.O_RDONLY
        return RealFile(os.open(self._path / name, access | os.O_NOFOLLOW | os.O_CLOEXEC))

    def rename(self, old: str, new: str) -> None:
        os.replace(self._path / old, self._path / new)

    def remove(self, name: str) -> None:
        (self._path / name).unlink(missing_ok=True)

    def sync(self) -> None:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free_bytes(self) -> int:
        status = os.statvfs(self._path)
        return status.f_bavail * status.f_frsize
