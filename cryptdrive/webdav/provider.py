"""Paths of URLs → resources of the drive."""

import os
from typing import Any

from wsgidav.dav_provider import DAVProvider

from cryptdrive.errors import NotADirectory, NotFound, Stale, TooManyLevels
from cryptdrive.types import InodeNumber
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.values import Attr, Caller
from cryptdrive.webdav.errors import translated
from cryptdrive.webdav.names import forms, to_bytes, unquoted
from cryptdrive.webdav.properties import XattrProperties
from cryptdrive.webdav.resources import DriveResource, FileResource, FolderResource

_DIRECTORY, _FILE, _LINK = 0o040000, 0o100000, 0o120000


class DriveProvider(DAVProvider):  # type: ignore[misc]
    """Everything in the drive that WebDAV can show: directories, files, and links to either within it.

    Links that lead nowhere, fifos, sockets and devices are not shown.
    """

    def __init__(self, fs: FileSystem, *, read_only: bool, umask: int = 0o077) -> None:
        super().__init__()
        self.fs = fs
        self.read_only = read_only
        self.caller = Caller(os.getuid(), os.getgid(), "webdav")
        self.file_mode = 0o666 & ~umask
        self.folder_mode = 0o777 & ~umask
        self.set_prop_manager(XattrProperties(self))

    def set_prop_manager(self, prop_manager: Any) -> None:
        """wsgidav hands over the one of its configuration, which is none: keep ours."""
        if prop_manager is not None:
            super().set_prop_manager(prop_manager)

    def is_readonly(self) -> bool:
        """Never to wsgidav, which would answer 405 then; the requests refuse with 403."""
        return False

    def ref_url_to_path(self, ref_url: str) -> str:
        return "/" + unquoted(ref_url).lstrip("/")

    def get_resource_inst(self, path: str, environ: dict[str, Any]) -> DriveResource | None:
        """The resource at a path; None if there is nothing that can be shown."""
        with translated():
            try:
                attr = self.attr_at(path)
            except (NotFound, NotADirectory, Stale, TooManyLevels):
                return None
            return self.resource(path, attr, environ)

    def resource(self, path: str, attr: Attr, environ: dict[str, Any]) -> DriveResource | None:
        """None for what WebDAV cannot show."""
        kind = attr.mode & 0o170000
        if kind == _DIRECTORY:
            return FolderResource(path if path.endswith("/") else path + "/", attr, self, environ)
        if kind == _FILE:
            return FileResource(path.rstrip("/"), attr, self, environ)
        return None

    # --- from paths to inodes ----------------------------------------------------------------

    def attr_at(self, path: str) -> Attr:
        """What a path leads to, following links. Raises NotFound, NotADirectory, TooManyLevels."""
        parent, name, attr = self.place(path)
        if attr is None:
            raise NotFound("no such file or directory")
        return self.followed(parent, attr, name)

    def followed(self, parent: InodeNumber, attr: Attr, name: bytes) -> Attr:
        """The end of a symbolic link; any other inode itself."""
        if attr.mode & 0o170000 != _LINK:
            return attr
        return self.fs.resolve_in(parent, name)

    def place(self, path: str) -> tuple[InodeNumber, bytes, Attr | None]:
        """The directory, the name as it is stored, and what has that name (not followed).

        A name that is not there as given is looked for in its composed and its decomposed form. The
        root is its own parent, with an empty name. Raises NotFound where the directory is missing.
        """
        parts = [part for part in to_bytes(path).split(b"/") if part]
        attr: Attr | None = self.fs.getattr(self.fs.root)
        parent, name = self.fs.root, b""
        for part in parts:
            if attr is None:
                raise NotFound("no such directory")
            attr = self.followed(parent, attr, name)
            if attr.mode & 0o170000 != _DIRECTORY:
                raise NotADirectory("not a directory")
            parent = attr.inode
            name, attr = self._child(parent, part)
        return parent, name, attr

    def _child(self, parent: InodeNumber, part: bytes) -> tuple[bytes, Attr | None]:
        for name in forms(part):
            try:
                return name, self.fs.lookup(parent, name)
            except NotFound:
                continue
        return part, None
