"""What the model keeps of an inode and of a handle, and the checks of names."""

import os
import stat
from dataclasses import dataclass, field

from cryptdrive.errors import Invalid, NameTooLong, NotFound, OutOfRange, Unsupported
from cryptdrive.types import ROOT_INODE, HandleId, InodeNumber
from cryptdrive.vfs.values import Attr, Caller
from tests.model.content import SparseContent

NAME_LENGTH_MAX = 255
TARGET_LENGTH_MAX = 4095
XATTR_VALUE_MAX = 65536
LINKS_MAX = 1_000_000
FILE_SIZE_MAX = (1 << 63) - 1
XATTR_NAMESPACES = (b"user.", b"trusted.", b"security.")
PERMISSIONS = 0o7777


@dataclass
class Entry:
    """What a directory holds under one name; ``sequence`` orders listings and is the cookie."""

    inode: InodeNumber
    sequence: int


@dataclass
class Node:
    """One inode."""

    number: InodeNumber
    mode: int
    uid: int
    gid: int
    rdev: int = 0
    nlink: int = 1
    atime_ns: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    btime_ns: int = 0
    change: int = 0
    content: SparseContent = field(default_factory=SparseContent)
    target: bytes = b""
    entries: dict[bytes, Entry] = field(default_factory=dict)
    parent: InodeNumber = ROOT_INODE
    """Of a directory: where ``..`` leads."""
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    references: int = 0
    handles: int = 0

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_regular(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self.mode)

    def size(self) -> int:
        return len(self.target) if self.is_symlink else self.content.size

    def attr(self) -> Attr:
        return Attr(
            inode=self.number,
            mode=self.mode,
            uid=self.uid,
            gid=self.gid,
            nlink=self.nlink,
            size=self.size(),
            allocated=self.content.allocated,
            rdev=self.rdev,
            atime_ns=self.atime_ns,
            mtime_ns=self.mtime_ns,
            ctime_ns=self.ctime_ns,
            btime_ns=self.btime_ns,
            change=self.change,
        )

    def clear_set_id_bits(self) -> None:
        """What a write or a change of owner does to the privileges of a program."""
        self.mode &= ~stat.S_ISUID
        if self.mode & stat.S_IXGRP:
            self.mode &= ~stat.S_ISGID


@dataclass
class Handle:
    """One open file or directory."""

    number: HandleId
    inode: InodeNumber
    flags: int
    caller: Caller
    directory: bool = False
    staged: bool = False

    @property
    def readable(self) -> bool:
        return not self.directory and self.flags & os.O_ACCMODE in (os.O_RDONLY, os.O_RDWR)

    @property
    def writable(self) -> bool:
        return not self.directory and self.flags & os.O_ACCMODE in (os.O_WRONLY, os.O_RDWR)


def check_name(name: bytes) -> None:
    """Raises NameTooLong, NotFound for an empty name, Invalid where the bytes cannot be a name."""
    if len(name) > NAME_LENGTH_MAX:
        raise NameTooLong(f"a name has at most {NAME_LENGTH_MAX} bytes")
    if not name:
        raise NotFound("a name is empty")
    if b"/" in name or b"\0" in name:
        raise Invalid("a name holds neither '/' nor NUL")


def check_target(target: bytes) -> None:
    """Raises NameTooLong, NotFound for an empty target, Invalid."""
    if len(target) > TARGET_LENGTH_MAX:
        raise NameTooLong(f"the target of a link has at most {TARGET_LENGTH_MAX} bytes")
    if not target:
        raise NotFound("the target of a link is empty")
    if b"\0" in target:
        raise Invalid("the target of a link holds no NUL")


def check_xattr_name(name: bytes) -> None:
    """Raises Unsupported for a foreign namespace, Invalid, OutOfRange for a long name as Linux does."""
    if not name.startswith(XATTR_NAMESPACES):
        raise Unsupported("attributes live in user.*, trusted.* and security.*")
    if name in XATTR_NAMESPACES or b"\0" in name:
        raise Invalid("an attribute's name does not end with its namespace, and holds no NUL")
    if len(name) > NAME_LENGTH_MAX:
        raise OutOfRange(f"an attribute's name has at most {NAME_LENGTH_MAX} bytes")
