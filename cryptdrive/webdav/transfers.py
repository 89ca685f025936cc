"""COPY and MOVE, done by the file system in one step."""

import re
from dataclasses import replace as replace_fields
from typing import Any

from wsgidav import util
from wsgidav.dav_error import (
    HTTP_BAD_GATEWAY,
    HTTP_BAD_REQUEST,
    HTTP_FORBIDDEN,
    DAVError,
)

from cryptdrive.errors import IsADirectory, NotADirectory, NotEmpty, NotFound
from cryptdrive.vfs.values import RenameFlags, XattrFlags
from cryptdrive.webdav.errors import translated
from cryptdrive.webdav.names import to_bytes, unquoted
from cryptdrive.webdav.provider import DriveProvider
from cryptdrive.webdav.resources import DriveResource

_ABSOLUTE = re.compile(r"(https?)://([^/]*)(/.*)?", re.IGNORECASE | re.DOTALL)


def destination(environ: dict[str, Any]) -> str:
    """The path in the Destination header, without a slash at its end. Raises DAVError."""
    header = environ.get("HTTP_DESTINATION", "").strip()
    if not header:
        raise DAVError(HTTP_BAD_REQUEST, "The Destination header is missing.")
    # Not by urlsplit: some clients send '?' and '#' that belong to a name as they are.
    absolute = _ABSOLUTE.fullmatch(header)
    if absolute is not None:
        schemes = {environ["wsgi.url_scheme"], environ.get("HTTP_X_FORWARDED_PROTO", "").lower()}
        hosts = {environ.get("HTTP_HOST", "").lower(), environ.get("HTTP_X_FORWARDED_HOST", "").lower()}
        if absolute[1].lower() not in schemes or absolute[2].rpartition("@")[2].lower() not in hosts:
            raise DAVError(HTTP_BAD_GATEWAY, "The destination is on another server.")
        header = absolute[3] or "/"
    elif not header.startswith("/") or header.startswith("//"):
        raise DAVError(HTTP_BAD_GATEWAY, "The destination is on another server.")
    # WSGI gives the header's bytes as Latin-1.
    path = unquoted(header.replace("%2F", "%00").replace("%2f", "%00").encode("latin-1"))
    if "\0" in path or ".." in path.split("/"):
        raise DAVError(HTTP_BAD_REQUEST, "A name in the destination cannot be.")
    normalized: str = util.normalize_path(path).rstrip("/")
    if not normalized:
        raise DAVError(HTTP_FORBIDDEN, "The root cannot be replaced.")
    return normalized


def depth(environ: dict[str, Any], *, folder: bool, moving: bool) -> str:
    """ "0" or "infinity". Raises DAVError."""
    found: str = environ.get("HTTP_DEPTH", "infinity")
    if found not in ("0", "infinity") or (moving and folder and found == "0"):
        raise DAVError(HTTP_BAD_REQUEST, "Depth does not fit.")
    return found


def move(provider: DriveProvider, path: str, target_path: str, *, replace: bool) -> None:
    """Rename; what cannot be replaced by a rename changes places with the source, and goes.

    Raises DAVError: without ``replace``, there is something at the target.
    """
    fs, caller = provider.fs, provider.caller
    with translated():
        source, target = provider.place(path), provider.place(target_path)
        if source.attr is None:
            raise NotFound("no such file or directory")
        if (source.parent, source.name) == (target.parent, target.name):
            # The target is another form of the file's own name: that is what it is to be called.
            target = replace_fields(target, name=to_bytes(util.get_uri_name(target_path)), attr=None)
        ends = (source.parent, source.name, target.parent, target.name)
        if not replace:
            fs.rename(*ends, RenameFlags.NOREPLACE, caller)
            return
        if target.attr is not None and target.attr.inode == source.attr.inode:
            # To rename one hard link over another would leave both (rename(2)).
            fs.unlink(source.parent, source.name, caller)
            return
        try:
            fs.rename(*ends, RenameFlags.NONE, caller)
        except (IsADirectory, NotADirectory, NotEmpty):
            if target.attr is None:
                raise
            fs.rename(*ends, RenameFlags.EXCHANGE, caller)
            fs.remove_tree(source.parent, source.name, caller)


def copy(
    provider: DriveProvider, source: DriveResource, target_path: str, *, deep: bool, replace: bool
) -> None:
    """A copy that shares the content; of a folder that is not ``deep`` the folder alone."""
    fs, caller = provider.fs, provider.caller
    with translated():
        target = provider.place(target_path)
        if deep or not source.is_collection:
            fs.clone(source.attr.inode, target.parent, target.name, replace, caller)
            return
        if target.attr is not None and replace:
            fs.remove_tree(target.parent, target.name, caller)
        made = fs.mkdir(target.parent, target.name, source.attr.mode & 0o7777, caller)
        for attribute in fs.listxattr(source.attr.inode):
            value = fs.getxattr(source.attr.inode, attribute)
            fs.setxattr(made.inode, attribute, value, XattrFlags.NONE, caller)
