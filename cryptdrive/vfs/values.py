"""The values that front ends exchange with the file system."""

import enum
from dataclasses import dataclass

from cryptdrive.types import InodeNumber


@dataclass(frozen=True, slots=True)
class Attr:
    """What ``stat`` shows of an inode. Times are nanoseconds since the epoch."""

    inode: InodeNumber
    mode: int
    """File type and permission bits, as ``st_mode``."""
    uid: int
    gid: int
    nlink: int
    size: int
    """Bytes; for a symbolic link the length of its target."""
    allocated: int
    """Bytes that really hold data (``st_blocks`` × 512, before rounding up)."""
    rdev: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    btime_ns: int
    change: int
    """Grows with every change of content or attributes; never repeats: the strong ETag."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. The kernel (``default_permissions``) or the front end has checked its rights."""

    uid: int = 0
    gid: int = 0
    origin: str = ""
    """Which front end asks (``fuse``, ``webdav``, ``cli``): its own changes come back to it marked."""


@dataclass(frozen=True, slots=True)
class SetAttr:
    """What ``setattr`` is to change; ``None`` leaves as is. ``NOW`` takes the drive's clock."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


NOW = -(1 << 63)
"""In SetAttr's times: the current time."""


class RenameFlags(enum.IntFlag):
    """As in renameat2(2)."""

    NONE = 0
    NOREPLACE = 1
    EXCHANGE = 2


class XattrFlags(enum.IntFlag):
    """As in setxattr(2)."""

    NONE = 0
    CREATE = 1
    REPLACE = 2


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """One entry of a listing; ``cookie`` is where the next call goes on."""

    name: bytes
    cookie: int
    attr: Attr


@dataclass(frozen=True, slots=True)
class FileSystemStatistics:
    """What ``statfs`` shows, in bytes and inodes."""

    total_bytes: int
    free_bytes: int
    available_bytes: int
    """Free for this user: a disk keeps some for root."""
    used_bytes: int
    inodes: int
    name_length_max: int = 255


class EventKind(enum.Enum):
    ATTRIBUTES = "attributes"
    """The inode's attributes changed."""
    CONTENT = "content"
    """The inode's content (and with it its attributes) changed."""
    ENTRY = "entry"
    """The entry ``name`` of directory ``inode`` now names something else, or nothing."""
    INTEGRITY = "integrity"
    """Reading met bytes that nobody authorised wrote."""


@dataclass(frozen=True, slots=True)
class Event:
    """A change to a running drive, for caches to forget what they hold of it."""

    kind: EventKind
    inode: InodeNumber
    name: bytes = b""
    origin: str = ""
    """The front end that made the change; it need not be told."""
