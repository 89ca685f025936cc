"""The model's tables: inodes, handles, lifetimes, times and events."""

import functools
import itertools
import stat
import threading
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from cryptdrive.clock import Clock
from cryptdrive.errors import BadHandle, IsADirectory, NotADirectory, NotFound, ReadOnly, Stale
from cryptdrive.types import ROOT_INODE, HandleId, InodeNumber
from cryptdrive.vfs.values import Caller, Event, EventKind
from tests.model.inodes import PERMISSIONS, Entry, Handle, Node, check_name

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Model = TypeVar("Model", bound="ModelCore")


def call(
    method: Callable[Concatenate[Model, Parameters], Result],
) -> Callable[Concatenate[Model, Parameters], Result]:
    """A call of the file system: under the lock; its events go out when the lock is free."""

    @functools.wraps(method)
    def wrapper(self: Model, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with self._lock:
            try:
                result = method(self, *args, **kwargs)
            finally:
                events, self._events = self._events, []
                subscribers = list(self._subscribers.values())
        for event in events:
            for subscriber in subscribers:
                subscriber(event)
        return result

    return wrapper


class ModelCore:
    """The tables and the rules that every call shares. Its methods expect the lock to be held."""

    root = ROOT_INODE

    def __init__(self, clock: Clock, *, read_only: bool = False, uid: int = 0, gid: int = 0) -> None:
        self.read_only = read_only
        self._clock = clock
        self._lock = threading.RLock()
        self._numbers = itertools.count(2)
        self._handle_numbers = itertools.count(1)
        self._sequences = itertools.count(1)
        self._changes = itertools.count(1)
        self._subscriptions = itertools.count(1)
        self._nodes: dict[InodeNumber, Node] = {}
        self._handles: dict[HandleId, Handle] = {}
        self._subscribers: dict[int, Callable[[Event], None]] = {}
        self._events: list[Event] = []
        root = Node(ROOT_INODE, stat.S_IFDIR | 0o755, uid, gid, nlink=2, parent=ROOT_INODE)
        self._stamp_birth(root)
        self._nodes[ROOT_INODE] = root

    # --- finding ---------------------------------------------------------------------

    def _node(self, inode: InodeNumber) -> Node:
        node = self._nodes.get(inode)
        if node is None:
            raise Stale(f"inode {inode} is gone")
        return node

    def _directory(self, inode: InodeNumber) -> Node:
        node = self._node(inode)
        if not node.is_directory:
            raise NotADirectory("not a directory")
        return node

    def _live_directory(self, inode: InodeNumber) -> Node:
        """A directory that new entries can go into: one that was removed takes none."""
        directory = self._directory(inode)
        if directory.nlink == 0:
            raise NotFound("the directory was removed")
        return directory

    def _find(self, directory: Node, name: bytes) -> Node | None:
        check_name(name)
        if name == b".":
            return directory
        if name == b"..":
            return self._node(directory.parent)
        entry = directory.entries.get(name)
        return self._node(entry.inode) if entry is not None else None

    def _child(self, directory: Node, name: bytes) -> Node:
        child = self._find(directory, name)
        if child is None:
            raise NotFound("no such entry")
        return child

    def _handle(self, handle: HandleId) -> tuple[Handle, Node]:
        found = self._handles.get(handle)
        if found is None:
            raise BadHandle("the handle is closed")
        return found, self._node(found.inode)

    def _is_within(self, inner: Node, outer: Node) -> bool:
        """Whether the directory ``inner`` is ``outer`` or lies anywhere below it."""
        while inner is not outer:
            if inner.parent == inner.number:
                return False
            inner = self._node(inner.parent)
        return True

    # --- changing --------------------------------------------------------------------

    def _check_writable(self) -> None:
        if self.read_only:
            raise ReadOnly("the drive is mounted read-only")

    def _stamp_birth(self, node: Node) -> None:
        now = self._clock.now_ns()
        node.atime_ns = node.mtime_ns = node.ctime_ns = node.btime_ns = now
        node.change = next(self._changes)

    def _stamp_attributes(self, node: Node, origin: str) -> None:
        """The inode changed: ctime."""
        node.ctime_ns = self._clock.now_ns()
        node.change = next(self._changes)
        self._events.append(Event(EventKind.ATTRIBUTES, node.number, origin=origin))

    def _stamp_content(self, node: Node, origin: str) -> None:
        """The bytes changed: mtime and ctime."""
        node.mtime_ns = node.ctime_ns = self._clock.now_ns()
        node.change = next(self._changes)
        self._events.append(Event(EventKind.CONTENT, node.number, origin=origin))

    def _stamp_entry(self, directory: Node, name: bytes, origin: str) -> None:
        """The directory names something else under ``name``: mtime and ctime."""
        directory.mtime_ns = directory.ctime_ns = self._clock.now_ns()
        directory.change = next(self._changes)
        self._events.append(Event(EventKind.ENTRY, directory.number, name, origin))

    def _new_node(self, directory: Node | None, mode: int, caller: Caller, rdev: int = 0) -> Node:
        """A new inode without a name; in a set-group-id directory it takes the directory's group."""
        node = Node(InodeNumber(next(self._numbers)), mode, caller.uid, caller.gid, rdev, nlink=0)
        if directory is not None:
            self._inherit_group(directory, node)
        self._stamp_birth(node)
        self._nodes[node.number] = node
        return node

    def _inherit_group(self, directory: Node, node: Node) -> None:
        if directory.mode & stat.S_ISGID:
            node.gid = directory.gid
            if node.is_directory:
                node.mode |= stat.S_ISGID

    def _put_entry(self, directory: Node, name: bytes, node: Node) -> None:
        """Make ``name`` mean ``node`` and count the link; a replaced entry keeps its place in listings.

        The caller has dropped the link of what was there.
        """
        entry = directory.entries.get(name)
        if entry is None:
            directory.entries[name] = Entry(node.number, next(self._sequences))
        else:
            entry.inode = node.number
        if node.is_directory:
            node.nlink = node.nlink or 2
            node.parent = directory.number
            directory.nlink += 1
        else:
            node.nlink += 1

    def _drop_link(self, directory: Node, node: Node, origin: str) -> None:
        """A name of ``node`` in ``directory`` goes: count, ctime, and the end if nobody holds it."""
        if node.is_directory:
            node.nlink = 0
            directory.nlink -= 1
        else:
            node.nlink -= 1
        self._stamp_attributes(node, origin)
        self._forget_if_unused(node)

    def _forget_if_unused(self, node: Node) -> None:
        if node.nlink == 0 and node.references == 0 and node.handles == 0:
            self._nodes.pop(node.number, None)

    def _open_handle(self, node: Node, flags: int, caller: Caller, *, directory: bool = False) -> Handle:
        handle = Handle(HandleId(next(self._handle_numbers)), node.number, flags, caller, directory)
        node.handles += 1
        self._handles[handle.number] = handle
        return handle

    def _close_handle(self, handle: Handle, node: Node) -> None:
        del self._handles[handle.number]
        node.handles -= 1
        self._forget_if_unused(node)

    @staticmethod
    def _refuse_directory(node: Node) -> None:
        if node.is_directory:
            raise IsADirectory("it is a directory")

    @staticmethod
    def _permissions(mode: int) -> int:
        return mode & PERMISSIONS
