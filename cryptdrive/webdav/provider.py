"""Paths of URLs → resources of the drive."""

import os
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

from wsgidav.dav_provider import DAVProvider

from cryptdrive.errors import Busy, NotADirectory, NotFound, Stale, TooManyLevels
from cryptdrive.types import InodeNumber
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.values import Attr, Caller
from cryptdrive.webdav.errors import translated
from cryptdrive.webdav.names import forms, quoted, to_bytes, to_text, unquoted
from cryptdrive.webdav.resources import DriveResource, FileResource, FolderResource, Found, stored_url

_KIND, _DIRECTORY, _FILE, _LINK = 0o170000, 0o040000, 0o100000, 0o120000
_LINKS_FOLLOWED_MAX = 40
ABSENT = (NotFound, NotADirectory, Stale, TooManyLevels)
"""What makes a path one at which there is nothing to be shown."""


@dataclass(frozen=True, slots=True)
class Place:
    """A directory, a name in it, and what has that name."""

    parent: InodeNumber
    """The root is its own parent."""
    name: bytes
    """As it is stored; as it was given if there is nothing of that name. Empty for the root."""
    attr: Attr | None
    """Not followed if it is a symbolic link."""
    stored: tuple[bytes, ...] = ()
    """The whole path, each name as it is stored."""

    @property
    def is_link(self) -> bool:
        return self.attr is not None and self.attr.mode & _KIND == _LINK

    @property
    def is_folder(self) -> bool:
        return self.attr is not None and self.attr.mode & _KIND == _DIRECTORY


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

    def is_readonly(self) -> bool:
        """Never to wsgidav, which would answer 405 then; the requests refuse with 403."""
        return False

    # --- for wsgidav -------------------------------------------------------------------------

    def ref_url_to_path(self, ref_url: str) -> str:
        return "/" + unquoted(ref_url).lstrip("/")

    def get_resource_inst(self, path: str, environ: dict[str, Any]) -> DriveResource | None:
        """The resource at a path; None if there is nothing that can be shown."""
        with translated():
            try:
                place = self.place(path)
                if place.attr is None:
                    return None
                attr = self.followed(place.parent, place.attr, place.name)
            except ABSENT:
                return None
            return self._resource(Found(path, attr, place.stored, place.is_link), environ)

    def lock_url(self, path: str) -> str:
        """Under which locks of ``path`` are kept: the same whatever form its names are given in."""
        with translated():
            try:
                return stored_url(self.place(path).stored)
            except ABSENT:
                return quoted("/" + path.strip("/"))

    # --- from paths to inodes ----------------------------------------------------------------

    def _resource(self, found: Found, environ: dict[str, Any]) -> DriveResource | None:
        """None for what WebDAV cannot show."""
        kind = found.attr.mode & _KIND
        if kind == _DIRECTORY:
            folder = found if found.path.endswith("/") else replace(found, path=found.path + "/")
            return FolderResource(folder, self, environ)
        if kind == _FILE:
            file = replace(found, path=found.path.rstrip("/")) if found.path.endswith("/") else found
            return FileResource(file, self, environ)
        return None

    def followed(self, parent: InodeNumber, attr: Attr, name: bytes) -> Attr:
        """The end of a symbolic link; any other inode itself."""
        if attr.mode & _KIND != _LINK:
            return attr
        return self.fs.resolve_in(parent, name)

    def place(self, path: str) -> Place:
        """Where a path leads, links on the way followed, one at the end not.

        A name that is not there as given is looked for in its composed and its decomposed form.
        Raises NotFound or NotADirectory where the directory is missing.
        """
        parts = [part for part in to_bytes(path).split(b"/") if part]
        place = Place(self.fs.root, b"", self.fs.getattr(self.fs.root))
        for part in parts:
            if place.attr is None:
                raise NotFound("no such directory")
            attr = self.followed(place.parent, place.attr, place.name)
            if attr.mode & _KIND != _DIRECTORY:
                raise NotADirectory("not a directory")
            name, found = self._child(attr.inode, part)
            place = Place(attr.inode, name, found, (*place.stored, name))
        return place

    def place_to_write(self, path: str) -> Place:
        """Where what is written to ``path`` belongs: behind a symbolic link, as open(2) has it.

        Raises NotFound where a directory on the way is missing, Busy for what is no regular file.
        """
        place = self.place(path)
        for _ in range(_LINKS_FOLLOWED_MAX):
            if not place.is_link:
                break
            place = self._target(place)
        else:
            raise TooManyLevels("too many symbolic links")
        if place.attr is not None and place.attr.mode & _KIND not in (_FILE, _DIRECTORY):
            raise Busy("a special file")
        return place

    def _target(self, link: Place) -> Place:
        assert link.attr is not None
        target = self.fs.readlink(link.attr.inode)
        folder, _, name = target.rstrip(b"/").rpartition(b"/")
        if target.startswith(b"/"):
            directory = self.fs.resolve(folder, follow=True)
        else:
            directory = self.fs.resolve_in(link.parent, folder)
        if name in (b"", b".", b".."):
            attr = self.fs.resolve_in(directory.inode, name)
            return Place(directory.inode, name, attr)
        name, attr_or_none = self._child(directory.inode, name)
        return Place(directory.inode, name, attr_or_none)

    def _child(self, parent: InodeNumber, part: bytes) -> tuple[bytes, Attr | None]:
        for name in forms(part):
            try:
                return name, self.fs.lookup(parent, name)
            except NotFound:
                continue
        return part, None

    # --- listings ------------------------------------------------------------------------------

    def members(self, folder: FolderResource) -> Generator[DriveResource, None, None]:
        """What lies in a folder, without what WebDAV cannot show; in pieces, in the order of names."""
        with translated():
            handle = self.fs.opendir(folder.attr.inode)
        try:
            cookie = 0
            while True:
                with translated():
                    entries = self.fs.readdir(handle, cookie)
                if not entries:
                    return
                for entry in entries:
                    member = self._member(folder, entry.name, entry.attr)
                    if member is not None:
                        yield member
                cookie = entries[-1].cookie
        finally:
            self.fs.closedir(handle)

    def _member(self, folder: FolderResource, name: bytes, attr: Attr) -> DriveResource | None:
        linked = attr.mode & _KIND == _LINK
        with translated():
            try:
                attr = self.followed(folder.attr.inode, attr, name)
            except ABSENT:
                return None
        found = Found(folder.path + to_text(name), attr, (*folder.found.stored, name), linked)
        return self._resource(found, folder.environ)
