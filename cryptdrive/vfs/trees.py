"""Whole files and trees: uploads, copies that share extents, removing what nothing names."""

import logging
import stat

from cryptdrive.errors import BadHandle, Exists, Integrity, Invalid, IsADirectory, NotFound, Stale
from cryptdrive.schema.inode import HAS_XATTRS, Inode
from cryptdrive.schema.keys import (
    PREFIX_BYTES,
    Kind,
    dirent_key,
    dirent_name,
    dirent_range,
    extent_end,
    extent_key,
    inode_key,
    inode_range,
    orphan_key,
    xattr_key,
    xattr_range,
)
from cryptdrive.schema.records import decode_dirent, decode_extent, encode_dirent
from cryptdrive.types import ROOT_INODE, HandleId, InodeNumber
from cryptdrive.vfs.content import FileContent
from cryptdrive.vfs.core import Core, SealingInProgress, Transaction
from cryptdrive.vfs.live import HandleTable
from cryptdrive.vfs.names import check_new_name
from cryptdrive.vfs.namespace import DEPTH_MAX, Namespace, inherit_group
from cryptdrive.vfs.sealing import ContentSealer
from cryptdrive.vfs.values import Attr, Caller

_PIECE = 256
_log = logging.getLogger(__name__)


class Trees:
    """stage, publish, clone, and the purge of orphans."""

    def __init__(
        self,
        core: Core,
        handles: HandleTable,
        content: FileContent,
        namespace: Namespace,
        sealer: ContentSealer,
    ) -> None:
        self._core = core
        self._handles = handles
        self._content = content
        self._namespace = namespace
        self._sealer = sealer

    # --- uploads ---------------------------------------------------------------------------

    def stage(self, mode: int, caller: Caller) -> HandleId:
        """A new file without a name, open for writing. Closing it discards it."""

        def operation(transaction: Transaction) -> HandleId:
            inode = self._detached(transaction, stat.S_IFREG | mode & 0o7777, caller)
            handle = self._content.add_handle(inode.number, True, True, False, caller)
            self._handles.file(handle).staged = True
            return handle

        return self._core.transact(operation, caller)

    def _detached(self, transaction: Transaction, mode: int, caller: Caller) -> Inode:
        """A new inode that is an orphan until it gets a name, so that a crash leaves nothing behind."""
        inode = transaction.new_inode(mode, caller)
        transaction.put(orphan_key(self._core.counters.tag, inode.number), b"")
        self._core.orphans.add(inode.number)
        return inode

    def publish(
        self, handle: HandleId, parent: InodeNumber, name: bytes, replace: bool, caller: Caller
    ) -> Attr:
        """Give a staged file its name, in one moment; the handle is closed.

        With ``replace`` it takes the place of a file of that name, whose mode, owner and extended
        attributes it gets. Raises Exists, IsADirectory; the stage stays then.
        """
        found = self._handles.file(handle)
        if not found.staged:
            raise BadHandle("the handle is not a stage")

        def operation(transaction: Transaction) -> Attr:
            staged = transaction.inode(found.inode)
            old = self._place(transaction, parent, name, replace)
            if old is not None and old.is_directory:
                raise IsADirectory("the name is a directory")
            xattrs = self._xattrs(old) if old is not None and old.is_regular else []
            inode = transaction.touch(staged.number)
            for key, value in xattrs:
                inode.flags |= HAS_XATTRS
                transaction.put(xattr_key(inode.number, key[PREFIX_BYTES:]), value)
            self._attach(transaction, parent, name, inode, old)
            if old is not None and old.is_regular:
                # After the new name gave it a group, which is for new files only.
                inode.mode, inode.uid, inode.gid = old.mode, old.uid, old.gid
            return self._core.attr(inode)

        attr = self._core.transact(operation, caller)
        self._handles.remove(handle)
        self._content.close_file(found)
        return attr

    def _xattrs(self, inode: Inode) -> list[tuple[bytes, bytes]]:
        if not inode.flags & HAS_XATTRS:
            return []
        start, stop = xattr_range(inode.number)
        return self._core.map.scan(start, stop, 65536)

    def _place(
        self, transaction: Transaction, parent: InodeNumber, name: bytes, replace: bool
    ) -> Inode | None:
        """What stands where a new name is to be. Raises Exists if it may not be replaced."""
        directory = transaction.directory(parent)
        if not directory.nlink:
            raise NotFound("the directory was removed")
        check_new_name(name)
        number = transaction.child(parent, name)
        if number is None:
            return None
        if not replace:
            raise Exists("there is something of that name already")
        return transaction.inode(number)

    def _attach(
        self, transaction: Transaction, parent: InodeNumber, name: bytes, inode: Inode, old: Inode | None
    ) -> None:
        """Name a detached inode, which is being edited; ``old`` goes."""
        inherit_group(transaction.inode(parent), inode)
        transaction.delete(orphan_key(self._core.counters.tag, inode.number))
        self._core.orphans.discard(inode.number)
        if old is not None:
            if old.is_directory:
                transaction.edit(parent).nlink -= 1
            self._namespace.drop_link(transaction, old.number)
            if old.is_directory:
                self._core.purges.append(old.number)
        self._namespace.attach(transaction, parent, name, inode)

    # --- copies ----------------------------------------------------------------------------

    def clone(
        self, source: InodeNumber, parent: InodeNumber, name: bytes, replace: bool, caller: Caller
    ) -> Attr:
        """A copy of a file or a whole tree that shares the extents. See FileSystem.clone."""
        core = self._core
        check_new_name(name)
        self._refuse_inside(source, parent)
        core.transact(lambda transaction: self._place(transaction, parent, name, replace), caller)
        copy = self._clone_one(source, parent, caller)
        try:
            directories = self._clone_below(source, copy, caller)
            return self._name_tree(source, copy, directories, parent, name, replace, caller)
        except Exception:
            core.purges.append(copy)
            raise

    def _clone_below(self, source: InodeNumber, copy: InodeNumber, caller: Caller) -> int:
        """Copy all that is below a directory; returns how many directories lie directly in it."""
        pending = self._clone_entries(source, copy, caller)
        directories = len(pending)
        seen = {source}
        while pending:
            original, made = pending.pop()
            if original in seen:
                raise Integrity("a directory lies in two places")
            seen.add(original)
            pending += self._clone_entries(original, made, caller)
        return directories

    def _name_tree(
        self,
        source: InodeNumber,
        copy: InodeNumber,
        directories: int,
        parent: InodeNumber,
        name: bytes,
        replace: bool,
        caller: Caller,
    ) -> Attr:
        """Let a finished copy appear, in one moment."""

        def operation(transaction: Transaction) -> Attr:
            old = self._place(transaction, parent, name, replace)
            if old is not None and old.number == source:
                raise Invalid("a file cannot be copied over itself")
            inode = transaction.touch(copy)
            if inode.is_directory:
                inode.nlink = 2 + directories
            self._attach(transaction, parent, name, inode, old)
            return self._core.attr(inode)

        return self._core.transact(operation, caller)

    def _refuse_inside(self, source: InodeNumber, parent: InodeNumber) -> None:
        """Raises Invalid where a directory would be copied into itself."""

        def operation() -> None:
            number = parent
            for _ in range(DEPTH_MAX):
                if number == source:
                    raise Invalid("a directory cannot be copied into itself")
                if number in (ROOT_INODE, 0):
                    return
                number = self._core.inode(number).parent
            raise Integrity("the directory lies too deep")

        self._core.read(operation)

    def _clone_one(self, source: InodeNumber, parent: InodeNumber, caller: Caller) -> InodeNumber:
        """A detached copy of one inode, to lie in ``parent``: attributes, extended attributes, extents.

        No entries.
        """
        core = self._core
        live = core.live.get(source)
        if live is not None and live.unsealed_bytes:
            self._sealer.seal_file(live)

        def operation(transaction: Transaction) -> InodeNumber:
            original = transaction.inode(source)
            live = core.live.get(source)
            if live is not None and live.sealing is not None:
                raise SealingInProgress
            records = self._copied_records(original)
            above = transaction.inode(parent)
            copy = self._detached(transaction, original.mode, caller)
            inherit_group(above, copy)
            copy.size, copy.allocated, copy.rdev = original.size, original.allocated, original.rdev
            copy.target, copy.flags = original.target, original.flags
            copy.mtime_ns = original.mtime_ns
            if copy.is_directory:
                copy.nlink, copy.size, copy.allocated = 0, 0, 0
            prefix = inode_key(copy.number)[:8]
            for key, value in records:
                transaction.put(prefix + key[8:], value)
            if live is not None and live.buffer:
                target = core.live_file(copy.number)
                for offset, run in live.buffer.runs():
                    core.buffer_write(target, offset, run)
            transaction.usage[0] += copy.allocated
            return copy.number

        return core.transact(operation, caller)

    def _copied_records(self, inode: Inode) -> list[tuple[bytes, bytes]]:
        """A file's extents and xattrs; under the drive's lock."""
        records: list[tuple[bytes, bytes]] = []
        ranges = [xattr_range(inode.number)] if inode.flags & HAS_XATTRS else []
        if inode.allocated:
            ranges.append((extent_key(inode.number, 0), extent_end(inode.number)))
        for begin, stop in ranges:
            start = begin
            while True:
                piece = self._core.map.scan(start, stop, 4096)
                records += piece
                if len(piece) < 4096:
                    break
                start = piece[-1][0] + b"\0"
        return records

    def _clone_entries(
        self, original: InodeNumber, made: InodeNumber, caller: Caller
    ) -> list[tuple[InodeNumber, InodeNumber]]:
        """Copy what lies in a directory; returns the directories among it, to be gone on with."""
        core = self._core
        directories = []
        start, stop = dirent_range(original)
        while True:
            begin = start
            piece = core.read(lambda begin=begin: core.map.scan(begin, stop, _PIECE))  # type: ignore[misc]
            for key, value in piece:
                try:
                    copy = self._clone_one(decode_dirent(value).inode, made, caller)
                except Stale:
                    continue
                if self._name_copy(made, dirent_name(key), copy, caller):
                    directories.append((decode_dirent(value).inode, copy))
            if len(piece) < _PIECE:
                return directories
            start = piece[-1][0] + b"\0"

    def _name_copy(self, directory: InodeNumber, name: bytes, copy: InodeNumber, caller: Caller) -> bool:
        """Put a detached copy into a detached directory; True if it is a directory itself."""

        def operation(transaction: Transaction) -> bool:
            transaction.inode(directory)
            inode = transaction.edit(copy)
            if inode.is_directory:
                inode.nlink, inode.parent = 2, directory
                above = transaction.edit(directory)
                if above.nlink:
                    # The copied tree's top has no links, for it is an orphan until it is named.
                    above.nlink += 1
            else:
                inode.nlink = 1
            transaction.delete(orphan_key(self._core.counters.tag, copy))
            self._core.orphans.discard(copy)
            transaction.put(dirent_key(directory, name), encode_dirent(copy, inode.mode))
            return inode.is_directory

        return self._core.transact(operation, caller)

    # --- removing what nothing names -----------------------------------------------------------

    def purge_some(self, count: int = 64) -> bool:
        """Remove the records of some inodes that nothing names or uses; True if there is more to do."""
        purges = self._core.purges
        for _ in range(min(count, len(purges))):
            try:
                number = purges.popleft()
            except IndexError:
                break
            try:
                if not self._purge(number):
                    purges.append(number)
            except Stale:
                continue
            except Integrity as error:
                # Its orphan record stays, so that it is tried again when the drive is opened next.
                _log.warning("what is left of removed inode %d cannot be freed: %s", number, error)
        return bool(purges)

    def _purge(self, number: InodeNumber) -> bool:
        """Remove up to _PIECE of an orphan's records; True when nothing is left to do.

        What a removed directory still holds loses its name first, so that it is an orphan of its
        own, and a tree of any depth goes piece by piece.
        """
        core = self._core

        def operation(transaction: Transaction) -> bool:
            inode = transaction.inode(number)
            if inode.nlink:
                return True
            used = core.is_used(number)
            if used and not inode.is_directory:
                return True
            live = core.live.get(number)
            if live is not None and live.sealing is not None:
                raise SealingInProgress
            if used:
                # Whoever has it open finds it empty, but still with its extended attributes.
                start, stop = dirent_range(number)
            else:
                start, stop = inode_key(number) + b"\0", inode_range(number)[1]
            records = core.map.scan(start, stop, _PIECE)
            children = [decode_dirent(value).inode for key, value in records if key[8] == Kind.DIRENT]
            for child in children:
                transaction.inode(child)
            freed = 0
            for key, value in records:
                if key[8] == Kind.EXTENT:
                    freed += decode_extent(0, value).length
                transaction.delete(key)
            for child in children:
                if transaction.inode(child).is_directory:
                    core.purges.append(child)
                self._namespace.drop_link(transaction, child)
            transaction.usage[0] -= freed
            if len(records) == _PIECE:
                transaction.edit(number).allocated -= freed
                return False
            if used:
                return True
            if live is not None:
                core.buffer_truncate(live, 0)
                core.live.pop(number, None)
            core.access_times.pop(number, None)
            core.orphans.discard(number)
            transaction.forget_inode(number)
            transaction.delete(orphan_key(number >> 40, number))
            transaction.delete(orphan_key(core.counters.tag, number))
            return True

        return core.transact(operation, internal=True)

    def purge_all(self) -> None:
        """Until there is nothing to do that can be done now."""
        while self.purge_some():
            pass
