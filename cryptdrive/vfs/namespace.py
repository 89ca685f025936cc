"""Names: looking up, making, linking, removing and renaming."""

import os
import stat
from collections.abc import Callable

from cryptdrive.errors import (
    Exists,
    Invalid,
    IsADirectory,
    NameTooLong,
    NotADirectory,
    NotEmpty,
    NotFound,
    NotPermitted,
    TooManyLinks,
)
from cryptdrive.local.packing import PackAppender
from cryptdrive.objects.pack import Role
from cryptdrive.objects.ref import Ref
from cryptdrive.schema.inode import LINK_TARGET_BYTES_MAX, LINK_TARGET_INLINE_MAX, LINKS_MAX, Inode
from cryptdrive.schema.keys import dirent_key, dirent_range, orphan_key
from cryptdrive.schema.records import encode_dirent
from cryptdrive.types import ROOT_INODE, HandleId, InodeNumber
from cryptdrive.vfs.content import FileContent
from cryptdrive.vfs.core import Core, Transaction
from cryptdrive.vfs.live import access_of
from cryptdrive.vfs.names import check_new_name, check_old_name
from cryptdrive.vfs.values import Attr, Caller, EventKind, RenameFlags

_MAKEABLE = frozenset((stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK))
# Deeper than any path that can be named; a loop in a hostile tree ends here.
DEPTH_MAX = 1 << 16


class Namespace:
    """The operations on directory entries."""

    def __init__(self, core: Core, content: FileContent, appender: PackAppender) -> None:
        self._core = core
        self._content = content
        self._appender = appender

    # --- looking up ----------------------------------------------------------------------

    def lookup(self, parent: InodeNumber, name: bytes) -> Attr:
        """The inode that ``name`` stands for. Raises NotFound, NotADirectory, NameTooLong."""
        core = self._core

        def operation() -> Attr:
            directory = core.inode(parent)
            if not directory.is_directory:
                raise NotADirectory("not a directory")
            if name == b".":
                return core.attr(directory)
            if name == b"..":
                return core.attr(core.inode(directory.parent or parent))
            number = core.child(parent, name)
            if number is None:
                if len(name) > 255:
                    raise NameTooLong("a name has at most 255 bytes")
                raise NotFound("no such file or directory")
            return core.attr(core.inode(number))

        return core.read(operation)

    # --- making --------------------------------------------------------------------------

    def create(
        self, parent: InodeNumber, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[HandleId, Attr]:
        """open(2) with O_CREAT: make a regular file and open it, or open the one that is there."""
        core = self._core
        readable, writable, append = access_of(flags)

        def operation(transaction: Transaction) -> tuple[HandleId, Attr] | InodeNumber:
            transaction.directory(parent)
            found = transaction.child(parent, name)
            if found is not None:
                if flags & os.O_EXCL:
                    raise Exists("there is something of that name already")
                return found
            check_new_name(name)
            inode = self._add(transaction, parent, name, stat.S_IFREG | mode & 0o7777, caller)
            handle = self._content.add_handle(inode.number, readable, writable, append, caller)
            return handle, core.attr(inode)

        if not core.read_only:
            made = core.transact(operation, caller)
            if not isinstance(made, int):
                return made
            number = made
        else:
            number = self.lookup(parent, name).inode
            if flags & os.O_EXCL:
                raise Exists("there is something of that name already")
        handle = self._content.open(number, flags, caller)
        return handle, core.read(lambda: core.attr(core.inode(number)))

    def mknod(self, parent: InodeNumber, name: bytes, mode: int, rdev: int, caller: Caller) -> Attr:
        """A regular file, fifo, socket or device node; the type stands in ``mode``."""
        if not stat.S_IFMT(mode):
            mode |= stat.S_IFREG
        if stat.S_IFMT(mode) not in _MAKEABLE:
            raise Invalid("not a type that mknod makes")

        def fill(inode: Inode) -> None:
            if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                inode.rdev = rdev

        return self._make(parent, name, mode & 0o177777, caller, fill)

    def mkdir(self, parent: InodeNumber, name: bytes, mode: int, caller: Caller) -> Attr:
        return self._make(parent, name, stat.S_IFDIR | mode & 0o7777, caller, lambda inode: None)

    def symlink(self, parent: InodeNumber, name: bytes, target: bytes, caller: Caller) -> Attr:
        if not target:
            raise NotFound("a symbolic link's target is empty")
        if b"\0" in target:
            raise Invalid("a symbolic link's target holds NUL")
        if len(target) > LINK_TARGET_BYTES_MAX:
            raise NameTooLong(f"a symbolic link's target has at most {LINK_TARGET_BYTES_MAX} bytes")
        if len(target) <= LINK_TARGET_INLINE_MAX:
            return self._make_link(parent, name, target, len(target), caller)
        with self._core.sealing(len(target)):
            stored = self._appender.add(target, Role.LINK_TARGET, 0, 0)
            return self._make_link(parent, name, stored, len(target), caller)

    def _make_link(
        self, parent: InodeNumber, name: bytes, target: bytes | Ref, length: int, caller: Caller
    ) -> Attr:
        def fill(inode: Inode) -> None:
            inode.target = target
            inode.size = length

        return self._make(parent, name, stat.S_IFLNK | 0o777, caller, fill)

    def _make(
        self, parent: InodeNumber, name: bytes, mode: int, caller: Caller, fill: Callable[[Inode], None]
    ) -> Attr:
        def operation(transaction: Transaction) -> Attr:
            transaction.directory(parent)
            check_new_name(name)
            if transaction.child(parent, name) is not None:
                raise Exists("there is something of that name already")
            inode = self._add(transaction, parent, name, mode, caller)
            fill(inode)
            return self._core.attr(inode)

        return self._core.transact(operation, caller)

    def _add(
        self, transaction: Transaction, parent: InodeNumber, name: bytes, mode: int, caller: Caller
    ) -> Inode:
        """A new inode under ``name``, which is free."""
        directory = transaction.directory(parent)
        self._refuse_removed(directory)
        inode = transaction.new_inode(mode, caller)
        inherit_group(directory, inode)
        self.attach(transaction, parent, name, inode)
        return inode

    def attach(self, transaction: Transaction, parent: InodeNumber, name: bytes, inode: Inode) -> None:
        """Let ``name``, which is free or about to be replaced, stand for an inode being edited."""
        directory = transaction.touch_content(parent)
        if inode.is_directory:
            if directory.nlink >= LINKS_MAX:
                raise TooManyLinks("the directory has too many directories in it")
            directory.nlink += 1
            inode.parent = parent
            inode.nlink = max(inode.nlink, 2)
        else:
            inode.nlink += 1
        transaction.put(dirent_key(parent, name), encode_dirent(inode.number, inode.mode))
        transaction.event(EventKind.ENTRY, parent, name)

    @staticmethod
    def _refuse_removed(directory: Inode) -> None:
        if not directory.nlink:
            raise NotFound("the directory was removed")

    def link(self, number: InodeNumber, parent: InodeNumber, name: bytes, caller: Caller) -> Attr:
        """Another name for an inode that is not a directory."""

        def operation(transaction: Transaction) -> Attr:
            inode = transaction.inode(number)
            directory = transaction.directory(parent)
            self._refuse_removed(directory)
            check_new_name(name)
            if inode.is_directory:
                raise NotPermitted("a directory has one name only")
            if transaction.child(parent, name) is not None:
                raise Exists("there is something of that name already")
            if not inode.nlink:
                raise NotFound("the file was removed")
            if inode.nlink >= LINKS_MAX:
                raise TooManyLinks(f"an inode has at most {LINKS_MAX} links")
            inode = transaction.touch(number)
            self.attach(transaction, parent, name, inode)
            transaction.event(EventKind.ATTRIBUTES, number)
            return self._core.attr(inode)

        return self._core.transact(operation, caller)

    # --- removing ------------------------------------------------------------------------

    def unlink(self, parent: InodeNumber, name: bytes, caller: Caller) -> None:
        def operation(transaction: Transaction) -> None:
            transaction.directory(parent)
            check_old_name(name)
            number = transaction.existing_child(parent, name)
            if transaction.inode(number).is_directory:
                raise IsADirectory("is a directory")
            transaction.delete(dirent_key(parent, name))
            transaction.touch_content(parent)
            self.drop_link(transaction, number)
            transaction.event(EventKind.ENTRY, parent, name)

        self._core.transact(operation, caller, frees=True)

    def rmdir(self, parent: InodeNumber, name: bytes, caller: Caller) -> None:
        def operation(transaction: Transaction) -> None:
            transaction.directory(parent)
            if name == b"..":
                raise NotEmpty("'..' is not empty")
            check_old_name(name)
            number = transaction.existing_child(parent, name)
            self._require_empty(transaction, number)
            self._detach_directory(transaction, parent, name, number)

        self._core.transact(operation, caller, frees=True)

    def remove_tree(self, parent: InodeNumber, name: bytes, caller: Caller) -> None:
        """Remove a name with all that is below it, in one moment; the records go afterwards."""

        def operation(transaction: Transaction) -> bool:
            transaction.directory(parent)
            check_old_name(name)
            number = transaction.existing_child(parent, name)
            if not transaction.inode(number).is_directory:
                return False
            self._detach_directory(transaction, parent, name, number)
            self._core.purges.append(number)
            return True

        if not self._core.transact(operation, caller, frees=True):
            self.unlink(parent, name, caller)

    def _require_empty(self, transaction: Transaction, number: InodeNumber) -> None:
        """Raises NotADirectory, NotEmpty."""
        transaction.directory(number)
        start, stop = dirent_range(number)
        if self._core.map.scan(start, stop, 1):
            raise NotEmpty("the directory is not empty")

    def _detach_directory(
        self, transaction: Transaction, parent: InodeNumber, name: bytes, number: InodeNumber
    ) -> None:
        transaction.delete(dirent_key(parent, name))
        transaction.touch_content(parent).nlink -= 1
        self.drop_link(transaction, number)
        transaction.event(EventKind.ENTRY, parent, name)

    def drop_link(self, transaction: Transaction, number: InodeNumber) -> None:
        """One name less for an inode; without any it is an orphan until nothing uses it."""
        inode = transaction.touch(number)
        inode.nlink = 0 if inode.is_directory else inode.nlink - 1
        transaction.event(EventKind.ATTRIBUTES, number)
        if not inode.nlink:
            self.orphan(transaction, number)

    def orphan(self, transaction: Transaction, number: InodeNumber) -> None:
        """Note an inode without a name, so that the next mount removes it if this one does not."""
        transaction.put(orphan_key(self._core.counters.tag, number), b"")
        self._core.orphans.add(number)
        if not self._core.is_used(number):
            self._core.purges.append(number)

    # --- renaming ------------------------------------------------------------------------

    def rename(
        self,
        parent: InodeNumber,
        name: bytes,
        new_parent: InodeNumber,
        new_name: bytes,
        flags: RenameFlags,
        caller: Caller,
    ) -> None:
        """See renameat2(2)."""
        if flags not in (RenameFlags.NONE, RenameFlags.NOREPLACE, RenameFlags.EXCHANGE):
            raise Invalid("unknown rename flags")

        def operation(transaction: Transaction) -> None:
            transaction.directory(parent)
            transaction.directory(new_parent)
            check_old_name(name)
            check_old_name(new_name)
            moved = transaction.inode(transaction.existing_child(parent, name))
            target_number = transaction.child(new_parent, new_name)
            if flags & RenameFlags.EXCHANGE:
                if target_number is None:
                    raise NotFound("no such file or directory")
                target = transaction.inode(target_number)
                if target.number != moved.number:
                    self._exchange(transaction, (parent, name, moved), (new_parent, new_name, target))
                return
            self._refuse_removed(transaction.inode(new_parent))
            if target_number is not None:
                if flags & RenameFlags.NOREPLACE:
                    raise Exists("there is something of that name already")
                if target_number == moved.number:
                    return
            self._refuse_loop(transaction, moved, new_parent)
            if target_number is not None:
                self._remove_target(transaction, new_parent, moved, transaction.inode(target_number))
            self._move(transaction, moved, (parent, name), (new_parent, new_name))

        self._core.transact(operation, caller)

    def _move(
        self,
        transaction: Transaction,
        moved: Inode,
        old: tuple[InodeNumber, bytes],
        new: tuple[InodeNumber, bytes],
    ) -> None:
        """Take an inode from one name to another that nothing has any more."""
        transaction.delete(dirent_key(*old))
        transaction.put(dirent_key(*new), encode_dirent(moved.number, moved.mode))
        source, destination = transaction.touch_content(old[0]), transaction.touch_content(new[0])
        edited = transaction.touch(moved.number)
        if moved.is_directory and old[0] != new[0]:
            source.nlink -= 1
            destination.nlink += 1
            edited.parent = new[0]
        for directory, name in (old, new):
            transaction.event(EventKind.ENTRY, directory, name)
        transaction.event(EventKind.ATTRIBUTES, moved.number)

    def _remove_target(
        self, transaction: Transaction, parent: InodeNumber, moved: Inode, target: Inode
    ) -> None:
        """Make way for a rename. Raises IsADirectory, NotADirectory, NotEmpty."""
        if target.is_directory:
            if not moved.is_directory:
                raise IsADirectory("the new name is a directory")
            self._require_empty(transaction, target.number)
            transaction.touch_content(parent).nlink -= 1
        elif moved.is_directory:
            raise NotADirectory("the new name is not a directory")
        self.drop_link(transaction, target.number)

    def _exchange(
        self,
        transaction: Transaction,
        first: tuple[InodeNumber, bytes, Inode],
        second: tuple[InodeNumber, bytes, Inode],
    ) -> None:
        (parent, name, inode), (other_parent, other_name, other) = first, second
        self._refuse_loop(transaction, inode, other_parent)
        self._refuse_loop(transaction, other, parent)
        for directory, entry, new in ((parent, name, other), (other_parent, other_name, inode)):
            transaction.put(dirent_key(directory, entry), encode_dirent(new.number, new.mode))
            edited = transaction.touch(new.number)
            changed = transaction.touch_content(directory)
            if parent != other_parent:
                old = other if new is inode else inode
                changed.nlink += new.is_directory - old.is_directory
                if new.is_directory:
                    edited.parent = directory
            transaction.event(EventKind.ENTRY, directory, entry)
            transaction.event(EventKind.ATTRIBUTES, new.number)

    def _refuse_loop(self, transaction: Transaction, moved: Inode, new_parent: InodeNumber) -> None:
        """Raises Invalid where a directory would move below itself."""
        if not moved.is_directory:
            return
        number = new_parent
        for _ in range(DEPTH_MAX):
            if number == moved.number:
                raise Invalid("a directory cannot move into itself")
            if number in (ROOT_INODE, 0):
                return
            number = transaction.inode(number).parent
        raise Invalid("the directory lies too deep")


def inherit_group(directory: Inode, inode: Inode) -> None:
    """What lies in a set-group-id directory gets its group (inode_init_owner of Linux)."""
    if directory.mode & stat.S_ISGID:
        inode.gid = directory.gid
        if inode.is_directory:
            inode.mode |= stat.S_ISGID
