"""The model's calls on names: making, removing, moving and finding them."""

import os
import stat

from cryptdrive.errors import (
    Busy,
    Exists,
    Invalid,
    IsADirectory,
    NotADirectory,
    NotEmpty,
    NotFound,
    NotPermitted,
    TooManyLevels,
    TooManyLinks,
)
from cryptdrive.types import HandleId, InodeNumber
from cryptdrive.vfs.values import Attr, Caller, RenameFlags
from tests.model.core import call
from tests.model.files import FileCalls
from tests.model.inodes import LINKS_MAX, Node, check_name, check_target

SYMLINKS_FOLLOWED_MAX = 40
DOTS = (b".", b"..")
MKNOD_TYPES = (stat.S_IFREG, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)


class NamespaceCalls(FileCalls):
    """Calls on a directory and a name."""

    # --- finding ---------------------------------------------------------------------

    @call
    def lookup(self, parent: InodeNumber, name: bytes) -> Attr:
        return self._child(self._directory(parent), name).attr()

    @call
    def resolve(self, path: bytes, follow: bool = False) -> Attr:
        return self._walk(path, follow).attr()

    @call
    def parent_of(self, path: bytes) -> tuple[Attr, bytes]:
        before, _, name = path.rstrip(b"/").rpartition(b"/")
        check_name(name)
        parent = self._walk(before, follow=False)
        return self._directory(parent.number).attr(), name

    def _walk(self, path: bytes, follow: bool) -> Node:
        node = self._node(self.root)
        parts = _parts(path)
        followed = 0
        while parts:
            directory = self._directory(node.number)
            node = self._child(directory, parts.pop(0))
            if follow and node.is_symlink:
                followed += 1
                if followed > SYMLINKS_FOLLOWED_MAX:
                    raise TooManyLevels("too many symbolic links on the way")
                parts = _parts(node.target) + parts
                node = self._node(self.root) if node.target.startswith(b"/") else directory
        return node

    @call
    def readlink(self, inode: InodeNumber) -> bytes:
        node = self._node(inode)
        if not node.is_symlink:
            raise Invalid("not a symbolic link")
        return node.target

    # --- making ----------------------------------------------------------------------

    @call
    def create(
        self, parent: InodeNumber, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[HandleId, Attr]:
        directory = self._directory(parent)
        existing = self._find(directory, name)
        if existing is not None:
            if flags & os.O_EXCL:
                raise Exists("there is such an entry already")
            handle = self._open_node(existing, flags, caller)
            return handle.number, existing.attr()
        node = self._make(parent, name, stat.S_IFREG | self._permissions(mode), caller)
        handle = self._open_handle(node, flags & ~os.O_TRUNC, caller)
        return handle.number, node.attr()

    @call
    def mknod(self, parent: InodeNumber, name: bytes, mode: int, rdev: int, caller: Caller) -> Attr:
        kind = stat.S_IFMT(mode) or stat.S_IFREG
        if kind == stat.S_IFDIR:
            raise NotPermitted("mknod makes no directories")
        if kind not in MKNOD_TYPES:
            raise Invalid("not a type of file that mknod makes")
        device = rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0
        return self._make(parent, name, kind | self._permissions(mode), caller, device).attr()

    @call
    def mkdir(self, parent: InodeNumber, name: bytes, mode: int, caller: Caller) -> Attr:
        return self._make(parent, name, stat.S_IFDIR | self._permissions(mode), caller).attr()

    @call
    def symlink(self, parent: InodeNumber, name: bytes, target: bytes, caller: Caller) -> Attr:
        check_target(target)
        node = self._make(parent, name, stat.S_IFLNK | 0o777, caller)
        node.target = target
        return node.attr()

    @call
    def link(self, inode: InodeNumber, parent: InodeNumber, name: bytes, caller: Caller) -> Attr:
        node = self._node(inode)
        directory = self._directory_for_new(parent, name)
        if node.is_directory:
            raise NotPermitted("a directory has no second name")
        if node.nlink == 0:
            raise NotFound("the file was removed")
        if node.nlink >= LINKS_MAX:
            raise TooManyLinks("the file has too many names")
        self._put_entry(directory, name, node)
        self._stamp_attributes(node, caller.origin)
        self._stamp_entry(directory, name, caller.origin)
        return node.attr()

    def _directory_for_new(self, parent: InodeNumber, name: bytes) -> Node:
        """The directory ``parent``, once it is sure that it can take ``name`` as a new entry."""
        directory = self._live_directory(parent)
        if self._find(directory, name) is not None:
            raise Exists("there is such an entry already")
        self._check_writable()
        return directory

    def _make(self, parent: InodeNumber, name: bytes, mode: int, caller: Caller, rdev: int = 0) -> Node:
        directory = self._directory_for_new(parent, name)
        if stat.S_ISDIR(mode):
            self._check_room(directory)
        node = self._new_node(directory, mode, caller, rdev)
        self._put_entry(directory, name, node)
        self._stamp_entry(directory, name, caller.origin)
        return node

    @staticmethod
    def _check_room(directory: Node) -> None:
        if directory.nlink >= LINKS_MAX:
            raise TooManyLinks("the directory holds too many directories")

    # --- removing --------------------------------------------------------------------

    @call
    def unlink(self, parent: InodeNumber, name: bytes, caller: Caller) -> None:
        directory = self._directory(parent)
        self._check_writable()
        node = self._child(directory, name)
        self._refuse_directory(node)
        self._remove_entry(directory, name, node, caller)

    @call
    def rmdir(self, parent: InodeNumber, name: bytes, caller: Caller) -> None:
        directory = self._directory(parent)
        self._check_writable()
        if name == b".":
            raise Invalid("'.' cannot be removed")
        if name == b"..":
            raise NotEmpty("'..' cannot be removed")
        node = self._child(directory, name)
        if not node.is_directory:
            raise NotADirectory("not a directory")
        if node.entries:
            raise NotEmpty("the directory is not empty")
        self._remove_entry(directory, name, node, caller)

    def _remove_entry(self, directory: Node, name: bytes, node: Node, caller: Caller) -> None:
        del directory.entries[name]
        self._drop_link(directory, node, caller.origin)
        self._stamp_entry(directory, name, caller.origin)

    # --- moving ----------------------------------------------------------------------

    @call
    def rename(
        self,
        parent: InodeNumber,
        name: bytes,
        new_parent: InodeNumber,
        new_name: bytes,
        flags: RenameFlags,
        caller: Caller,
    ) -> None:
        old_directory, new_directory = self._directory(parent), self._directory(new_parent)
        self._check_rename_arguments(name, new_name, flags)
        self._check_writable()
        node = self._child(old_directory, name)
        target = self._find(new_directory, new_name)
        if new_directory.nlink == 0:
            raise NotFound("the directory was removed")
        if target is not None and flags & RenameFlags.NOREPLACE:
            raise Exists("there is such an entry already")
        if target is None and flags & RenameFlags.EXCHANGE:
            raise NotFound("nothing to exchange with")
        self._check_descent(node, target, old_directory, new_directory, flags)
        if node is target:
            return
        if target is not None and flags & RenameFlags.EXCHANGE:
            self._exchange(old_directory, name, node, new_directory, new_name, target)
            self._stamp_attributes(target, caller.origin)
        else:
            self._check_replacing(node, target)
            if node.is_directory and target is None and old_directory is not new_directory:
                self._check_room(new_directory)
            self._move(old_directory, name, node, new_directory, new_name, target, caller)
        self._stamp_attributes(node, caller.origin)
        self._stamp_entry(old_directory, name, caller.origin)
        self._stamp_entry(new_directory, new_name, caller.origin)

    @staticmethod
    def _check_rename_arguments(name: bytes, new_name: bytes, flags: RenameFlags) -> None:
        if int(flags) & ~3 or (flags & RenameFlags.NOREPLACE and flags & RenameFlags.EXCHANGE):
            raise Invalid("unknown flags, or flags that exclude each other")
        if name in DOTS:
            raise Busy("'.' and '..' cannot be moved")
        if new_name in DOTS and flags & RenameFlags.NOREPLACE:
            raise Exists("there is such an entry already")
        if new_name in DOTS:
            raise Busy("'.' and '..' cannot be replaced")

    def _check_descent(
        self, node: Node, target: Node | None, old_directory: Node, new_directory: Node, flags: RenameFlags
    ) -> None:
        if node.is_directory and self._is_within(new_directory, node):
            raise Invalid("a directory cannot be moved into itself")
        if target is not None and target.is_directory and self._is_within(old_directory, target):
            if flags & RenameFlags.EXCHANGE:
                raise Invalid("a directory cannot be exchanged with what it holds")
            raise NotEmpty("the directory that would be replaced holds what is moved")

    def _check_replacing(self, node: Node, target: Node | None) -> None:
        if target is None:
            return
        if node.is_directory and not target.is_directory:
            raise NotADirectory("a directory replaces only a directory")
        if target.is_directory and not node.is_directory:
            raise IsADirectory("a file does not replace a directory")
        if target.entries:
            raise NotEmpty("the directory that would be replaced is not empty")

    def _move(
        self,
        old_directory: Node,
        name: bytes,
        node: Node,
        new_directory: Node,
        new_name: bytes,
        target: Node | None,
        caller: Caller,
    ) -> None:
        if target is not None:
            self._drop_link(new_directory, target, caller.origin)
        del old_directory.entries[name]
        self._take_link(old_directory, node)
        self._put_entry(new_directory, new_name, node)

    def _exchange(
        self,
        old_directory: Node,
        name: bytes,
        node: Node,
        new_directory: Node,
        new_name: bytes,
        target: Node,
    ) -> None:
        self._take_link(old_directory, node)
        self._take_link(new_directory, target)
        self._put_entry(old_directory, name, target)
        self._put_entry(new_directory, new_name, node)

    @staticmethod
    def _take_link(directory: Node, node: Node) -> None:
        """Uncount a name that comes back elsewhere in the same call."""
        if node.is_directory:
            directory.nlink -= 1
        else:
            node.nlink -= 1


def _parts(path: bytes) -> list[bytes]:
    """The names on the way; "." and doubled or trailing slashes mean nothing."""
    return [part for part in path.split(b"/") if part not in (b"", b".")]
