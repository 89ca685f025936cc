"""One request: what is checked before, and what each method does with the drive.

wsgidav's own PUT writes into the live file, its COPY and MOVE work file by file, its PROPFIND holds
the whole answer in memory, and its conditions know only of the request's own URL.
"""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from wsgidav import util
from wsgidav.dav_error import (
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
from wsgidav.request_server import RequestServer

from cryptdrive.errors import CryptdriveError
from cryptdrive.webdav import conditions, downloads, page, propfind, transfers, uploads
from cryptdrive.webdav.credential import USER
from cryptdrive.webdav.errors import HTTP_TOO_LARGE, translated
from cryptdrive.webdav.properties import WINDOWS
from cryptdrive.webdav.provider import DriveProvider
from cryptdrive.webdav.resources import DriveResource, FolderResource

XML_BYTES_MAX = 1 << 20
_WITH_XML = ("PROPFIND", "PROPPATCH", "LOCK")
_WITHOUT_BODY = ("GET", "HEAD", "DELETE", "MKCOL", "UNLOCK", "OPTIONS")
_CHANGING = ("PUT", "DELETE", "MKCOL", "COPY", "MOVE", "LOCK", "PROPPATCH")
_ON_ANYTHING = ("OPTIONS", "HEAD", "GET", "PROPFIND")


class DriveResolver(BaseMiddleware):  # type: ignore[misc]
    """The end of wsgidav's stack: lets :class:`DriveRequests` answer."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        yield from DriveRequests(environ["wsgidav.provider"])(environ, start_response)


class DriveRequests(RequestServer):  # type: ignore[misc]
    """Answers one request."""

    _davProvider: DriveProvider

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        # There is one user, whatever domain Windows puts before the name.
        environ["wsgidav.auth.user_name"] = USER
        method = environ["REQUEST_METHOD"]
        if method in _CHANGING and self._davProvider.read_only:
            raise DAVError(HTTP_FORBIDDEN, "The drive is mounted read-only.")
        if method in _WITH_XML:
            _hold_body(environ)
        elif method in _WITHOUT_BODY and util.get_content_length(environ) != 0:
            raise DAVError(HTTP_MEDIATYPE_NOT_SUPPORTED, "This method has no body.")
        lists = conditions.parse_if(environ["HTTP_IF"]) if "HTTP_IF" in environ else []
        environ["cryptdrive.if"] = lists
        environ["wsgidav.conditions.if"] = {}
        environ["wsgidav.ifLockTokenList"] = conditions.tokens(lists)
        yield from super().__call__(environ, start_response)

    # --- what every method needs ---------------------------------------------------------------

    def _find(self, path: str, environ: dict[str, Any]) -> DriveResource | None:
        return self._davProvider.get_resource_inst(path, environ)

    def _existing(self, path: str, environ: dict[str, Any]) -> DriveResource:
        resource = self._find(path, environ)
        if resource is None:
            raise DAVError(HTTP_NOT_FOUND, "There is no such resource.")
        return resource

    def _folder_above(self, path: str, environ: dict[str, Any]) -> FolderResource:
        folder = self._find(util.get_uri_parent(path.rstrip("/")) or "/", environ)
        if not isinstance(folder, FolderResource):
            raise DAVError(HTTP_CONFLICT, "The folder above is missing.")
        return folder

    def _evaluate_if_headers(self, resource: DriveResource | None, environ: dict[str, Any]) -> None:
        """Raises DAVError: 412, or 304."""
        conditions.check_http(resource, environ)
        conditions.check_if(environ["cryptdrive.if"], self._davProvider, resource, environ)

    def _check_unlocked(self, path: str, environ: dict[str, Any], depth: str = "0") -> None:
        """Raises DAVError (423) where a lock covers ``path`` of which the request has no token.

        With ``depth`` infinity also for locks deeper down. Locks are asked for by path, for one can
        stay when its file was removed by another way.
        """
        self._davProvider.lock_manager.check_write_permission(
            url=self._davProvider.lock_url(path),
            depth=depth,
            token_list=environ["wsgidav.ifLockTokenList"],
            principal=USER,
        )

    @contextmanager
    def _written(self, path: str, environ: dict[str, Any]) -> Iterator[None]:
        """Nobody else can lock ``path`` meanwhile. Raises DAVError (423)."""
        with self._davProvider.lock_manager.write_transaction(
            url=self._davProvider.lock_url(path),
            token_list=environ["wsgidav.ifLockTokenList"],
            principal=USER,
        ):
            yield

    # --- reading -------------------------------------------------------------------------------

    def do_GET(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        resource = self._existing(environ["PATH_INFO"], environ)
        if isinstance(resource, FolderResource):
            # Unconditionally: its ETag says nothing of the sizes and times that the page shows.
            return page.send(resource, environ, start_response)
        self._evaluate_if_headers(resource, environ)
        return downloads.send(resource, environ, start_response)

    do_HEAD = do_GET

    def do_PROPFIND(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        resource = self._existing(environ["PATH_INFO"], environ)
        depth = environ.get("HTTP_DEPTH", "infinity")
        if depth not in ("0", "1", "1,noroot", "infinity"):
            raise DAVError(HTTP_BAD_REQUEST, "There is no such depth.")
        self._evaluate_if_headers(resource, environ)
        return propfind.answer(resource, depth, propfind.parse(environ), start_response)

    def do_OPTIONS(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path, writable = environ["PATH_INFO"], not self._davProvider.read_only
        resource = self._find(path, environ)
        allowed = list(_ON_ANYTHING)
        if resource is None:
            self._folder_above(path, environ)
            allowed = ["OPTIONS", *(("PUT", "MKCOL", "LOCK") if writable else ())]
        elif writable:
            allowed += ["DELETE", "COPY", "MOVE", "PROPPATCH", "LOCK", "UNLOCK"]
            if not resource.is_collection:
                allowed.append("PUT")
        headers = [
            # Without class 2 Finder mounts read-only, which is right then.
            ("DAV", "1,2" if writable else "1"),
            ("MS-Author-Via", "DAV"),
            ("Allow", ", ".join(allowed)),
            ("Accept-Ranges", "bytes"),
            ("Content-Length", "0"),
        ]
        start_response("200 OK", headers)
        return [b""]

    # --- writing -------------------------------------------------------------------------------

    def do_PUT(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Receive a body aside, then let it appear under its name in one moment."""
        path = environ["PATH_INFO"]
        if "HTTP_CONTENT_ENCODING" in environ:
            raise DAVError(HTTP_NOT_IMPLEMENTED, "Content-Encoding is not supported.")
        if "HTTP_CONTENT_RANGE" in environ:
            raise DAVError(HTTP_BAD_REQUEST, "Content-Range does not go with PUT.")
        if path.endswith("/"):
            raise DAVError(HTTP_METHOD_NOT_ALLOWED, "A folder cannot be PUT.")
        resource = self._find(path, environ)
        self._folder_above(path, environ)
        uploads.place_to_write(self._davProvider, path)
        self._evaluate_if_headers(resource, environ)
        if resource is None:
            self._check_unlocked(util.get_uri_parent(path), environ)
        with self._written(path, environ):
            etag = uploads.receive(
                self._davProvider,
                path,
                environ,
                lambda: self._evaluate_if_headers(self._find(path, environ), environ),
            )
        headers = [("ETag", f'"{etag}"')]
        if "HTTP_X_OC_MTIME" in environ:
            headers.append(("X-OC-MTime", "accepted"))
        return _status(start_response, HTTP_CREATED if resource is None else HTTP_NO_CONTENT, headers)

    def do_DELETE(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Remove a file, or a folder with all that is in it, in one moment."""
        path = environ["PATH_INFO"]
        resource = self._existing(path, environ)
        if not path.strip("/"):
            raise DAVError(HTTP_FORBIDDEN, "The root cannot be deleted.")
        if resource.is_collection and environ.get("HTTP_DEPTH", "infinity") != "infinity":
            raise DAVError(HTTP_BAD_REQUEST, "Folders are deleted as a whole.")
        self._evaluate_if_headers(resource, environ)
        self._check_unlocked(path, environ, "infinity")
        self._check_unlocked(util.get_uri_parent(path.rstrip("/")), environ)
        with translated():
            place = self._davProvider.place(path)
            self._davProvider.fs.remove_tree(place.parent, place.name, self._davProvider.caller)
        resource.remove_all_locks(recursive=True)
        return _status(start_response, HTTP_NO_CONTENT)

    def do_MKCOL(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self._evaluate_if_headers(self._find(environ["PATH_INFO"], environ), environ)
        self._check_unlocked(environ["PATH_INFO"], environ)
        response: Iterable[bytes] = super().do_MKCOL(environ, start_response)
        return response

    def do_LOCK(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """On what is not there it makes an empty file."""
        path = environ["PATH_INFO"]
        if self._find(path, environ) is None:
            self._folder_above(path, environ)
            self._check_unlocked(util.get_uri_parent(path.rstrip("/")), environ)
            self._check_unlocked(path, environ)
        try:
            response: Iterable[bytes] = super().do_LOCK(environ, start_response)
        except DAVError:
            self._take_back(environ)
            raise
        return response

    def _take_back(self, environ: dict[str, Any]) -> None:
        """Remove the file that a LOCK made before it failed."""
        made = environ.get("cryptdrive.created")
        if made is not None:
            parent, name = made
            try:
                self._davProvider.fs.unlink(parent, name, self._davProvider.caller)
            except CryptdriveError:
                return

    def do_PROPPATCH(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"]
        if _is_windows_only(util.parse_xml_body(environ)):
            # Office sets them on a file that it has locked, without its token.
            held = self._davProvider.lock_manager.tokens_of(self._davProvider.lock_url(environ["PATH_INFO"]))
            environ["wsgidav.ifLockTokenList"] += held
        body.seek(0)
        response: Iterable[bytes] = super().do_PROPPATCH(environ, start_response)
        return response

    # --- COPY and MOVE ---------------------------------------------------------------------------

    def _copy_or_move(self, environ: dict[str, Any], start_response: Any, is_move: bool) -> Iterable[bytes]:
        """What wsgidav's do_COPY and do_MOVE call."""
        path = environ["PATH_INFO"]
        source = self._existing(path, environ)
        if not path.strip("/"):
            raise DAVError(HTTP_FORBIDDEN, "The root cannot be copied or moved.")
        depth = transfers.depth(environ, folder=source.is_collection, moving=is_move)
        overwrite = environ.get("HTTP_OVERWRITE", "T")
        if overwrite not in ("T", "F"):
            raise DAVError(HTTP_BAD_REQUEST, "Overwrite is T or F.")
        target_path = transfers.destination(environ)
        target = self._find(target_path, environ)
        self._folder_above(target_path, environ)
        self._evaluate_if_headers(source, environ)
        self._check_transfer_unlocked(path, target_path, target, environ, is_move)
        here, there = path.rstrip("/") + "/", target_path + "/"
        if here.startswith(there) or there.startswith(here):
            raise DAVError(HTTP_FORBIDDEN, "A resource cannot be copied or moved into itself.")
        same = target is not None and target.get_ref_url() == source.get_ref_url()
        if target is not None and overwrite == "F" and not same:
            raise DAVError(HTTP_PRECONDITION_FAILED, "The destination is there already.")
        if is_move:
            transfers.move(self._davProvider, path, target_path, replace=overwrite == "T")
            source.remove_all_locks(recursive=True)
        else:
            deep = depth == "infinity"
            transfers.copy(self._davProvider, source, target_path, deep=deep, replace=overwrite == "T")
        return _status(start_response, HTTP_CREATED if target is None else HTTP_NO_CONTENT)

    def _check_transfer_unlocked(
        self,
        path: str,
        target_path: str,
        target: DriveResource | None,
        environ: dict[str, Any],
        is_move: bool,
    ) -> None:
        if is_move:
            self._check_unlocked(path, environ, "infinity")
            self._check_unlocked(util.get_uri_parent(path.rstrip("/")), environ)
        self._check_unlocked(target_path, environ, "infinity")
        if target is None:
            self._check_unlocked(util.get_uri_parent(target_path), environ)


def _status(start_response: Any, status: int, headers: Iterable[tuple[str, str]] = ()) -> Iterable[bytes]:
    text = {HTTP_CREATED: "201 Created", HTTP_NO_CONTENT: "204 No Content"}[status]
    start_response(text, [("Content-Length", "0"), *headers])
    return [b""]


def _hold_body(environ: dict[str, Any]) -> None:
    """Read an XML body, in chunks or not, for wsgidav takes what CONTENT_LENGTH says at once."""
    body = bytearray()
    try:
        while data := environ["wsgi.input"].read(XML_BYTES_MAX):
            body += data
            if len(body) > XML_BYTES_MAX:
                raise DAVError(HTTP_TOO_LARGE)
    except (OSError, ValueError):
        raise DAVError(HTTP_BAD_REQUEST, "The body broke off.") from None
    if util.get_content_length(environ) > len(body):
        raise DAVError(HTTP_BAD_REQUEST, "The body broke off.")
    environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
    environ["wsgidav.all_input_read"] = 1


def _is_windows_only(update: Any) -> bool:
    """Whether a PROPPATCH concerns properties of Windows alone."""
    changed = [found.tag for kind in update for prop in kind for found in prop]
    return bool(changed) and all(isinstance(tag, str) and tag.startswith(WINDOWS) for tag in changed)
