"""What the running drive knows of inodes beyond their records: handles, references, unsealed bytes."""

import os
import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from cryptdrive.errors import BadHandle
from cryptdrive.types import HandleId, InodeNumber
from cryptdrive.vfs.buffers import WriteBuffer
from cryptdrive.vfs.values import Caller


class LiveFile:
    """A file that is open or has unsealed bytes.

    ``buffer`` holds what was written since the last cut, ``sealing`` what is being sealed now. As
    long as ``sealing`` is set, nobody else may change the file's extents. Both are guarded by the
    drive's lock; ``lock`` is the per-file lock, taken before it.
    """

    __slots__ = ("buffer", "content_lock", "error", "extents_end", "failures", "handles", "inode", "sealing")

    def __init__(self, inode: InodeNumber) -> None:
        self.inode = inode
        self.buffer = WriteBuffer()
        self.sealing: WriteBuffer | None = None
        self.extents_end: int | None = None
        """No extent reaches beyond, so that appending need not look for what it would replace; None where
        that is not known. Whoever changes extents but by sealing sets it to None."""
        self.handles = 0
        self.content_lock = threading.Lock()
        self.error: Exception | None = None
        """Why its bytes could not be saved the last time that it was tried in the background."""
        self.failures = 0

    @property
    def unsealed_bytes(self) -> int:
        sealing = self.sealing
        return self.buffer.byte_count + (sealing.byte_count if sealing is not None else 0)

    @property
    def is_idle(self) -> bool:
        return not self.handles and not self.buffer and self.sealing is None


@dataclass(slots=True)
class FileHandle:
    """An open file."""

    inode: InodeNumber
    live: LiveFile
    readable: bool
    writable: bool
    append: bool
    caller: Caller
    failures_told: int = 0
    """How many of the file's failures whoever has this handle knows of, or had no part in."""
    staged: bool = False
    """The file has no name yet: :meth:`publish` gives it one."""


class DirectoryHandle:
    """An open directory. A name that was given out keeps its cookie as long as the handle is open.

    So a program may go back to any place, whatever came and went since (seekdir(3)). Of listings
    longer than COOKIES_MAX only the last names are known; places before them are counted from
    where a reply began, and then names that were removed shift them.
    """

    COOKIES_MAX = 1 << 17

    def __init__(self, inode: InodeNumber) -> None:
        self.inode = inode
        self.lock = threading.Lock()
        self._names: dict[int, bytes] = {}
        self._cookies: dict[bytes, int] = {}
        """The same the other way round; empty until a listing goes back for the first time."""
        self._last = 0
        self._frontier = (0, b"")
        """Cookie and name of what is furthest on in the directory."""
        self._starts: list[tuple[int, bytes]] = [(0, b"")]
        """(cookie, the name that the entries counted from it come after), where replies began."""

    def position(self, cookie: int) -> tuple[bytes, int]:
        """Where ``cookie`` is: the name after which to read, and how many entries to skip there."""
        if not cookie:
            return b"", 0
        name = self._names.get(cookie)
        if name is not None:
            return name, 0
        place = bisect_right(self._starts, cookie, key=lambda start: start[0]) - 1
        first, after = self._starts[place]
        return after, cookie - first

    def cookies(self, after: int, names: Sequence[bytes]) -> list[int]:
        """The cookies of names that are given out next, the first of them after cookie ``after``."""
        known = self._names
        if after == self._frontier[0]:
            given = list(range(self._last + 1, self._last + 1 + len(names)))
            known.update(zip(given, names, strict=True))
            if self._cookies:
                self._cookies.update(zip(names, given, strict=True))
            if names:
                self._starts.append((self._last, self._frontier[1]))
                self._last = given[-1]
                self._frontier = given[-1], names[-1]
        else:
            given = self._again(names)
        if len(known) > self.COOKIES_MAX:
            for cookie in list(islice(known, len(known) // 2)):
                self._cookies.pop(known.pop(cookie), None)
        return given

    def _again(self, names: Sequence[bytes]) -> list[int]:
        if not self._cookies:
            self._cookies.update((name, cookie) for cookie, name in self._names.items())
        given = []
        for name in names:
            cookie = self._cookies.get(name)
            if cookie is None:
                self._last += 1
                cookie = self._cookies[name] = self._last
                self._names[cookie] = name
                if name > self._frontier[1]:
                    self._frontier = cookie, name
            given.append(cookie)
        return given


class HandleTable:
    """Open handles by number. Thread-safe: dict operations are atomic, numbers are never reused."""

    def __init__(self) -> None:
        self._next = 1
        self._lock = threading.Lock()
        self._handles: dict[HandleId, FileHandle | DirectoryHandle] = {}

    def __len__(self) -> int:
        return len(self._handles)

    def add(self, handle: FileHandle | DirectoryHandle) -> HandleId:
        with self._lock:
            number = HandleId(self._next)
            self._next += 1
        self._handles[number] = handle
        return number

    def file(self, number: HandleId) -> FileHandle:
        """Raises BadHandle."""
        handle = self._handles.get(number)
        if handle.__class__ is not FileHandle:
            raise BadHandle("not an open file")
        return handle

    def directory(self, number: HandleId) -> DirectoryHandle:
        """Raises BadHandle."""
        handle = self._handles.get(number)
        if not isinstance(handle, DirectoryHandle):
            raise BadHandle("not an open directory")
        return handle

    def is_directory(self, number: HandleId) -> bool:
        """Whether it is an open directory's."""
        return isinstance(self._handles.get(number), DirectoryHandle)

    def remove(self, number: HandleId) -> FileHandle | DirectoryHandle:
        """Raises BadHandle."""
        handle = self._handles.pop(number, None)
        if handle is None:
            raise BadHandle("the handle is closed")
        return handle


def access_of(flags: int) -> tuple[bool, bool, bool]:
    """(readable, writable, append) of open(2)'s flags."""
    mode = flags & os.O_ACCMODE
    return mode in (os.O_RDONLY, os.O_RDWR), mode in (os.O_WRONLY, os.O_RDWR), bool(flags & os.O_APPEND)
