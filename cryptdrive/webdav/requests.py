"""The methods that change files, done by the file system in one step each.

wsgidav's own PUT writes into the live file, and its COPY and MOVE work file by file.
"""

import stat
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from wsgidav import util
from wsgidav.dav_error import (
    HTTP_BAD_GATEWAY,
    HTTP_BAD_REQUEST,
    HTTP_CONFLICT,
    HTTP_CREATED,
    HTTP_FORBIDDEN,
    HTTP_MEDIATYPE_NOT_SUPPORTED,
    HTTP_METHOD_NOT_ALLOWED,
    HTTP_NO_CONTENT,
    HTTP_NOT_FOUND,
    HTTP_NOT_IMPLEMENTED,
    HTTP_PRECONDITION_FAILED,
    DAVError,
)
from wsgidav.mw.base_mw import BaseMiddleware
from wsgidav.request_resolver import RequestResolver
from wsgidav.request_server import RequestServer

from cryptdrive.vfs.values import RenameFlags, SetAttr, XattrFlags
from cryptdrive.webdav.errors import translated
from cryptdrive.webdav.names import to_bytes, unquoted
from cryptdrive.webdav.provider import DriveProvider
from cryptdrive.webdav.resources import DriveResource, FolderResource

BLOCK_BYTES = 1 << 20
_NANOSECONDS = 1_000_000_000


class DriveResolver(RequestResolver):  # type: ignore[misc]
    """Lets :class:`DriveRequests` answer instead of wsgidav's own request server."""

    def __init__(self, wsgidav_app: Any, next_app: Any, config: dict[str, Any]) -> None:
        BaseMiddleware.__init__(self, wsgidav_app, next_app, config)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        if environ["REQUEST_METHOD"] == "OPTIONS" and environ["PATH_INFO"] == "*":
            yield from super().__call__(environ, start_response)
            return
        yield from DriveRequests(environ["wsgidav.provider"])(environ, start_response)


class DriveRequests(RequestServer):  # type: ignore[misc]
    """One request."""

    _davProvider: DriveProvider

    def _find(self, path: str, environ: dict[str, Any]) -> DriveResource | None:
        return self._davProvider.get_resource_inst(path, environ)

    def _existing(self, path: str, environ: dict[str, Any]) -> DriveResource:
        resource = self._find(path, environ)
        if resource is None:
            raise DAVError(HTTP_NOT_FOUND, "There is no such resource.")
        return resource

    def _refuse_read_only(self) -> None:
        if self._davProvider.read_only:
            self._fail(HTTP_FORBIDDEN, context_info="The drive is mounted read-only.")

    def _check_missing(self, environ: dict[str, Any]) -> None:
        """If-Match is false for what is not there (RFC 9110 §13.1.1)."""
        if "HTTP_IF_MATCH" in environ:
            self._fail(HTTP_PRECONDITION_FAILED, context_info="There is no such resource.")

    # --- PUT -----------------------------------------------------------------------------------

    def do_PUT(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Receive a body aside, then let it appear under its name in one moment."""
        self._refuse_read_only()
        path = environ["PATH_INFO"]
        if "HTTP_CONTENT_ENCODING" in environ:
            self._fail(HTTP_NOT_IMPLEMENTED, context_info="Content-Encoding is not supported.")
        if "HTTP_CONTENT_RANGE" in environ:
            self._fail(HTTP_BAD_REQUEST, context_info="Content-Range is not allowed on PUT requests.")
        resource = self._find(path, environ)
        parent = self._find(util.get_uri_parent(path), environ)
        if path.endswith("/") or (resource is not None and resource.is_collection):
            self._fail(HTTP_METHOD_NOT_ALLOWED, context_info="A folder cannot be PUT.")
        if not isinstance(parent, FolderResource):
            self._fail(HTTP_CONFLICT, context_info="The folder above is missing.")
        if resource is None:
            self._check_missing(environ)
        self._evaluate_if_headers(resource, environ)
        self._check_write_permission(resource if resource is not None else parent, "0", environ)
        mtime_ns = _mtime(environ)
        with self._write_transaction(resource if resource is not None else parent, environ):
            etag = self._receive(path, environ, mtime_ns)
        status = HTTP_CREATED if resource is None else HTTP_NO_CONTENT
        headers = [("ETag", etag)]
        if mtime_ns is not None:
            headers.append(("X-OC-MTime", "accepted"))
        response: Iterable[bytes] = util.send_status_response(
            environ, start_response, status, add_headers=headers
        )
        return response

    def _receive(self, path: str, environ: dict[str, Any], mtime_ns: int | None) -> str:
        """Take the body in; returns the new file's ETag. A body that breaks off changes nothing."""
        provider = self._davProvider
        fs, caller = provider.fs, provider.caller
        with translated():
            parent, name, _ = provider.place(path)
            handle = fs.stage(provider.file_mode, caller)
            try:
                length = 0
                for data in self._body(environ):
                    length += fs.write(handle, length, data)
                _check_length(environ, length)
                # Somebody may have changed the file while the body was on its way.
                self._evaluate_if_headers(self._find(path, environ), environ)
                attr = fs.publish(handle, parent, name, True, caller)
            except BaseException:
                fs.close(handle)
                raise
            if mtime_ns is not None:
                attr = fs.setattr(attr.inode, SetAttr(mtime_ns=mtime_ns), caller)
        return f'"{attr.inode:x}-{attr.change:x}"'

    def _body(self, environ: dict[str, Any]) -> Iterator[bytes]:
        stream = environ["wsgi.input"]
        while True:
            try:
                data = stream.read(BLOCK_BYTES)
            except (OSError, ValueError) as error:
                raise DAVError(HTTP_BAD_REQUEST, "The body broke off.", src_exception=error) from None
            environ["wsgidav.some_input_read"] = 1
            if not data:
                break
            yield data
        environ["wsgidav.all_input_read"] = 1

    # --- DELETE --------------------------------------------------------------------------------

    def do_DELETE(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Remove a file, or a folder with all that is in it, in one moment."""
        self._refuse_read_only()
        path = environ["PATH_INFO"]
        if util.get_content_length(environ) != 0:
            self._fail(HTTP_MEDIATYPE_NOT_SUPPORTED, context_info="DELETE has no body.")
        resource = self._existing(path, environ)
        if path.strip("/") == "":
            self._fail(HTTP_FORBIDDEN, context_info="The root cannot be deleted.")
        allowed = ("infinity",) if resource.is_collection else ("0", "infinity")
        if environ.setdefault("HTTP_DEPTH", "infinity") not in allowed:
            self._fail(HTTP_BAD_REQUEST, context_info="DELETE works on whole folders only.")
        self._evaluate_if_headers(resource, environ)
        self._check_write_permission(resource, "infinity", environ)
        self._check_write_permission(self._find(util.get_uri_parent(path), environ), "0", environ)
        with translated():
            parent, name, _ = self._davProvider.place(path)
            self._davProvider.fs.remove_tree(parent, name, self._davProvider.caller)
        resource.remove_all_locks(recursive=True)
        response: Iterable[bytes] = util.send_status_response(environ, start_response, HTTP_NO_CONTENT)
        return response

    def do_MKCOL(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self._refuse_read_only()
        response: Iterable[bytes] = super().do_MKCOL(environ, start_response)
        return response

    def do_LOCK(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self._refuse_read_only()
        response: Iterable[bytes] = super().do_LOCK(environ, start_response)
        return response

    # --- COPY and MOVE ---------------------------------------------------------------------------

    def _copy_or_move(self, environ: dict[str, Any], start_response: Any, is_move: bool) -> Iterable[bytes]:
        self._refuse_read_only()
        path = environ["PATH_INFO"]
        source = self._existing(path, environ)
        if path.strip("/") == "":
            self._fail(HTTP_FORBIDDEN, context_info="The root cannot be copied or moved into itself.")
        if util.get_content_length(environ) != 0:
            # Old clients send a <propertybehavior>, which RFC 4918 dropped.
            environ["wsgi.input"].read(util.get_content_length(environ))
            environ["wsgidav.all_input_read"] = 1
        depth = _depth(environ, source.is_collection, is_move)
        overwrite = environ.get("HTTP_OVERWRITE", "T")
        if overwrite not in ("T", "F"):
            self._fail(HTTP_BAD_REQUEST, context_info="Overwrite is T or F.")
        target_path = _destination(environ)
        target = self._find(target_path, environ)
        target_parent = self._find(util.get_uri_parent(target_path.rstrip("/")), environ)
        if not isinstance(target_parent, FolderResource):
            self._fail(HTTP_CONFLICT, context_info="The folder above the destination is missing.")
        self._evaluate_if_headers(source, environ)
        self._evaluate_if_headers(target, environ)
        if is_move:
            self._check_write_permission(source, "infinity", environ)
            self._check_write_permission(self._find(util.get_uri_parent(path), environ), "0", environ)
        if target is None:
            self._check_write_permission(target_parent, "0", environ)
        else:
            self._check_write_permission(target, "infinity", environ)
        if target is not None and target.attr.inode == source.attr.inode and path.rstrip("/") == target_path:
            self._fail(HTTP_FORBIDDEN, context_info="Source and destination are the same.")
        inside = (target_path + "/").startswith(path.rstrip("/") + "/")
        outside = (path.rstrip("/") + "/").startswith(target_path + "/")
        if inside or outside:
            self._fail(HTTP_FORBIDDEN, context_info="A folder cannot be copied or moved into itself.")
        if target is not None and overwrite == "F":
            self._fail(HTTP_PRECONDITION_FAILED, context_info="The destination is there already.")
        with translated():
            if is_move:
                self._move(path, target_path)
            else:
                self._copy(source, target_path, depth)
        if is_move:
            source.remove_all_locks(recursive=True)
        status = HTTP_CREATED if target is None else HTTP_NO_CONTENT
        response: Iterable[bytes] = util.send_status_response(environ, start_response, status)
        return response

    def _move(self, path: str, target_path: str) -> None:
        """Rename; what cannot be replaced by a rename changes places with the source, and goes."""
        provider = self._davProvider
        fs, caller = provider.fs, provider.caller
        parent, name, moved = provider.place(path)
        new_parent, new_name, old = provider.place(target_path)
        folder_involved = any(each is not None and stat.S_ISDIR(each.mode) for each in (moved, old))
        if old is None or not folder_involved:
            fs.rename(parent, name, new_parent, new_name, RenameFlags.NONE, caller)
            return
        fs.rename(parent, name, new_parent, new_name, RenameFlags.EXCHANGE, caller)
        fs.remove_tree(parent, name, caller)

    def _copy(self, source: DriveResource, target_path: str, depth: str) -> None:
        provider = self._davProvider
        fs, caller = provider.fs, provider.caller
        parent, name, old = provider.place(target_path)
        if not source.is_collection or depth == "infinity":
            fs.clone(source.attr.inode, parent, name, True, caller)
            return
        # Depth 0: the folder with its properties, and nothing that is in it.
        if old is not None:
            fs.remove_tree(parent, name, caller)
        made = fs.mkdir(parent, name, source.attr.mode & 0o7777, caller)
        for attribute in fs.listxattr(source.attr.inode):
            value = fs.getxattr(source.attr.inode, attribute)
            fs.setxattr(made.inode, attribute, value, XattrFlags.NONE, caller)


def _depth(environ: dict[str, Any], is_collection: bool, is_move: bool) -> str:
    depth: str = environ.get("HTTP_DEPTH", "infinity")
    if depth not in ("0", "infinity") or (is_move and is_collection and depth == "0"):
        raise DAVError(HTTP_BAD_REQUEST, "Depth does not fit.")
    return depth


def _destination(environ: dict[str, Any]) -> str:
    """The path in the Destination header, without a slash at its end. Raises DAVError."""
    header = environ.get("HTTP_DESTINATION")
    if not header:
        raise DAVError(HTTP_BAD_REQUEST, "The Destination header is missing.")
    # Before unquoting, so that '?', '#' and ';' that belong to a name are still escaped. Some clients
    # send them raw: all of the rest is path then.
    url = urlsplit(header)
    schemes = {"", environ["wsgi.url_scheme"].lower(), environ.get("HTTP_X_FORWARDED_PROTO", "").lower()}
    hosts = {"", environ.get("HTTP_HOST", "").lower(), environ.get("HTTP_X_FORWARDED_HOST", "").lower()}
    if url.scheme.lower() not in schemes or url.netloc.lower() not in hosts:
        raise DAVError(HTTP_BAD_GATEWAY, "The destination is on another server.")
    path: str = util.normalize_path("/" + unquoted(url.path).lstrip("/")).rstrip("/")
    if not path:
        raise DAVError(HTTP_FORBIDDEN, "The root cannot be replaced.")
    if b"\0" in to_bytes(path):
        raise DAVError(HTTP_BAD_REQUEST, "A name holds NUL.")
    return path


def _check_length(environ: dict[str, Any], length: int) -> None:
    """Compare what came with what the client announced. Raises DAVError."""
    # Finder sends chunks, and this header instead of a length.
    for header in ("CONTENT_LENGTH", "HTTP_X_EXPECTED_ENTITY_LENGTH"):
        announced = environ.get(header, "")
        if announced and (not announced.isdigit() or int(announced) != length):
            raise DAVError(HTTP_BAD_REQUEST, f"{announced} bytes were announced, {length} came.")


def _mtime(environ: dict[str, Any]) -> int | None:
    """X-OC-Mtime of the ownCloud family, rclone among it: seconds since the epoch. Nanoseconds."""
    text = environ.get("HTTP_X_OC_MTIME", "")
    try:
        return int(float(text) * _NANOSECONDS) if text else None
    except (ValueError, OverflowError):
        raise DAVError(HTTP_BAD_REQUEST, "X-OC-Mtime is not a number.") from None
