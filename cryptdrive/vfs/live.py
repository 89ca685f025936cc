"""What the running drive knows of inodes beyond their records: handles, references, unsealed bytes."""

import os
import threading
from dataclasses import dataclass, field

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

    __slots__ = ("buffer", "content_lock", "error", "handles", "inode", "sealing")

    def __init__(self, inode: InodeNumber) -> None:
        self.inode = inode
        self.buffer = WriteBuffer()
        self.sealing: WriteBuffer | None = None
        self.handles = 0
        self.content_lock = threading.Lock()
        self.error: Exception | None = None

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
    staged: bool = False
    """The file has no name yet: :meth:`publish` gives it one."""


@dataclass(slots=True)
class DirectoryHandle:
    """An open directory: where each reply began, so that any cookie given out can be found again."""

    inode: InodeNumber
    starts: list[tuple[int, bytes]] = field(default_factory=lambda: [(0, b"")])
    """(cookie, the name it was given for), growing: where replies began."""
    names: dict[int, bytes] = field(default_factory=dict)
    """cookie → name, of the last reply."""


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
