"""The same operations by path, on a folder of this machine's Linux and on the model."""

import ctypes
import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptdrive import errors
from cryptdrive.types import InodeNumber
from cryptdrive.vfs.values import Attr, Caller, RenameFlags, SetAttr, XattrFlags
from tests.model.posix import PosixModel

ERRORS: dict[int, type[errors.FileError]] = {
    errno.ENOENT: errors.NotFound,
    errno.EEXIST: errors.Exists,
    errno.ENOTDIR: errors.NotADirectory,
    errno.EISDIR: errors.IsADirectory,
    errno.ENOTEMPTY: errors.NotEmpty,
    errno.ENAMETOOLONG: errors.NameTooLong,
    errno.EINVAL: errors.Invalid,
    errno.ELOOP: errors.TooManyLevels,
    errno.EPERM: errors.NotPermitted,
    errno.EBUSY: errors.Busy,
    errno.ENODATA: errors.NoAttribute,
    errno.ENXIO: errors.Invalid,
    errno.EFBIG: errors.TooBig,
    errno.ERANGE: errors.OutOfRange,
}

CREATE_FLAGS = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK
WRITE_FLAGS = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Shown:
    """What is compared of one path."""

    kind: int
    permissions: int
    uid: int
    gid: int
    nlink: int
    size: int
    first_path: bytes
    """Of all paths of this inode the first: shows which are hard links of each other."""
    content: bytes
    xattrs: tuple[tuple[bytes, bytes], ...]


class Replay(Protocol):
    """Operations by path, relative to the top; all raise FileError classes."""

    def create(self, path: bytes, mode: int, flags: int) -> None: ...
    def write(self, path: bytes, offset: int, data: bytes) -> None: ...
    def append(self, path: bytes, data: bytes) -> None: ...
    def truncate(self, path: bytes, size: int) -> None: ...
    def mkdir(self, path: bytes, mode: int) -> None: ...
    def mkfifo(self, path: bytes, mode: int) -> None: ...
    def symlink(self, path: bytes, target: bytes) -> None: ...
    def link(self, path: bytes, new_path: bytes) -> None: ...
    def unlink(self, path: bytes) -> None: ...
    def rmdir(self, path: bytes) -> None: ...
    def rename(self, path: bytes, new_path: bytes, flags: int) -> None: ...
    def chmod(self, path: bytes, mode: int) -> None: ...
    def chown(self, path: bytes, uid: int, gid: int) -> None: ...
    def setxattr(self, path: bytes, name: bytes, value: bytes, flags: int) -> None: ...
    def removexattr(self, path: bytes, name: bytes) -> None: ...
    def times(self, path: bytes) -> tuple[int, int, int]:
        """Inode number, mtime and ctime in nanoseconds."""

    def tree(self) -> dict[bytes, Shown]: ...


def translated(error: OSError) -> errors.FileError:
    """The typed error that stands for what Linux said."""
    number = error.errno or 0
    if number not in ERRORS:
        raise error
    return ERRORS[number](str(error))


class LinuxReplay:
    """On a folder of this machine."""

    def __init__(self, top: Path) -> None:
        self.top = os.fsencode(top)

    def _full(self, path: bytes) -> bytes:
        return self.top + b"/" + path

    def create(self, path: bytes, mode: int, flags: int) -> None:
        os.close(os.open(self._full(path), CREATE_FLAGS | flags, mode))

    def write(self, path: bytes, offset: int, data: bytes) -> None:
        descriptor = os.open(self._full(path), WRITE_FLAGS)
        try:
            os.pwrite(descriptor, data, offset)
        finally:
            os.close(descriptor)

    def append(self, path: bytes, data: bytes) -> None:
        descriptor = os.open(self._full(path), WRITE_FLAGS | os.O_APPEND)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def truncate(self, path: bytes, size: int) -> None:
        descriptor = os.open(self._full(path), WRITE_FLAGS)
        try:
            os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)

    def mkdir(self, path: bytes, mode: int) -> None:
        os.mkdir(self._full(path), mode)

    def mkfifo(self, path: bytes, mode: int) -> None:
        os.mkfifo(self._full(path), mode)

    def symlink(self, path: bytes, target: bytes) -> None:
        os.symlink(target, self._full(path))

    def link(self, path: bytes, new_path: bytes) -> None:
        os.link(self._full(path), self._full(new_path), follow_symlinks=False)

    def unlink(self, path: bytes) -> None:
        os.unlink(self._full(path))

    def rmdir(self, path: bytes) -> None:
        os.rmdir(self._full(path))

    def rename(self, path: bytes, new_path: bytes, flags: int) -> None:
        if _libc.renameat2(-100, self._full(path), -100, self._full(new_path), flags) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def chmod(self, path: bytes, mode: int) -> None:
        if not stat.S_ISLNK(os.lstat(self._full(path)).st_mode):
            os.chmod(self._full(path), mode)

    def chown(self, path: bytes, uid: int, gid: int) -> None:
        os.lchown(self._full(path), uid, gid)

    def setxattr(self, path: bytes, name: bytes, value: bytes, flags: int) -> None:
        if self._takes_xattrs(path):
            os.setxattr(self._full(path), name, value, flags)

    def removexattr(self, path: bytes, name: bytes) -> None:
        if self._takes_xattrs(path):
            os.removexattr(self._full(path), name)

    def _takes_xattrs(self, path: bytes) -> bool:
        mode = os.lstat(self._full(path)).st_mode
        return stat.S_ISREG(mode) or stat.S_ISDIR(mode)

    def times(self, path: bytes) -> tuple[int, int, int]:
        status = os.lstat(self._full(path))
        return status.st_ino, status.st_mtime_ns, status.st_ctime_ns

    def tree(self) -> dict[bytes, Shown]:
        shown: dict[bytes, Shown] = {}
        first_paths: dict[int, bytes] = {}
        self._show(b"", shown, first_paths)
        return shown

    def _show(self, path: bytes, shown: dict[bytes, Shown], first_paths: dict[int, bytes]) -> None:
        full = self._full(path)
        status = os.lstat(full)
        first = first_paths.setdefault(status.st_ino, path)
        content, size = b"", status.st_size
        xattrs: tuple[tuple[bytes, bytes], ...] = ()
        if stat.S_ISDIR(status.st_mode):
            size = 0
        elif stat.S_ISREG(status.st_mode):
            content = Path(os.fsdecode(full)).read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(full)
        if self._takes_xattrs(path):
            names = sorted(os.fsencode(name) for name in os.listxattr(full) if name.startswith("user."))
            xattrs = tuple((name, os.getxattr(full, name)) for name in names)
        shown[path] = Shown(
            stat.S_IFMT(status.st_mode),
            stat.S_IMODE(status.st_mode),
            status.st_uid,
            status.st_gid,
            status.st_nlink,
            size,
            first,
            content,
            xattrs,
        )
        if stat.S_ISDIR(status.st_mode):
            for name in sorted(os.listdir(full)):
                self._show(path + b"/" + name if path else name, shown, first_paths)


class ModelReplay:
    """On a model. Symbolic links in the middle of a path are followed, as the kernel does."""

    def __init__(self, model: PosixModel, caller: Caller) -> None:
        self.model = model
        self._caller = caller

    def _place(self, path: bytes) -> tuple[InodeNumber, bytes]:
        before, _, name = path.rpartition(b"/")
        parent = self.model.resolve(before, follow=True)
        if not stat.S_ISDIR(parent.mode):
            raise errors.NotADirectory("not a directory")
        return parent.inode, name

    def _attr(self, path: bytes) -> Attr:
        return self.model.lookup(*self._place(path))

    def create(self, path: bytes, mode: int, flags: int) -> None:
        self.model.close(self.model.create(*self._place(path), mode, CREATE_FLAGS | flags, self._caller)[0])

    def write(self, path: bytes, offset: int, data: bytes) -> None:
        handle = self.model.open(self._attr(path).inode, WRITE_FLAGS, self._caller)
        try:
            self.model.write(handle, offset, data)
        finally:
            self.model.close(handle)

    def append(self, path: bytes, data: bytes) -> None:
        handle = self.model.open(self._attr(path).inode, WRITE_FLAGS | os.O_APPEND, self._caller)
        try:
            self.model.write(handle, 0, data)
        finally:
            self.model.close(handle)

    def truncate(self, path: bytes, size: int) -> None:
        handle = self.model.open(self._attr(path).inode, WRITE_FLAGS, self._caller)
        try:
            self.model.setattr(self._attr(path).inode, SetAttr(size=size), self._caller, handle)
        finally:
            self.model.close(handle)

    def mkdir(self, path: bytes, mode: int) -> None:
        self.model.mkdir(*self._place(path), mode, self._caller)

    def mkfifo(self, path: bytes, mode: int) -> None:
        self.model.mknod(*self._place(path), stat.S_IFIFO | mode, 0, self._caller)

    def symlink(self, path: bytes, target: bytes) -> None:
        self.model.symlink(*self._place(path), target, self._caller)

    def link(self, path: bytes, new_path: bytes) -> None:
        self.model.link(self._attr(path).inode, *self._place(new_path), self._caller)

    def unlink(self, path: bytes) -> None:
        self.model.unlink(*self._place(path), self._caller)

    def rmdir(self, path: bytes) -> None:
        self.model.rmdir(*self._place(path), self._caller)

    def rename(self, path: bytes, new_path: bytes, flags: int) -> None:
        self.model.rename(*self._place(path), *self._place(new_path), RenameFlags(flags), self._caller)

    def chmod(self, path: bytes, mode: int) -> None:
        attr = self._attr(path)
        if not stat.S_ISLNK(attr.mode):
            self.model.setattr(attr.inode, SetAttr(mode=mode), self._caller)

    def chown(self, path: bytes, uid: int, gid: int) -> None:
        self.model.setattr(self._attr(path).inode, SetAttr(uid=uid, gid=gid), self._caller)

    def setxattr(self, path: bytes, name: bytes, value: bytes, flags: int) -> None:
        attr = self._attr(path)
        if stat.S_ISREG(attr.mode) or stat.S_ISDIR(attr.mode):
            self.model.setxattr(attr.inode, name, value, XattrFlags(flags), self._caller)

    def removexattr(self, path: bytes, name: bytes) -> None:
        attr = self._attr(path)
        if stat.S_ISREG(attr.mode) or stat.S_ISDIR(attr.mode):
            self.model.removexattr(attr.inode, name, self._caller)

    def times(self, path: bytes) -> tuple[int, int, int]:
        attr = self._attr(path or b".")
        return attr.inode, attr.mtime_ns, attr.ctime_ns

    def tree(self) -> dict[bytes, Shown]:
        shown: dict[bytes, Shown] = {}
        self._show(b"", self.model.getattr(self.model.root), shown, {})
        return shown

    def _show(
        self, path: bytes, attr: Attr, shown: dict[bytes, Shown], first_paths: dict[int, bytes]
    ) -> None:
        first = first_paths.setdefault(attr.inode, path)
        content = b""
        if stat.S_ISREG(attr.mode):
            handle = self.model.open(attr.inode, os.O_RDONLY, self._caller)
            content = self.model.read(handle, 0, attr.size)
            self.model.close(handle)
        elif stat.S_ISLNK(attr.mode):
            content = self.model.readlink(attr.inode)
        names = self.model.listxattr(attr.inode)
        shown[path] = Shown(
            stat.S_IFMT(attr.mode),
            stat.S_IMODE(attr.mode),
            attr.uid,
            attr.gid,
            attr.nlink,
            attr.size,
            first,
            content,
            tuple((name, self.model.getxattr(attr.inode, name)) for name in sorted(names)),
        )
        if stat.S_ISDIR(attr.mode):
            handle = self.model.opendir(attr.inode)
            entries = self.model.readdir(handle)
            self.model.closedir(handle)
            for entry in sorted(entries, key=lambda entry: entry.name):
                below = path + b"/" + entry.name if path else entry.name
                self._show(below, entry.attr, shown, first_paths)
