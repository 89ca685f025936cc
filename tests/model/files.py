"""The model's calls on one inode: attributes, content, extended attributes."""

import os
import stat

from cryptdrive.errors import (
    BadHandle,
    Exists,
    Invalid,
    NoAttribute,
    NotPermitted,
    TooBig,
    TooManyLevels,
)
from cryptdrive.types import HandleId, InodeNumber
from cryptdrive.vfs.values import NOW, Attr, Caller, SetAttr, XattrFlags
from tests.model.core import ModelCore, call
from tests.model.inodes import FILE_SIZE_MAX, PERMISSIONS, XATTR_VALUE_MAX, Handle, Node, check_xattr_name

RELATIME_NS = 24 * 3600 * 1_000_000_000


class FileCalls(ModelCore):
    """Calls on inodes and open files."""

    # --- attributes ------------------------------------------------------------------

    @call
    def getattr(self, inode: InodeNumber) -> Attr:
        return self._node(inode).attr()

    @call
    def setattr(
        self, inode: InodeNumber, changes: SetAttr, caller: Caller, handle: HandleId | None = None
    ) -> Attr:
        node = self._node(inode)
        if handle is not None:
            self._check_setattr_handle(handle, node, changes)
        if changes == SetAttr():
            return node.attr()
        self._check_writable()
        if changes.size is not None:
            self._check_size(node, changes.size)
        self._apply_owner_and_mode(node, changes, caller)
        if changes.size is not None:
            node.content.truncate(changes.size)
            self._stamp_content(node, caller.origin)
        self._stamp_attributes(node, caller.origin)
        if changes.atime_ns is not None:
            node.atime_ns = self._clock.now_ns() if changes.atime_ns == NOW else changes.atime_ns
        if changes.mtime_ns is not None:
            node.mtime_ns = self._clock.now_ns() if changes.mtime_ns == NOW else changes.mtime_ns
        return node.attr()

    def _check_setattr_handle(self, handle: HandleId, node: Node, changes: SetAttr) -> None:
        found, of_handle = self._handle(handle)
        if of_handle is not node:
            raise BadHandle("the handle belongs to another file")
        if changes.size is not None and not found.writable:
            raise BadHandle("the handle is not open for writing")

    def _check_size(self, node: Node, size: int) -> None:
        self._refuse_directory(node)
        if not node.is_regular or size < 0:
            raise Invalid("only a regular file has a size that can be set, and not below 0")
        if size > FILE_SIZE_MAX:
            raise TooBig("files end at 2^63 - 1 bytes")

    def _apply_owner_and_mode(self, node: Node, changes: SetAttr, caller: Caller) -> None:
        if changes.uid is not None:
            node.uid = changes.uid
        if changes.gid is not None:
            node.gid = changes.gid
        if changes.mode is not None:
            node.mode = stat.S_IFMT(node.mode) | changes.mode & PERMISSIONS
            return
        new_owner = changes.uid is not None or changes.gid is not None
        if (new_owner and not node.is_directory) or (changes.size is not None and caller.uid != 0):
            node.clear_set_id_bits()

    # --- open files ------------------------------------------------------------------

    @call
    def open(self, inode: InodeNumber, flags: int, caller: Caller) -> HandleId:
        return self._open_node(self._node(inode), flags, caller).number

    def _open_node(self, node: Node, flags: int, caller: Caller) -> Handle:
        self._refuse_directory(node)
        if node.is_symlink:
            raise TooManyLevels("a symbolic link cannot be opened")
        if not node.is_regular:
            raise Invalid("fifos, sockets and devices are opened by the kernel")
        if flags & os.O_ACCMODE == os.O_ACCMODE:
            raise Invalid("open for reading, writing or both")
        if flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC:
            self._check_writable()
        if flags & os.O_TRUNC:
            if caller.uid != 0:
                node.clear_set_id_bits()
            node.content.truncate(0)
            self._stamp_content(node, caller.origin)
        handle = self._open_handle(node, flags, caller)
        if handle.readable and not self.read_only:
            self._touch_atime(node)
        return handle

    def _touch_atime(self, node: Node) -> None:
        """As relatime does: only if it is older than the last change, or a day old."""
        now = self._clock.now_ns()
        if node.atime_ns <= max(node.mtime_ns, node.ctime_ns) or now - node.atime_ns >= RELATIME_NS:
            node.atime_ns = now

    @call
    def read(self, handle: HandleId, offset: int, size: int) -> bytes:
        found, node = self._handle(handle)
        if not found.readable:
            raise BadHandle("the handle is not open for reading")
        if offset < 0 or size < 0:
            raise Invalid("offset and size are not below 0")
        return node.content.read(offset, size)

    @call
    def write(self, handle: HandleId, offset: int, data: bytes) -> int:
        found, node = self._handle(handle)
        if not found.writable:
            raise BadHandle("the handle is not open for writing")
        self._check_writable()
        if found.flags & os.O_APPEND:
            offset = node.content.size
        if offset < 0:
            raise Invalid("the offset is not below 0")
        if not data:
            return 0
        if offset + len(data) > FILE_SIZE_MAX:
            raise TooBig("files end at 2^63 - 1 bytes")
        if found.caller.uid != 0:
            node.clear_set_id_bits()
        node.content.write(offset, bytes(data))
        self._stamp_content(node, found.caller.origin)
        return len(data)

    @call
    def flush(self, handle: HandleId) -> None:
        self._handle(handle)

    @call
    def sync_point(self) -> int:
        return 0

    def save_quickly(self, point: int) -> bool:
        return True

    def fsync(self, handle: HandleId, data_only: bool = False, point: int | None = None) -> None:
        self._handle(handle)

    @call
    def close(self, handle: HandleId) -> None:
        found, node = self._handle(handle)
        if found.directory:
            raise BadHandle("a directory's handle is closed by closedir")
        self._close_handle(found, node)

    # --- kernel references -----------------------------------------------------------

    @call
    def retain(self, inode: InodeNumber, count: int = 1) -> None:
        self._node(inode).references += count

    @call
    def release(self, inode: InodeNumber, count: int = 1) -> None:
        node = self._nodes.get(inode)
        if node is not None:
            node.references = max(0, node.references - count)
            self._forget_if_unused(node)

    # --- extended attributes ---------------------------------------------------------

    @call
    def getxattr(self, inode: InodeNumber, name: bytes) -> bytes:
        node = self._node(inode)
        if name not in node.xattrs:
            raise NoAttribute("no such attribute")
        return node.xattrs[name]

    @call
    def setxattr(
        self, inode: InodeNumber, name: bytes, value: bytes, flags: XattrFlags, caller: Caller
    ) -> None:
        check_xattr_name(name)
        if int(flags) & ~3:
            raise Invalid("unknown flags")
        if len(value) > XATTR_VALUE_MAX:
            raise TooBig(f"an attribute's value has at most {XATTR_VALUE_MAX} bytes")
        self._check_writable()
        node = self._node(inode)
        if name.startswith(b"user.") and not (node.is_regular or node.is_directory):
            raise NotPermitted("user.* attributes are for files and directories")
        if flags & XattrFlags.CREATE and name in node.xattrs:
            raise Exists("there is such an attribute already")
        if flags & XattrFlags.REPLACE and name not in node.xattrs:
            raise NoAttribute("no such attribute")
        node.xattrs[name] = bytes(value)
        self._stamp_attributes(node, caller.origin)

    @call
    def listxattr(self, inode: InodeNumber) -> list[bytes]:
        return sorted(self._node(inode).xattrs)

    @call
    def removexattr(self, inode: InodeNumber, name: bytes, caller: Caller) -> None:
        check_xattr_name(name)
        self._check_writable()
        node = self._node(inode)
        if name not in node.xattrs:
            raise NoAttribute("no such attribute")
        del node.xattrs[name]
        self._stamp_attributes(node, caller.origin)
