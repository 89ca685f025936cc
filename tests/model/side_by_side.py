"""Runs the same calls on a file system and on the model, and compares all that can be seen."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from cryptdrive.errors import Exists, FileError, Invalid, IsADirectory, NotEmpty, NotPermitted, TooManyLevels
from cryptdrive.types import ROOT_INODE, HandleId, InodeNumber
from cryptdrive.vfs.values import Attr, Caller, Event, EventKind
from tests.model.inodes import Node
from tests.model.posix import PosixModel

READ_WHOLE_MAX = 1 << 20
MARGIN = 5000
ROOT_CALLER = Caller()
KERNEL_REFUSES = {(TooManyLevels, Invalid), (NotEmpty, IsADirectory), (Exists, NotPermitted)}
"""Errors of Linux and of the file system where the kernel never asks it: opening a symbolic link;
renaming a file over a directory that holds it; linking a directory to a name that is taken."""


class Drive(Protocol):
    """What is compared with the model, and what can be done to it besides file-system calls."""

    @property
    def fs(self) -> Any: ...

    def seal(self) -> None:
        """Seal what some file has in memory, before its time."""

    def meanwhile(self, action: Callable[[], None]) -> AbstractContextManager[None]:
        """Until the block's end ``action`` is called while bytes are being sealed."""

    def publish(self) -> None:
        """What the background thread does: seal and put on the store what has changed."""

    def settle(self) -> None:
        """Do the housekeeping that waits: remove what nothing names or uses any more."""

    def drop_caches(self) -> None:
        """Forget what can be read again."""

    def reopen(self) -> None:
        """Close, saving everything, and open again; handles and references are gone."""

    def close(self) -> None: ...


class ModelDrive:
    """A model in the place of the real thing, to try the comparison itself."""

    def __init__(self, model: PosixModel) -> None:
        self.fs = model

    def seal(self) -> None:
        pass

    @contextmanager
    def meanwhile(self, action: Callable[[], None]) -> Iterator[None]:
        yield
        action()

    def publish(self) -> None:
        pass

    def settle(self) -> None:
        pass

    def drop_caches(self) -> None:
        pass

    def reopen(self) -> None:
        self.fs.restart()

    def close(self) -> None:
        pass


@dataclass
class Side:
    """One of the two, with its own numbers for what both know under one index."""

    fs: Any
    inodes: list[InodeNumber] = field(default_factory=lambda: [ROOT_INODE])
    handles: dict[int, HandleId] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)


Outcome = tuple[Any, type[FileError] | None]


class SideBySide:
    """Both sides. Inodes and handles are named by indexes that mean the same on both."""

    def __init__(self, drive: Drive, model: PosixModel) -> None:
        self.drive = drive
        self.model = model
        self.real = Side(drive.fs)
        self.expected = Side(model)
        self._next_handle = 0
        self.in_step = False
        """True from a step's first call until :meth:`agree`: when it failed, nothing is left to compare."""
        for side in (self.real, self.expected):
            side.fs.subscribe(side.events.append)

    # --- calls -----------------------------------------------------------------------

    def call(
        self, action: Callable[[Side], Any], *, settle: bool = False, any_error: bool = False
    ) -> tuple[Any, Any] | None:
        """Do it on both; the results, or None where both refused in the same way.

        ``settle``: wait for the housekeeping that belongs to it, whose events have no origin.
        ``any_error``: several things may be wrong, and it is open which is named.
        """
        self.in_step = True
        for side in (self.real, self.expected):
            side.events.clear()
        expected, expected_error = _attempt(action, self.expected)
        real, real_error = _attempt(action, self.real)
        if settle:
            self.drive.settle()
        if any_error and expected_error is not None:
            assert real_error is not None
        elif (expected_error, real_error) not in KERNEL_REFUSES:
            assert real_error == expected_error, f"{real_error} instead of {expected_error}; got {real!r}"
        self._compare_events(with_origin=not settle)
        return None if expected_error is not None else (real, expected)

    def same(self, action: Callable[[Side], Any], **how: bool) -> Any:
        """Do it on both; the results are plain values and must be equal."""
        results = self.call(action, **how)
        if results is None:
            return None
        assert results[0] == results[1]
        return results[0]

    def attr(self, action: Callable[[Side], Attr], **how: bool) -> int | None:
        """Do it on both; the results are attributes. The index of their inode."""
        results = self.call(action, **how)
        return None if results is None else self.learn(*results)

    def learn(self, real: Attr, expected: Attr) -> int:
        """Compare attributes; the index under which both know the inode from now on."""
        assert shown(real) == shown(expected)
        if expected.inode in self.expected.inodes:
            index = self.expected.inodes.index(expected.inode)
            assert self.real.inodes[index] == real.inode, "another inode than before"
            return index
        assert real.inode not in self.real.inodes, "an inode number was used again"
        self.real.inodes.append(real.inode)
        self.expected.inodes.append(expected.inode)
        return len(self.expected.inodes) - 1

    def add_handle(self, real: HandleId, expected: HandleId) -> int:
        self._next_handle += 1
        self.real.handles[self._next_handle] = real
        self.expected.handles[self._next_handle] = expected
        return self._next_handle

    def drop_handle(self, index: int) -> None:
        del self.real.handles[index], self.expected.handles[index]

    def reopen(self) -> None:
        self.drive.reopen()
        self.model.restart()
        self.real.fs = self.drive.fs
        self.real.fs.subscribe(self.real.events.append)
        self.real.handles.clear()
        self.expected.handles.clear()

    def agree(self) -> None:
        """The step's end: all attributes are the same."""
        self.compare_attributes()
        self.in_step = False

    # --- comparing -------------------------------------------------------------------

    def compare_attributes(self) -> None:
        """Of every inode that there is."""
        for index, inode in enumerate(self.expected.inodes):
            if inode in self.model._nodes:
                results = self.call(_getattr(index))
                assert results is not None
                assert shown(results[0]) == shown(results[1]), f"inode {index}"

    def compare_the_gone(self) -> None:
        """Every inode that was ever seen and is gone is gone on both sides."""
        self.drive.settle()
        for index, inode in enumerate(self.expected.inodes):
            if inode not in self.model._nodes:
                assert self.call(_getattr(index)) is None

    def compare_trees(self) -> None:
        """Names, attributes, contents, extended attributes and hard links of everything."""
        self.compare_attributes()
        self.compare_the_gone()
        self._compare_directory(0)
        for node in list(self.model._nodes.values()):
            if node.number in self.expected.inodes:
                self._compare_inode(self.expected.inodes.index(node.number), node)

    def _compare_directory(self, index: int) -> None:
        real = {entry.name: entry.attr for entry in listing(self.real.fs, self.real.inodes[index])}
        expected = {entry.name: entry.attr for entry in listing(self.model, self.expected.inodes[index])}
        assert sorted(real) == sorted(expected)
        for name in sorted(expected):
            child = self.learn(real[name], expected[name])
            if stat.S_ISDIR(expected[name].mode):
                self._compare_directory(child)

    def _compare_inode(self, index: int, node: Node) -> None:
        self.same(lambda side: sorted(side.fs.listxattr(side.inodes[index])))
        for name in node.xattrs:
            self.same(_getxattr(index, name))
        if node.is_symlink:
            self.same(lambda side: side.fs.readlink(side.inodes[index]))
        if node.is_regular:
            for offset, size in _ranges(node):
                assert self._content(index, offset, size), f"content of inode {index} from {offset}"

    def _content(self, index: int, offset: int, size: int) -> bool:
        real, expected = (
            read_once(side.fs, side.inodes[index], offset, size) for side in (self.real, self.expected)
        )
        return real == expected

    def _compare_events(self, with_origin: bool) -> None:
        """Every change that the model tells, the other side tells too; more does no harm."""
        told = {self._event_key(self.real, event, with_origin) for event in self.real.events}
        for event in filter(self._must_be_told, self.expected.events):
            kind, index, *rest = self._event_key(self.expected, event, with_origin)
            also = {EventKind.ATTRIBUTES: EventKind.CONTENT}.get(kind, kind)
            assert {(kind, index, *rest), (also, index, *rest)} & told, f"{event} is missing among {told}"

    def _must_be_told(self, event: Event) -> bool:
        """Nobody can still see what a directory held that was removed with all that is in it."""
        node = self.model._nodes.get(event.inode)
        removed = node is None or (event.kind is EventKind.ENTRY and node.nlink == 0)
        return event.inode in self.expected.inodes and not removed

    @staticmethod
    def _event_key(side: Side, event: Event, with_origin: bool) -> tuple[EventKind, int | None, bytes, str]:
        index = side.inodes.index(event.inode) if event.inode in side.inodes else None
        return event.kind, index, event.name, event.origin if with_origin else ""


def _getattr(index: int) -> Callable[[Side], Any]:
    return lambda side: side.fs.getattr(side.inodes[index])


def _getxattr(index: int, name: bytes) -> Callable[[Side], Any]:
    return lambda side: side.fs.getxattr(side.inodes[index], name)


def _attempt(action: Callable[[Side], Any], side: Side) -> Outcome:
    try:
        return action(side), None
    except FileError as error:
        return None, type(error)


def shown(attr: Attr) -> tuple[int, ...]:
    """What both must agree about. When a directory lost its last entry after it was removed is open."""
    directory = stat.S_ISDIR(attr.mode)
    return (
        attr.mode,
        attr.uid,
        attr.gid,
        attr.nlink,
        0 if directory else attr.size,
        attr.rdev,
        0 if directory and not attr.nlink else attr.mtime_ns,
        attr.ctime_ns,
        attr.btime_ns,
    )


def listing(fs: Any, inode: InodeNumber) -> list[Any]:
    """All entries of a directory."""
    handle = fs.opendir(inode)
    entries: list[Any] = []
    cookie = 0
    while page := fs.readdir(handle, cookie):
        entries += page
        cookie = page[-1].cookie
    fs.closedir(handle)
    return entries


def read_once(fs: Any, inode: InodeNumber, offset: int, size: int) -> bytes:
    handle = fs.open(inode, os.O_RDONLY, ROOT_CALLER)
    try:
        content: bytes = fs.read(handle, offset, size)
        return content
    finally:
        fs.close(handle)


def _ranges(node: Node) -> list[tuple[int, int]]:
    """What to read of a file: all of a small one; of a large one its data, the margins and the ends."""
    size = node.content.size
    if size <= READ_WHOLE_MAX:
        return [(0, size + 1)]
    ranges = [(0, MARGIN), (size // 2, MARGIN), (max(0, size - MARGIN), 2 * MARGIN)]
    for offset, length in node.content.data_ranges():
        start = max(0, offset - MARGIN)
        if ranges and ranges[-1][0] <= start <= sum(ranges[-1]) and len(ranges) > 3:
            ranges[-1] = (ranges[-1][0], offset + length + MARGIN - ranges[-1][0])
        else:
            ranges.append((start, offset + length + MARGIN - start))
    return ranges
