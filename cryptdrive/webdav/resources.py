"""Files and folders as wsgidav wants to see them."""

import os
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wsgidav import util
from wsgidav.dav_error import (
    HTTP_FORBIDDEN,
    HTTP_INTERNAL_ERROR,
    HTTP_METHOD_NOT_ALLOWED,
    DAVError,
)
from wsgidav.dav_provider import _DAVResource

from cryptdrive.errors import Exists
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.values import Attr
from cryptdrive.webdav import properties
from cryptdrive.webdav.errors import log_unexpected, translated
from cryptdrive.webdav.names import displayed, quoted, to_bytes, to_text

if TYPE_CHECKING:
    from cryptdrive.webdav.provider import DriveProvider


@dataclass(frozen=True, slots=True)
class Found:
    """What a path leads to."""

    path: str
    """As it was given; folders have a slash at the end."""
    attr: Attr
    """When it was looked up."""
    stored: tuple[bytes, ...]
    """The names on the way, as they are stored."""
    linked: bool
    """A symbolic link led there."""


class DriveResource(_DAVResource):  # type: ignore[misc]
    """What files and folders have in common: one request's view."""

    provider: "DriveProvider"
    is_collection: bool

    def __init__(self, found: Found, provider: "DriveProvider", environ: dict[str, Any]) -> None:
        # What the base class sets, without the work that it does for names.
        self.found = found
        self.path = found.path
        self.attr = found.attr
        self.provider = provider
        self.environ = environ

    @property
    def name(self) -> str:
        """For people: what is not text in it is replaced."""
        return displayed(to_bytes(util.get_uri_name(self.path)))

    @property
    def fs(self) -> FileSystem:
        return self.provider.fs

    def get_display_name(self) -> str:
        return self.name

    def get_href(self) -> str:
        return quoted(self.get_preferred_path())

    def get_ref_url(self) -> str:
        """Under which locks are kept: the same whatever form a name is given in."""
        return stored_url(self.found.stored)

    def get_creation_date(self) -> float:
        return self.attr.btime_ns / properties.NANOSECONDS

    def get_last_modified(self) -> float:
        return self.attr.mtime_ns / properties.NANOSECONDS

    def get_etag(self) -> str:
        """Strong: ``change`` never has the same value for two contents."""
        return etag(self.attr)

    def support_etag(self) -> bool:
        return True

    def support_modified(self) -> bool:
        return True

    def get_property_names(self, *, is_allprop: bool) -> list[str]:
        return properties.names(self, everything=not is_allprop)

    def get_property_value(self, name: str) -> Any:
        return properties.element(self, name)

    def set_property_value(self, name: str, value: Any, *, dry_run: bool = False) -> None:
        """None removes it. Raises DAVError."""
        if self.provider.read_only:
            raise DAVError(HTTP_FORBIDDEN)
        try:
            properties.change(self, name, value, dry_run=dry_run)
        except DAVError:
            raise
        except Exception:  # noqa: BLE001 - wsgidav would show its repr
            log_unexpected("a property could not be changed")
            raise DAVError(HTTP_INTERNAL_ERROR) from None


class FileResource(DriveResource):
    """A file."""

    is_collection = False

    def get_content_length(self) -> int:
        return self.attr.size

    def get_content_type(self) -> str:
        return properties.content_type(self.path)

    def support_ranges(self) -> bool:
        return True


class FolderResource(DriveResource):
    """A folder."""

    is_collection = True

    def get_content_length(self) -> None:
        return None

    def get_content_type(self) -> None:
        return None

    def members(self) -> Generator[DriveResource, None, None]:
        """What lies in the folder."""
        return self.provider.members(self)

    def get_member_list(self) -> list[DriveResource]:
        return list(self.members())

    def get_member_names(self) -> list[str]:
        return [util.get_uri_name(member.path) for member in self.members()]

    def get_member(self, name: str) -> DriveResource | None:
        return self.provider.get_resource_inst(util.join_uri(self.path, name), self.environ)

    def create_empty_resource(self, name: str) -> DriveResource | None:
        """For LOCK on what is not there."""
        with translated():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            mode, caller = self.provider.file_mode, self.provider.caller
            try:
                handle, _ = self.fs.create(self.attr.inode, to_bytes(name), mode, flags, caller)
            except Exists:
                # A link that leads nowhere, or a special file.
                raise DAVError(HTTP_FORBIDDEN) from None
            self.fs.close(handle)
        self.environ["cryptdrive.created"] = (self.attr.inode, to_bytes(name))
        return self.get_member(name)

    def create_collection(self, name: str) -> None:
        with translated():
            try:
                mode, caller = self.provider.folder_mode, self.provider.caller
                self.fs.mkdir(self.attr.inode, to_bytes(name), mode, caller)
            except Exists:
                raise DAVError(HTTP_METHOD_NOT_ALLOWED) from None


def etag(attr: Attr) -> str:
    """Without the quotes."""
    return f"{attr.inode:x}-{attr.change:x}"


def stored_url(names: tuple[bytes, ...]) -> str:
    """The URL path of names from the root."""
    return quoted("/" + "/".join(to_text(name) for name in names))
