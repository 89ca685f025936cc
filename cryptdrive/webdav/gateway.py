"""cheroot, with what it leaves open closed: bounded memory, connections that end when they must.

cheroot gives a worker thread to a connection before it has sent a byte, does the TLS handshake in the
thread that accepts, reads what is left of a request's body into memory at once, takes chunks of any
size, does not unescape the path of OPTIONS, and keeps a connection open after a body that was cut short.
"""

import logging
import os
import ssl
import sys
from typing import Any
from urllib.parse import unquote_to_bytes

from cheroot import wsgi
from cheroot.server import HTTPConnection, HTTPRequest
from cheroot.ssl.builtin import BuiltinSSLAdapter

_log = logging.getLogger(__name__)

HEADER_TIMEOUT_S = 30
"""For each read until a request's header is there, and for the TLS handshake."""
WAITING_CONNECTIONS_MAX = 400
"""Connections that are open and ask for nothing; a process may have about a thousand files open."""
DISCARDED_BYTES_MAX = 64 << 20
"""What is read of a body that nobody wanted. Windows does not see an answer before it has sent all."""
_PIECE = 1 << 16
_CHUNK_LINE_BYTES_MAX = 1024
_TRAILERS_MAX = 64
_BODYLESS = ("204", "304")


class ChunkedBody:
    """A body in chunks (RFC 9112 §7.1), in pieces that the reader chooses."""

    remaining = 0
    """cheroot reads as much before the next request: nothing, for it cannot know."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._left = 0
        self._started = self._ended = False

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; none at the end. Raises ValueError for a body that is cut or malformed."""
        if not self._left and not self._ended:
            self._next_chunk()
        if self._ended:
            return b""
        data: bytes = self._stream.read(min(size, self._left))
        if not data:
            raise ValueError("the body broke off")
        self._left -= len(data)
        return data

    def _line(self) -> bytes:
        line: bytes = self._stream.readline(_CHUNK_LINE_BYTES_MAX)
        if not line.endswith(b"\n"):
            raise ValueError("the body broke off")
        return line.rstrip(b"\r\n")

    def _next_chunk(self) -> None:
        if self._started and self._line():
            raise ValueError("a chunk is longer than it says")
        self._started = True
        digits = self._line().partition(b";")[0].strip()
        if not digits or digits.strip(b"0123456789abcdefABCDEF") or len(digits) > 16:
            raise ValueError("a chunk's size is malformed")
        self._left = int(digits, 16)
        if not self._left:
            for _ in range(_TRAILERS_MAX):
                if not self._line():
                    break
            else:
                raise ValueError("there are too many trailers")
            self._ended = True


class Gateway(wsgi.Gateway_10):
    """One request, from cheroot to the application and back."""

    def __init__(self, request: Any) -> None:
        self._sent = 0
        self._closing = False
        super().__init__(request)

    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]
        request = self.req
        request.conn.socket.settimeout(request.server.timeout)
        environ: dict[str, Any] = super().get_environ()  # type: ignore[no-untyped-call]
        if request.chunked_read:
            environ["wsgi.input"] = request.rfile = ChunkedBody(request.conn.rfile)
        environ["PATH_INFO"] = _path(request.uri)
        return environ

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """The application has read what it wants of the body."""
        writer = super().start_response(status, headers, exc_info)
        self._closing = any(k.lower() == "connection" and v.lower() == "close" for k, v in headers)
        if self._closing or not self._discard_body():
            # cheroot reads the rest at once otherwise.
            self.req.close_connection = True
        return writer

    def _discard_body(self) -> bool:
        """False if more of the body is left than will be read."""
        left = DISCARDED_BYTES_MAX
        try:
            while left > 0:
                data = self.req.rfile.read(min(left, _PIECE))
                if not data:
                    return True
                left -= len(data)
        except (OSError, ValueError):
            return False
        return False

    def write(self, chunk: bytes) -> None:
        self._sent += len(chunk)
        super().write(chunk)

    def respond(self) -> None:
        super().respond()
        announced = self.remaining_bytes_out
        bodyless = self.req.method == b"HEAD" or self.req.status[:3].decode("ascii") in _BODYLESS
        if announced is not None and self._sent != announced and not bodyless:
            # The client waits for more: only the end of the connection tells it that none comes.
            self.req.close_connection = True


def _path(uri: bytes) -> str:
    """The path of a request target, unescaped, as WSGI wants it: bytes as Latin-1.

    An escaped slash cannot be part of a name; it becomes NUL here, which is refused.
    """
    if uri == b"*":
        return "/"
    if not uri.startswith(b"/"):
        # The absolute form, http://host/path.
        uri = b"/" + uri.partition(b"://")[2].partition(b"/")[2]
    path = uri.partition(b"?")[0].replace(b"%2F", b"%00").replace(b"%2f", b"%00")
    return unquote_to_bytes(path).decode("latin-1")


class Request(HTTPRequest):
    """Takes targets in the absolute form and with several slashes in front too (RFC 9112 §3.2.2)."""

    def __init__(self, server: Any, conn: Any) -> None:
        super().__init__(server, conn, proxy_mode=True)


class Connection(HTTPConnection):
    """Has its handshake in a worker thread, when the client has sent something."""

    RequestHandlerClass = Request

    seen = False
    """The client has sent something."""
    _is_open = False

    def communicate(self) -> bool:
        self.socket.settimeout(HEADER_TIMEOUT_S)
        if not self._is_open and isinstance(self.socket, ssl.SSLSocket):
            try:
                self.socket.do_handshake()
            except ssl.SSLError as error:
                if error.reason == "HTTP_REQUEST":
                    _tell_of_tls(self.socket.fileno())
                return False
            except OSError:
                return False
        self._is_open = True
        keep: bool = super().communicate()  # type: ignore[no-untyped-call]
        return keep


def _tell_of_tls(descriptor: int) -> None:
    body = b"This address speaks HTTPS only.\n"
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: "
    try:
        os.write(descriptor, head + b"%d\r\n\r\n" % len(body) + body)
    except OSError:
        return


class TlsAdapter(BuiltinSSLAdapter):
    """TLS 1.2 and later; the handshake is left to the connection."""

    def __init__(self, certificate: str, key: str) -> None:
        super().__init__(certificate, key)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2  # whatever this machine's OpenSSL would take

    def wrap(self, sock: Any) -> tuple[ssl.SSLSocket, dict[str, str]]:
        wrapped = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return wrapped, {"wsgi.url_scheme": "https", "HTTPS": "on"}


class Server(wsgi.Server):
    """cheroot's server with the parts above."""

    ConnectionClass = Connection
    keep_alive_conn_limit = WAITING_CONNECTIONS_MAX

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.gateway = Gateway

    def process_conn(self, conn: Connection) -> None:
        """Hand a connection to a worker thread, but a new one only when it has sent something."""
        if conn.seen:
            super().process_conn(conn)
        elif self.can_add_keepalive_connection:
            conn.seen = True
            self.put_conn(conn)
            # It is closed when that is ``timeout`` ago: sooner than one that has been of use.
            conn.last_used -= max(0, self.timeout - HEADER_TIMEOUT_S)
        else:
            conn.close()

    @staticmethod
    def bind_socket(socket_: Any, bind_addr: Any) -> Any:
        try:
            return wsgi.Server.bind_socket(socket_, bind_addr)  # type: ignore[no-untyped-call]
        except OSError:
            socket_.close()
            raise

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """To the log, not to stderr; what an error says may name files."""
        kind = sys.exc_info()[0]
        _log.log(level, "a connection ended early%s", f": {kind.__name__}" if kind else "")
        _log.debug("%s", msg, exc_info=traceback)
