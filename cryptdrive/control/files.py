"""Files of a drive by paths: what the file commands need, whether the drive is in this process or not."""

import os
import stat
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Protocol

from cryptdrive.errors import Invalid, IsADirectory, NotADirectory, NotFound
from cryptdrive.types import HandleId
from cryptdrive.vfs.values import Attr, Caller, RenameFlags, SetAttr

if TYPE_CHECKING:
    from cryptdrive.vfs.filesystem import FileSystem

CONTENT_BYTES_MAX = 1 << 20
"""How much one read or write takes at most."""


class DriveFiles(Protocol):
    """Files by paths from the root, in bytes. Symbolic links are followed before the last part of a path.

    Every call raises the errors of :mod:`cryptdrive.errors`.
    """

    def stat(self, path: bytes, *, follow: bool = False) -> Attr:
        """``follow``: of what a symbolic link at the end leads to."""

    def entries(self, path: bytes) -> Iterator[tuple[bytes, Attr]]:
        """Names and attributes of a directory's entries."""

    def read_link(self, path: bytes) -> bytes: ...

    def open(self, path: bytes) -> int:
        """Open a file for reading, following links; to be given to :meth:`close`."""

    def read(self, handle: int, offset: int, size: int) -> bytes:
        """At most CONTENT_BYTES_MAX; short only at the end of the file."""

    def stage(self) -> int:
        """A new file that nobody sees before :meth:`publish`; :meth:`close` discards it."""

    def write(self, handle: int, offset: int, data: bytes) -> None:
        """At most CONTENT_BYTES_MAX."""

    def publish(
        self, handle: int, path: bytes, mode: int | None, mtime_ns: int | None, *, replace: bool
    ) -> None:
        """Let a staged file appear at ``path``, whole, in one moment; closes the handle.

        Without ``mode`` a file that is replaced hands on its own.
        """

    def close(self, handle: int) -> None: ...

    def make_directory(self, path: bytes, mode: int) -> None: ...

    def make_link(self, path: bytes, target: bytes) -> None:
        """A symbolic link."""

    def set_attributes(self, path: bytes, mode: int | None, mtime_ns: int | None) -> None: ...

    def remove(self, path: bytes, *, recursive: bool) -> None:
        """``recursive``: a directory with all that is in it."""

    def rename(self, path: bytes, new_path: bytes, *, replace: bool) -> None: ...

    def clone(self, path: bytes, new_path: bytes, *, replace: bool) -> None:
        """Copy a file or a whole directory without copying what is in the store."""

    def sync(self) -> None:
        """Everything so far is on the store when it returns."""


class LocalFiles:
    """The files of a drive that is open in this process."""

    def __init__(self, fs: "FileSystem") -> None:
        self._fs = fs
        self._caller = Caller(os.getuid(), os.getgid(), "cli")
        self._open: set[HandleId] = set()
        umask = os.umask(0)
        os.umask(umask)
        self._default_mode = 0o666 & ~umask

    def stat(self, path: bytes, *, follow: bool = False) -> Attr:
        return self._fs.resolve(path, True) if follow else self._at(path)

    def _at(self, path: bytes) -> Attr:
        if not path.strip(b"/"):
            return self._fs.getattr(self._fs.root)
        parent, name = self._place(path)
        attr = self._fs.lookup(parent.inode, name)
        if path.endswith(b"/") and not stat.S_ISDIR(attr.mode):
            attr = self._fs.resolve(path, True)
            if not stat.S_ISDIR(attr.mode):
                raise NotADirectory("not a directory")
        return attr

    def _place(self, path: bytes) -> tuple[Attr, bytes]:
        """The directory, links followed, and the last part of a path."""
        folder, _, name = path.rstrip(b"/").rpartition(b"/")
        if not name:
            raise Invalid("the drive's root cannot be replaced, moved or removed")
        parent = self._fs.resolve(folder, True)
        if not stat.S_ISDIR(parent.mode):
            raise NotADirectory("not a directory")
        return parent, name

    def entries(self, path: bytes) -> Generator[tuple[bytes, Attr], None, None]:
        handle = self._fs.opendir(self._fs.resolve(path, True).inode)
        try:
            cookie = 0
            while found := self._fs.readdir(handle, cookie):
                for entry in found:
                    yield entry.name, entry.attr
                cookie = found[-1].cookie
        finally:
            self._fs.closedir(handle)

    def read_link(self, path: bytes) -> bytes:
        return self._fs.readlink(self._at(path).inode)

    # --- content -----------------------------------------------------------------------------

    def open(self, path: bytes) -> int:
        attr = self._fs.resolve(path, True)
        if stat.S_ISDIR(attr.mode):
            raise IsADirectory("is a directory")
        if not stat.S_ISREG(attr.mode):
            raise Invalid("not a regular file")
        return self._kept(self._fs.open(attr.inode, os.O_RDONLY, self._caller))

    def _kept(self, handle: HandleId) -> int:
        self._open.add(handle)
        return handle

    def read(self, handle: int, offset: int, size: int) -> bytes:
        return self._fs.read(HandleId(handle), offset, min(size, CONTENT_BYTES_MAX))

    def stage(self) -> int:
        return self._kept(self._fs.stage(self._default_mode, self._caller))

    def write(self, handle: int, offset: int, data: bytes) -> None:
        self._fs.write(HandleId(handle), offset, data)

    def publish(
        self, handle: int, path: bytes, mode: int | None, mtime_ns: int | None, *, replace: bool
    ) -> None:
        parent, name = self._place(path)
        attr = self._fs.publish(HandleId(handle), parent.inode, name, replace, self._caller)
        self._open.discard(HandleId(handle))
        self._set(attr, mode, mtime_ns)

    def close(self, handle: int) -> None:
        self._open.discard(HandleId(handle))
        self._fs.close(HandleId(handle))

    def has_open(self, handle: int) -> bool:
        """Whether :meth:`open` or :meth:`stage` of this object gave it, and nobody closed it."""
        return handle in self._open

    def close_all(self) -> None:
        """Close what was left open: a client has gone."""
        for handle in list(self._open):
            self.close(handle)

    # --- names and attributes ------------------------------------------------------------------

    def make_directory(self, path: bytes, mode: int) -> None:
        parent, name = self._place(path)
        self._fs.mkdir(parent.inode, name, mode, self._caller)

    def make_link(self, path: bytes, target: bytes) -> None:
        parent, name = self._place(path)
        self._fs.symlink(parent.inode, name, target, self._caller)

    def set_attributes(self, path: bytes, mode: int | None, mtime_ns: int | None) -> None:
        self._set(self._at(path), mode, mtime_ns)

    def _set(self, attr: Attr, mode: int | None, mtime_ns: int | None) -> None:
        changes = SetAttr(mode=mode, mtime_ns=mtime_ns)
        if changes != SetAttr():
            self._fs.setattr(attr.inode, changes, self._caller)

    def remove(self, path: bytes, *, recursive: bool) -> None:
        parent, name = self._place(path)
        attr = self._fs.lookup(parent.inode, name)
        if not stat.S_ISDIR(attr.mode):
            self._fs.unlink(parent.inode, name, self._caller)
        elif recursive:
            self._fs.remove_tree(parent.inode, name, self._caller)
        else:
            raise IsADirectory("is a directory: it is removed only with all that is in it (recursive)")

    def rename(self, path: bytes, new_path: bytes, *, replace: bool) -> None:
        parent, name = self._place(path)
        new_parent, new_name = self._place(new_path)
        flags = RenameFlags.NONE if replace else RenameFlags.NOREPLACE
        self._fs.rename(parent.inode, name, new_parent.inode, new_name, flags, self._caller)

    def clone(self, path: bytes, new_path: bytes, *, replace: bool) -> None:
        source = self._at(path)
        parent, name = self._place(new_path)
        self._fs.clone(source.inode, parent.inode, name, replace, self._caller)

    def sync(self) -> None:
        self._fs.sync()


def kind_at(files: DriveFiles, path: bytes) -> int:
    """The file type (``S_IFMT``) of what a path leads to, links followed; 0 if there is nothing."""
    try:
        return stat.S_IFMT(files.stat(path, follow=True).mode)
    except NotFound:
        return 0
