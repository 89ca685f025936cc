"""Files and folders as wsgidav wants to see them."""

import io
import mimetypes
import os
from typing import TYPE_CHECKING, Any

from wsgidav import util
from wsgidav.dav_error import HTTP_FORBIDDEN, DAVError
from wsgidav.dav_provider import _DAVResource

from cryptdrive.errors import NotADirectory, NotFound, Stale, TooManyLevels
from cryptdrive.types import HandleId
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.values import Attr, SetAttr
from cryptdrive.webdav.errors import translated
from cryptdrive.webdav.names import displayed, quoted, to_bytes, to_text

if TYPE_CHECKING:
    from cryptdrive.webdav.provider import DriveProvider

_NANOSECONDS = 1_000_000_000
# What a browser would run in the drive's origin: it is handed out to be saved instead.
_ACTIVE_TYPES = ("html", "xml", "svg", "javascript", "ecmascript", "pdf", "flash")
_PROTECTIVE_HEADERS = [
    ("Content-Security-Policy", "sandbox; default-src 'none'"),
    ("X-Content-Type-Options", "nosniff"),
]


class DriveResource(_DAVResource):  # type: ignore[misc]
    """What files and folders have in common. One request's view: ``attr`` is of when it was looked up."""

    provider: "DriveProvider"

    def __init__(
        self, path: str, is_collection: bool, attr: Attr, provider: "DriveProvider", environ: dict[str, Any]
    ) -> None:
        # The base class takes the provider from here.
        environ["wsgidav.provider"] = provider
        super().__init__(path, is_collection, environ)
        self.attr = attr
        self.name = to_text(displayed(to_bytes(util.get_uri_name(path))).encode("utf-8"))

    @property
    def fs(self) -> FileSystem:
        return self.provider.fs

    def get_display_name(self) -> str:
        return displayed(to_bytes(util.get_uri_name(self.path)))

    def get_href(self) -> str:
        return quoted(self.get_preferred_path())

    def get_ref_url(self) -> str:
        return quoted("/" + self.path.strip("/"))

    def get_creation_date(self) -> float:
        return self.attr.btime_ns / _NANOSECONDS

    def get_last_modified(self) -> float:
        return self.attr.mtime_ns / _NANOSECONDS

    def get_etag(self) -> str:
        """Strong: ``change`` never has the same value for two contents."""
        return f"{self.attr.inode:x}-{self.attr.change:x}"

    def support_etag(self) -> bool:
        return True

    def support_modified(self) -> bool:
        return True

    def get_property_value(self, name: str) -> Any:
        if name == "{DAV:}getetag":
            return f'"{self.get_etag()}"'
        with translated():
            return super().get_property_value(name)

    def set_property_value(self, name: str, value: Any, *, dry_run: bool = False) -> None:
        if self.provider.read_only:
            raise DAVError(HTTP_FORBIDDEN)
        super().set_property_value(name, value, dry_run=dry_run)

    def set_last_modified(self, dest_path: str, time_stamp: str, *, dry_run: bool) -> bool:
        """``time_stamp`` as HTTP writes it, or in seconds since the epoch."""
        seconds = util.parse_time_string(time_stamp) if not str(time_stamp).isdigit() else int(time_stamp)
        if seconds is None:
            raise DAVError(HTTP_FORBIDDEN)
        if not dry_run:
            with translated():
                changes = SetAttr(mtime_ns=int(seconds) * _NANOSECONDS)
                self.attr = self.fs.setattr(self.attr.inode, changes, self.provider.caller)
        return True


class FileResource(DriveResource):
    """A file."""

    def __init__(self, path: str, attr: Attr, provider: "DriveProvider", environ: dict[str, Any]) -> None:
        super().__init__(path, False, attr, provider, environ)

    def get_content_length(self) -> int:
        return self.attr.size

    def get_content_type(self) -> str:
        return mimetypes.guess_type(self.get_display_name())[0] or "application/octet-stream"

    def support_content_length(self) -> bool:
        return True

    def support_ranges(self) -> bool:
        return True

    def get_content(self) -> io.RawIOBase:
        with translated():
            handle = self.fs.open(self.attr.inode, os.O_RDONLY, self.provider.caller)
        return OpenFile(self.fs, handle)

    def finalize_headers(self, environ: dict[str, Any], response_headers: list[tuple[str, str]]) -> None:
        response_headers += _PROTECTIVE_HEADERS
        if any(kind in self.get_content_type() for kind in _ACTIVE_TYPES):
            response_headers.append(("Content-Disposition", "attachment"))


class FolderResource(DriveResource):
    """A folder."""

    def __init__(self, path: str, attr: Attr, provider: "DriveProvider", environ: dict[str, Any]) -> None:
        super().__init__(path, True, attr, provider, environ)

    def get_content_length(self) -> None:
        return None

    def get_content_type(self) -> None:
        return None

    def get_used_bytes(self) -> int:
        with translated():
            return self.fs.statfs().used_bytes

    def get_available_bytes(self) -> int:
        with translated():
            return self.fs.statfs().available_bytes

    def get_member_names(self) -> list[str]:
        return [util.get_uri_name(member.path) for member in self.get_member_list()]

    def get_member(self, name: str) -> DriveResource | None:
        return self.provider.get_resource_inst(util.join_uri(self.path, name), self.environ)

    def get_member_list(self) -> list[DriveResource]:
        """What lies in the folder, without what WebDAV cannot show."""
        members: list[DriveResource] = []
        with translated():
            handle = self.fs.opendir(self.attr.inode)
            try:
                cookie = 0
                while entries := self.fs.readdir(handle, cookie):
                    for entry in entries:
                        member = self._member(entry.name, entry.attr)
                        if member is not None:
                            members.append(member)
                    cookie = entries[-1].cookie
            finally:
                self.fs.closedir(handle)
        return members

    def _member(self, name: bytes, attr: Attr) -> DriveResource | None:
        try:
            attr = self.provider.followed(self.attr.inode, attr, name)
        except (NotFound, NotADirectory, Stale, TooManyLevels):
            return None
        return self.provider.resource(self.path + to_text(name), attr, self.environ)

    def create_empty_resource(self, name: str) -> DriveResource | None:
        """For LOCK on what is not there."""
        with translated():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            mode, caller = self.provider.file_mode, self.provider.caller
            handle, _ = self.fs.create(self.attr.inode, to_bytes(name), mode, flags, caller)
            self.fs.close(handle)
        return self.get_member(name)

    def create_collection(self, name: str) -> None:
        with translated():
            self.fs.mkdir(self.attr.inode, to_bytes(name), self.provider.folder_mode, self.provider.caller)


class OpenFile(io.RawIOBase):
    """An open file of the drive as Python's I/O sees one."""

    def __init__(self, fs: FileSystem, handle: HandleId) -> None:
        self._fs = fs
        self._handle = handle
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET:
            raise ValueError("only from the start")
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        with translated():
            data = self._fs.read(self._handle, self._position, size if size >= 0 else 1 << 20)
        self._position += len(data)
        return data

    def close(self) -> None:
        if not self.closed:
            self._fs.close(self._handle)
        super().close()
