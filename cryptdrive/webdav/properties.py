"""Dead properties, kept as extended attributes of the file they belong to."""

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from cryptdrive.errors import NoAttribute, TooBig
from cryptdrive.schema.records import XATTR_VALUE_BYTES_MAX
from cryptdrive.vfs.values import XattrFlags
from cryptdrive.webdav.errors import translated

if TYPE_CHECKING:
    from cryptdrive.webdav.provider import DriveProvider

_PREFIX = b"user.webdav."


def _attribute(name: str) -> bytes:
    """Property names have no bound, attributes' do: the name itself stands in the value."""
    return _PREFIX + sha256(name.encode("utf-8")).hexdigest()[:32].encode("ascii")


class XattrProperties:
    """wsgidav's property manager over extended attributes: they move and are copied with their file."""

    def __init__(self, provider: "DriveProvider") -> None:
        self._provider = provider

    def _inode(self, url: str) -> Any:
        return self._provider.attr_at(self._provider.ref_url_to_path(url)).inode

    def get_properties(self, url: str, environ: object = None) -> list[str]:
        """Names in Clark notation."""
        with translated():
            inode, fs = self._inode(url), self._provider.fs
            names = []
            for attribute in fs.listxattr(inode):
                if attribute.startswith(_PREFIX):
                    name, _, _ = fs.getxattr(inode, attribute).partition(b"\0")
                    names.append(name.decode("utf-8"))
            return names

    def get_property(self, url: str, name: str, environ: object = None) -> bytes | None:
        """The property's XML; None if there is none."""
        with translated():
            try:
                value = self._provider.fs.getxattr(self._inode(url), _attribute(name))
            except NoAttribute:
                return None
            return value.partition(b"\0")[2]

    def write_property(
        self, url: str, name: str, value: bytes, dry_run: bool = False, environ: object = None
    ) -> None:
        stored = name.encode("utf-8") + b"\0" + value
        with translated():
            if len(stored) > XATTR_VALUE_BYTES_MAX:
                raise TooBig("a property is too large")
            if not dry_run:
                fs, caller = self._provider.fs, self._provider.caller
                fs.setxattr(self._inode(url), _attribute(name), stored, XattrFlags.NONE, caller)

    def remove_property(self, url: str, name: str, dry_run: bool = False, environ: object = None) -> None:
        """Removing what is not there is no error."""
        if dry_run:
            return
        with translated():
            try:
                self._provider.fs.removexattr(self._inode(url), _attribute(name), self._provider.caller)
            except NoAttribute:
                return

    def remove_properties(self, url: str, environ: object = None) -> None:
        """They go with their file."""

    def copy_properties(self, source_url: str, target_url: str, environ: object = None) -> None:
        """They are copied with their file."""

    def move_properties(
        self, source_url: str, target_url: str, with_children: bool, environ: object = None
    ) -> None:
        """They move with their file."""
