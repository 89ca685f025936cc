"""Which requests are answered at all: by host and by what caused them."""

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from cryptdrive.webdav.errors import log_unexpected
from cryptdrive.webdav.names import to_text

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Guard:
    """The outermost layer: refuses what web pages and other hosts may send (DNS rebinding, CSRF).

    A request is served only if its Host is one of ours; a browser's request only if no other
    site's page caused it. There are no CORS headers. An error that nobody translated becomes a
    500 without a word of detail.

    ``hosts`` count with this port; ``configured`` ones also without, for what stands in front of us.
    """

    def __init__(
        self,
        application: Application,
        hosts: Iterable[str],
        configured: Iterable[str],
        port: int,
        *,
        scheme: str,
        addresses: bool = False,
    ) -> None:
        """``addresses``: any numeric address is ours. No name can be bent to be one (DNS rebinding)."""
        self._application = application
        self._port = port
        named = {host.lower() for host in configured}
        known = {host.lower() for host in hosts} | named
        self._hosts = {f"{name}:{port}" for name in known} | named
        self._is_default_port = port == _DEFAULT_PORTS[scheme]
        if self._is_default_port:
            self._hosts |= known
        self._addresses = addresses

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
            if not any(name.lower() == "x-content-type-options" for name, _ in headers):
                headers = [*headers, ("X-Content-Type-Options", "nosniff")]
            if exc_info is not None:
                return start_response(status, headers, exc_info)
            return start_response(status, headers)

        try:
            yield from self._application(environ, starting)
        except Exception:
            if started:
                raise
            log_unexpected("a request failed unexpectedly")
            yield from _plain(start_response, "500 Internal Server Error")

    def _refusal(self, environ: dict[str, Any]) -> str | None:
        host = environ.get("HTTP_HOST", "").lower()
        if host not in self._hosts and not (self._addresses and self._is_address(host)):
            return "421 Misdirected Request"
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and urlsplit(origin).netloc.lower() != host:
            return "403 Forbidden"
        if environ.get("HTTP_SEC_FETCH_SITE", "none") not in ("none", "same-origin"):
            return "403 Forbidden"
        return None

    def _is_address(self, host: str) -> bool:
        text = host.removesuffix(f":{self._port}")
        if text == host and not self._is_default_port:
            return False
        try:
            if text.startswith("["):
                return text.endswith("]") and ipaddress.ip_address(text[1:-1]).version == 6
            ipaddress.IPv4Address(text)
        except ValueError:
            return False
        return True


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
