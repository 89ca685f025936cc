"""A real WebDAV server over a small vault, and a client that speaks plain HTTP to it."""

import base64
import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cryptdrive.clock import SystemClock
from cryptdrive.config import WebDavOptions
from cryptdrive.store.memory import MemoryStore
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.webdav.server import WebdavServer
from tests.support.vault import SmallVault


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
        parts = urlsplit(self.server.url)
        return str(parts.hostname), int(parts.port or 0)

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self.address, timeout=20)

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
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Response(answer.status, found, answer.read())
        finally:
            connection.close()


@contextmanager
def serving(
    folder: Path, *, locks: MemoryValue | None = None, fs: FileSystem | None = None, read_only: bool = False
) -> Iterator[Client]:
    """A server on a free port of the loopback."""
    files = fs or SmallVault(MemoryStore(), SystemClock()).open()
    options = WebDavOptions(address=("127.0.0.1", 0))
    server = WebdavServer(files, options, locks or MemoryValue(), folder, read_only=read_only)
    server.start()
    try:
        yield Client(server, files)
    finally:
        server.stop()
