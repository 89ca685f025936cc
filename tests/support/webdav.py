"""A real WebDAV server over a small vault, and a client that speaks plain HTTP to it."""

import base64
import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cryptdrive.clock import SystemClock
from cryptdrive.config import WebDavOptions
from cryptdrive.store.memory import MemoryStore
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.webdav.gateway import Server
from cryptdrive.webdav.server import WebdavServer
from tests.support.vault import SmallVault

# How long a server may take to notice that it should stop: tests start many.
Server.expiration_interval = 0.02


class MemoryValue:
    """Stands for the sealed file of the locks."""

    value: bytes | None = None

    def load(self) -> bytes | None:
        return self.value

    def save(self, value: bytes) -> None:
        self.value = value


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Client:
    """Requests as they are, without a library's opinion of them."""

    server: WebdavServer
    fs: FileSystem
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", int(urlsplit(self.server.url).port or 0)

    def connection(self) -> http.client.HTTPConnection:
        if self.server.fingerprint is None:
            return http.client.HTTPConnection(*self.address, timeout=20)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(*self.address, timeout=20, context=context)

    def authorization(self) -> dict[str, str]:
        credential = self.server.credential
        token = base64.b64encode(f"{credential.user}:{credential.password}".encode()).decode()
        return {"Authorization": f"Basic {token}"}

    def __call__(
        self, method: str, path: str, body: bytes | Iterator[bytes] | None = None, **headers: str
    ) -> Response:
        """Header names are given with underscores for dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = self.connection()
        try:
            merged = {**self.authorization(), **self.headers, **named}
            connection.request(method, path, body, merged, encode_chunked=not isinstance(body, bytes))
            answer = connection.getresponse()
            found = {name.lower(): ", ".join(answer.headers.get_all(name, [])) for name in answer.headers}
            return Response(answer.status, found, answer.read())
        finally:
            connection.close()

    def raw(self, request: bytes, *, closing: bool = False) -> bytes:
        """What the server answers to these bytes until it closes; ``closing``: we do not send any more.

        ``@AUTH@`` and ``@HOST@`` stand for the credential and the server's name.
        """
        host, port = self.address
        with socket.create_connection((host, port), timeout=20) as connection:
            authorization = self.authorization()["Authorization"].encode()
            named = request.replace(b"@AUTH@", authorization).replace(b"@HOST@", f"{host}:{port}".encode())
            connection.sendall(named)
            if closing:
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
            return answer


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether ``condition`` becomes true in that time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@contextmanager
def serving(
    folder: Path,
    *,
    locks: MemoryValue | None = None,
    fs: FileSystem | None = None,
    read_only: bool = False,
    options: WebDavOptions | None = None,
) -> Iterator[Client]:
    """A server on a free port of the loopback."""
    files = fs or SmallVault(MemoryStore(), SystemClock()).open()
    served = options or WebDavOptions(address=("127.0.0.1", 0))
    server = WebdavServer(files, served, locks or MemoryValue(), folder, read_only=read_only)
    server.start()
    try:
        yield Client(server, files)
    finally:
        server.stop()
