"""Who may talk to the server: hosts, origins, credentials."""

import hmac
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from wsgidav.dc.base_dc import BaseDomainController
from wsgidav.http_authenticator import HTTPAuthenticator

from cryptdrive.webdav.credential import REALM, Credential
from cryptdrive.webdav.names import quoted, to_text, unquoted

_log = logging.getLogger(__name__)

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_FAILURE_DELAY_S = 0.3


class Guard:
    """The outermost layer: refuses what web pages and other hosts may send (DNS rebinding, CSRF).

    A request is served only if its Host is one of ours; a browser's request only if no other
    site's page caused it. There are no CORS headers. An error that nobody translated becomes a
    500 without a word of detail.
    """

    def __init__(self, application: Application, hosts: Iterable[str], port: int) -> None:
        self._application = application
        names = {host.lower() for host in hosts}
        self._hosts = names | {f"{name}:{port}" for name in names}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        refusal = self._refusal(environ)
        if refusal is not None:
            return _plain(start_response, refusal)
        # WSGI gives the path's bytes as Latin-1.
        environ["PATH_INFO"] = to_text(environ["PATH_INFO"].encode("latin-1"))
        if "\0" in environ["PATH_INFO"] or ".." in environ["PATH_INFO"].split("/"):
            return _plain(start_response, "400 Bad Request")
        return self._answer(environ, start_response)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        started = False

        def starting(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal started
            started = True
            if exc_info is not None:
                return start_response(status, headers, exc_info)
            return start_response(status, headers)

        try:
            yield from self._application(environ, starting)
        except Exception:
            _log.exception("a request failed unexpectedly")
            if started:
                raise
            yield from _plain(start_response, "500 Internal Server Error")

    def _refusal(self, environ: dict[str, Any]) -> str | None:
        host = environ.get("HTTP_HOST", "").lower()
        if host not in self._hosts:
            return "421 Misdirected Request"
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and urlsplit(origin).netloc.lower() != host:
            return "403 Forbidden"
        if environ.get("HTTP_SEC_FETCH_SITE", "none") not in ("none", "same-origin"):
            return "403 Forbidden"
        return None


def _plain(start_response: Any, status: str) -> list[bytes]:
    body = status.encode("ascii") + b"\n"
    start_response(
        status,
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ],
    )
    return [body]


class Authenticator(HTTPAuthenticator):  # type: ignore[misc]
    """wsgidav's, for paths that are not UTF-8 too: it sees them as the client's escaped URL."""

    def send_digest_auth_response(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        escaped = {**environ, "PATH_INFO": quoted(environ["PATH_INFO"])}
        response: Iterable[bytes] = super().send_digest_auth_response(escaped, start_response)
        return response

    def _is_digest_uri_valid(self, req_uri: str, environ: dict[str, Any]) -> bool:
        path = urlsplit(req_uri).path
        if unquoted(path) == environ["PATH_INFO"]:
            query: str = environ.get("QUERY_STRING", "")
            return urlsplit(req_uri).query == query
        valid: bool = super()._is_digest_uri_valid(req_uri, environ)
        return valid


class OneUser(BaseDomainController):  # type: ignore[misc]
    """The one user of a drive, for wsgidav's Basic and Digest authentication."""

    def __init__(self, wsgidav_app: Any, config: dict[str, Any]) -> None:
        super().__init__(wsgidav_app, config)
        self._credential: Credential = config["cryptdrive.credential"]

    def __str__(self) -> str:
        return "one user"

    def get_domain_realm(self, path_info: str, environ: dict[str, Any] | None) -> str:
        return REALM

    def require_authentication(self, realm: str, environ: dict[str, Any] | None) -> bool:
        return True

    def basic_auth_user(self, realm: str, user_name: str, password: str, environ: dict[str, Any]) -> bool:
        given = f"{_without_domain(user_name)}\0{password}".encode()
        expected = f"{self._credential.user}\0{self._credential.password}".encode()
        if hmac.compare_digest(given, expected):
            return True
        # Guessing 128 random bits is hopeless; this only keeps a wild client from filling the log.
        time.sleep(_FAILURE_DELAY_S)
        return False

    def supports_http_digest_auth(self) -> bool:
        return True

    def digest_auth_user(self, realm: str, user_name: str, environ: dict[str, Any]) -> str | bool:
        if _without_domain(user_name) != self._credential.user:
            return False
        # The client hashed the name as it sent it.
        hashed: str = self._compute_http_digest_a1(realm, user_name, self._credential.password)
        return hashed


def _without_domain(user_name: str) -> str:
    """Windows sends ``DOMAIN\\name``."""
    return user_name.rpartition("\\")[2]
