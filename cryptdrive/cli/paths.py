"""Paths on the command line, and errors that say which path they are about."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from cryptdrive.cli.terminal import displayed
from cryptdrive.control.files import DriveFiles, kind_at
from cryptdrive.errors import FileError, NotADirectory


def path_in_drive(text: str) -> bytes:
    """A path as it was typed; it starts at the drive's root, with or without a ``/``."""
    return b"/" + os.fsencode(text).lstrip(b"/")


def last_part(path: bytes) -> bytes:
    """The last name in a path; empty for the root."""
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    return parts[-1] if parts else b""


def joined(folder: bytes, name: bytes) -> bytes:
    return folder.rstrip(b"/") + b"/" + name


@contextmanager
def about(path: bytes) -> Iterator[None]:
    """Errors of the file system in the block say that they are about ``path`` in the drive."""
    try:
        yield
    except FileError as error:
        text = displayed(path)
        if str(error).startswith(f"{text}: "):
            raise
        raise type(error)(f"{text}: {error}") from error


def placed(files: DriveFiles, target: bytes, source: bytes, *, several: bool = False) -> bytes:
    """Where ``source`` goes: into ``target`` if that is a directory, else to be ``target``.

    Raises NotADirectory where it has to be one, and is not.
    """
    with about(target):
        is_directory = stat.S_ISDIR(kind_at(files, target))
        if is_directory:
            return joined(target, last_part(source)) if last_part(source) else target
        if several or target.endswith(b"/"):
            raise NotADirectory("not a directory")
        return target
