"""Attributes and extended attributes."""

import stat
from collections.abc import Callable

from cryptdrive.errors import (
    Exists,
    Invalid,
    NoAttribute,
    NoSpace,
    NotPermitted,
    OutOfRange,
    TooBig,
    Unsupported,
)
from cryptdrive.local.packing import PackAppender
from cryptdrive.objects.pack import Role
from cryptdrive.objects.reader import BlobReader
from cryptdrive.objects.ref import Ref
from cryptdrive.schema.inode import HAS_XATTRS, Inode
from cryptdrive.schema.keys import PREFIX_BYTES, XATTR_NAME_BYTES_MAX, inode_key, xattr_key, xattr_range
from cryptdrive.schema.records import XATTR_INLINE_MAX, XATTR_VALUE_BYTES_MAX, decode_xattr, encode_xattr
from cryptdrive.tree.memtable import MISSING
from cryptdrive.types import InodeNumber
from cryptdrive.vfs.content import FileContent, without_set_id
from cryptdrive.vfs.core import Core, Transaction
from cryptdrive.vfs.values import NOW, Attr, Caller, EventKind, SetAttr, XattrFlags

_NAMESPACES = (b"user.", b"trusted.", b"security.")
# What Linux lets listxattr(2) return at all.
XATTR_NAMES_BYTES_MAX = 65536
_TIME_MAX = (1 << 63) - 1
_ID_MAX = 0xFFFFFFFF


STATE_ATTRIBUTE = b"user.cryptdrive.state"
"""Shows where the newest of a file is; not listed, and not kept."""


class Attributes:
    """getattr, setattr and the calls on extended attributes."""

    def __init__(
        self,
        core: Core,
        content: FileContent,
        appender: PackAppender,
        reader: BlobReader,
        is_sending: Callable[[], bool],
    ) -> None:
        """``is_sending``: whether what is being published is on its way, and not waiting for the store."""
        self._is_sending = is_sending
        self._core = core
        self._content = content
        self._appender = appender
        self._reader = reader

    def getattr(self, number: InodeNumber) -> Attr:
        """Raises Stale."""
        core = self._core
        return core.read(lambda: core.attr(core.inode(number)))

    def setattr(self, number: InodeNumber, changes: SetAttr, caller: Caller) -> Attr:
        """Change what ``changes`` names, all at once; returns what it is then."""
        _check(changes)
        core = self._core

        def operation(transaction: Transaction) -> Attr:
            if changes.size is not None:
                self._content.set_size(transaction, number, changes.size)
            inode = transaction.touch(number)
            owner_changes = changes.uid is not None or changes.gid is not None
            truncated_by_user = changes.size is not None and caller.uid != 0
            if (owner_changes and not inode.is_directory) or truncated_by_user:
                inode.mode = without_set_id(inode.mode)
            if changes.mode is not None:
                inode.mode = stat.S_IFMT(inode.mode) | changes.mode & 0o7777
            if changes.uid is not None:
                inode.uid = changes.uid
            if changes.gid is not None:
                inode.gid = changes.gid
            if changes.atime_ns is not None:
                inode.atime_ns = _stored_time(changes.atime_ns, transaction.now_ns)
                core.access_times.pop(number, None)
            if changes.mtime_ns is not None:
                inode.mtime_ns = _stored_time(changes.mtime_ns, transaction.now_ns)
            transaction.event(EventKind.ATTRIBUTES, number)
            return core.attr(inode)

        if changes == SetAttr():
            return self.getattr(number)
        return core.transact(operation, caller)

    # --- extended attributes ---------------------------------------------------------------

    def getxattr(self, number: InodeNumber, name: bytes) -> bytes:
        """Raises NoAttribute."""
        if name == STATE_ATTRIBUTE:
            return self.state(number)
        core = self._core

        def operation() -> bytes | None:
            # The kernel asks for security.capability before every write: say no without a look-up.
            if not core.inode(number).flags & HAS_XATTRS:
                return None
            return core.map.get(xattr_key(number, name)) if len(name) <= XATTR_NAME_BYTES_MAX else None

        record = core.read(operation)
        if record is None:
            raise NoAttribute("no such extended attribute")
        value = decode_xattr(record)
        return self._reader.read(value, 0, value.length) if isinstance(value, Ref) else value

    def state(self, number: InodeNumber) -> bytes:
        """Where the newest of an inode is: ``memory``, ``local``, ``uploading``, ``stored``."""
        core, key = self._core, inode_key(number)

        def operation() -> bytes:
            core.inode(number)
            live, changes = core.live.get(number), core.map
            if live is not None and live.unsealed_bytes:
                return b"memory"
            for layer, state in (
                (changes.active, b"memory"),
                (changes.cut, b"memory"),
                (changes.saved, b"local"),
                (changes.frozen, b"uploading" if self._is_sending() else b"local"),
            ):
                if layer is not None and layer.get(key) is not MISSING:
                    return state
            return b"stored"

        return core.read(operation)

    def setxattr(
        self, number: InodeNumber, name: bytes, value: bytes, flags: XattrFlags, caller: Caller
    ) -> None:
        """Raises Exists or NoAttribute by the flags, Unsupported for namespaces that are not kept."""
        self._check_name(name)
        _refuse_state(name)
        if len(value) > XATTR_VALUE_BYTES_MAX:
            raise TooBig(f"an extended attribute has at most {XATTR_VALUE_BYTES_MAX} bytes")
        if len(value) > XATTR_INLINE_MAX:
            with self._core.sealing(len(value)):
                stored = self._appender.add(value, Role.XATTR, number, 0)
                self._set(number, name, encode_xattr(stored), flags, caller)
        else:
            self._set(number, name, encode_xattr(bytes(value)), flags, caller)

    def _set(
        self, number: InodeNumber, name: bytes, record: bytes, flags: XattrFlags, caller: Caller
    ) -> None:
        def operation(transaction: Transaction) -> None:
            inode = transaction.inode(number)
            self._refuse_special(inode, name)
            names = self._names(number) if inode.flags & HAS_XATTRS else []
            there = name in names
            if flags & XattrFlags.CREATE and there:
                raise Exists("the extended attribute is there already")
            if flags & XattrFlags.REPLACE and not there:
                raise NoAttribute("no such extended attribute")
            if not there and sum(len(each) + 1 for each in names) + len(name) + 1 > XATTR_NAMES_BYTES_MAX:
                raise NoSpace("the file has too many extended attributes")
            transaction.touch(number).flags |= HAS_XATTRS
            transaction.put(xattr_key(number, name), record)
            transaction.event(EventKind.ATTRIBUTES, number)

        self._core.transact(operation, caller)

    def listxattr(self, number: InodeNumber) -> list[bytes]:
        """Names in byte order."""
        core = self._core

        def operation() -> list[bytes]:
            return self._names(number) if core.inode(number).flags & HAS_XATTRS else []

        return core.read(operation)

    def removexattr(self, number: InodeNumber, name: bytes, caller: Caller) -> None:
        """Raises NoAttribute."""
        self._check_name(name)
        _refuse_state(name)

        def operation(transaction: Transaction) -> None:
            key = xattr_key(number, name)
            inode = transaction.inode(number)
            if not inode.flags & HAS_XATTRS or transaction.get(key) is None:
                raise NoAttribute("no such extended attribute")
            transaction.touch(number)
            transaction.delete(key)
            transaction.event(EventKind.ATTRIBUTES, number)

        self._core.transact(operation, caller, frees=True)

    def _names(self, number: InodeNumber) -> list[bytes]:
        """Under the drive's lock. Bounded, for setxattr bounds it."""
        start, stop = xattr_range(number)
        return [key[PREFIX_BYTES:] for key, _ in self._core.map.scan(start, stop, XATTR_NAMES_BYTES_MAX)]

    @staticmethod
    def _check_name(name: bytes) -> None:
        if not name.startswith(_NAMESPACES):
            raise Unsupported("extended attributes are kept in user., trusted. and security. only")
        if name in _NAMESPACES or b"\0" in name:
            raise Invalid("an extended attribute's name is empty or holds NUL")
        if len(name) > XATTR_NAME_BYTES_MAX:
            raise OutOfRange(f"an extended attribute's name has at most {XATTR_NAME_BYTES_MAX} bytes")

    @staticmethod
    def _refuse_special(inode: Inode, name: bytes) -> None:
        if name.startswith(b"user.") and not (inode.is_regular or inode.is_directory):
            raise NotPermitted("user. attributes are kept on files and directories only")


def _refuse_state(name: bytes) -> None:
    if name == STATE_ATTRIBUTE:
        raise NotPermitted("the state of a file is shown, not set")


def _check(changes: SetAttr) -> None:
    """Raises Invalid for what no record can hold."""
    for identifier in (changes.uid, changes.gid):
        if identifier is not None and not 0 <= identifier <= _ID_MAX:
            raise Invalid("a user or group id is out of range")


def _stored_time(time_ns: int, now_ns: int) -> int:
    """A time beyond what a record can hold (the years 1677 to 2262) becomes the nearest that it can.

    Linux does the same (``timestamp_truncate``): an archive with a silly time can be unpacked.
    """
    return now_ns if time_ns == NOW else max(-_TIME_MAX, min(time_ns, _TIME_MAX))
