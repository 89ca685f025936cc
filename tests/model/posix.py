"""A POSIX file system in memory: simple, and obviously right.

``PosixModel`` has the calls, values and errors of the real file system and is what that is
compared with. Where the two differ on purpose, or POSIX leaves it open, the comparison leaves it
out: inode and handle numbers, ``change``, ``allocated``, atime, and the size of a directory.
"""

import os
import stat
from collections.abc import Callable

from cryptdrive.errors import BadHandle, Exists, Invalid
from cryptdrive.types import HandleId, InodeNumber
from cryptdrive.vfs.values import Attr, Caller, DirectoryEntry, Event, FileSystemStatistics
from tests.model.core import call
from tests.model.inodes import Node, check_name
from tests.model.namespace import DOTS, NamespaceCalls

LISTING_LENGTH = 256
TOTAL_BYTES = 1 << 50


class PosixModel(NamespaceCalls):
    """The model: names and files from its bases; here listings, uploads and whole trees."""

    # --- listings --------------------------------------------------------------------

    @call
    def opendir(self, inode: InodeNumber) -> HandleId:
        return self._open_handle(self._directory(inode), os.O_RDONLY, Caller(), directory=True).number

    @call
    def readdir(self, handle: HandleId, cookie: int = 0) -> list[DirectoryEntry]:
        """Entries in the order of their making: what stays is listed once, whatever comes and goes."""
        found, directory = self._handle(handle)
        if not found.directory:
            raise BadHandle("not a directory's handle")
        after = [
            (entry.sequence, name) for name, entry in directory.entries.items() if entry.sequence > cookie
        ]
        return [
            DirectoryEntry(name, sequence, self._node(directory.entries[name].inode).attr())
            for sequence, name in sorted(after)[:LISTING_LENGTH]
        ]

    @call
    def closedir(self, handle: HandleId) -> None:
        found, directory = self._handle(handle)
        if not found.directory:
            raise BadHandle("not a directory's handle")
        self._close_handle(found, directory)

    # --- uploads ---------------------------------------------------------------------

    @call
    def stage(self, mode: int, caller: Caller) -> HandleId:
        self._check_writable()
        node = self._new_node(None, stat.S_IFREG | self._permissions(mode), caller)
        handle = self._open_handle(node, os.O_RDWR, caller)
        handle.staged = True
        return handle.number

    @call
    def publish(
        self, handle: HandleId, parent: InodeNumber, name: bytes, replace: bool, caller: Caller
    ) -> Attr:
        found, node = self._handle(handle)
        if not found.staged:
            raise BadHandle("not a stage")
        directory, old = self._place(parent, name, replace)
        if old is not None:
            self._refuse_directory(old)
        self._inherit_group(directory, node)
        if old is not None:
            if old.is_regular:
                node.mode, node.uid, node.gid, node.xattrs = old.mode, old.uid, old.gid, dict(old.xattrs)
            self._drop_link(directory, old, caller.origin)
        self._put_entry(directory, name, node)
        self._stamp_attributes(node, caller.origin)
        self._stamp_entry(directory, name, caller.origin)
        self._close_handle(found, node)
        return node.attr()

    def _place(self, parent: InodeNumber, name: bytes, replace: bool) -> tuple[Node, Node | None]:
        """Where a whole file or tree goes, and what is there now."""
        directory = self._live_directory(parent)
        old = self._find(directory, name)
        if old is not None and (not replace or name in DOTS):
            raise Exists("there is such an entry already")
        self._check_writable()
        return directory, old

    # --- whole trees -----------------------------------------------------------------

    @call
    def clone(
        self, source: InodeNumber, parent: InodeNumber, name: bytes, replace: bool, caller: Caller
    ) -> Attr:
        check_name(name)
        above = self._node(parent)
        if above.is_directory and source in self._nodes and self._is_within(above, self._node(source)):
            raise Invalid("a directory cannot be copied into itself")
        directory, old = self._place(parent, name, replace)
        node = self._node(source)
        if old is node:
            raise Invalid("a copy cannot replace what it is made from")
        copy = self._copy(node, directory, caller)
        if old is not None:
            self._remove(directory, name, old, caller)
        self._put_entry(directory, name, copy)
        self._stamp_entry(directory, name, caller.origin)
        return copy.attr()

    def _copy(self, node: Node, directory: Node, caller: Caller) -> Node:
        """Content, mode, mtime and attributes of the source; the caller as owner; other times now.

        The copy has no name yet, so that what is replaced may hold the source.
        """
        copy = self._new_node(directory, node.mode, caller, node.rdev)
        copy.content, copy.target, copy.xattrs = node.content.copy(), node.target, dict(node.xattrs)
        for name, entry in sorted(node.entries.items()):
            self._put_entry(copy, name, self._copy(self._node(entry.inode), copy, caller))
        if copy.is_directory:
            copy.nlink = 2 + sum(self._node(entry.inode).is_directory for entry in copy.entries.values())
        copy.mtime_ns = node.mtime_ns
        return copy

    @call
    def remove_tree(self, parent: InodeNumber, name: bytes, caller: Caller) -> None:
        directory = self._directory(parent)
        self._check_writable()
        if name in DOTS:
            raise Invalid("'.' and '..' cannot be removed")
        self._remove(directory, name, self._child(directory, name), caller)

    def _remove(self, directory: Node, name: bytes, node: Node, caller: Caller) -> None:
        for child_name, entry in list(node.entries.items()):
            self._remove(node, child_name, self._node(entry.inode), caller)
        self._remove_entry(directory, name, node, caller)

    # --- the whole -------------------------------------------------------------------

    @call
    def statfs(self) -> FileSystemStatistics:
        used = sum(node.content.allocated for node in self._nodes.values())
        return FileSystemStatistics(
            TOTAL_BYTES, TOTAL_BYTES - used, TOTAL_BYTES - used, used, len(self._nodes)
        )

    def sync(self) -> None:
        """Everything is as durable as it gets."""

    def restart(self) -> None:
        """What closing and opening the drive does: no handle and no reference is left."""
        with self._lock:
            self._handles.clear()
            for node in list(self._nodes.values()):
                node.handles = node.references = 0
                self._forget_if_unused(node)

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        with self._lock:
            number = next(self._subscriptions)
            self._subscribers[number] = callback

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers.pop(number, None)

        return unsubscribe
