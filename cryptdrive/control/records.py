"""Which drives this user runs: a small record and a socket for each, in the runtime folder."""

import json
import logging
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self

from cryptdrive.errors import ConfigError
from cryptdrive.local.disk import write_durably

_log = logging.getLogger(__name__)

RECORD_BYTES_MAX = 64 * 1024
CONNECT_SECONDS_MAX = 5
_time = struct.Struct("@ll")
"""A struct timeval."""


@dataclass(frozen=True, slots=True)
class RunningRecord:
    """What others need to know to find a running drive. Kept 0600; names no file of the drive."""

    pid: int
    store: str
    """The store's URL."""
    vault_id: str
    read_only: bool
    mountpoint: str | None
    webdav_url: str | None
    log_file: str | None
    started_ns: int

    @property
    def identity(self) -> str:
        """The name of its files: of the vault and the process, for several may read one vault."""
        return f"{sha256(b'cryptdrive control ' + self.vault_id.encode()).hexdigest()[:16]}-{self.pid}"

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises ValueError."""
        fields = json.loads(data)
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError("not a record") from error


class RuntimeFolder:
    """Records and sockets of running drives."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, record: RunningRecord) -> None:
        """Make a drive known whose socket listens already."""
        write_durably(self._path / f"{record.identity}.json", json.dumps(asdict(record)).encode())

    def remove(self, record: RunningRecord) -> None:
        for suffix in (".json", ".sock"):
            with suppress(FileNotFoundError):
                os.unlink(self._path / (record.identity + suffix))

    def records(self) -> list[RunningRecord]:
        """The running drives, oldest first; what programs that died have left is removed."""
        found = []
        for path in sorted(self._path.glob("*.json")):
            try:
                with path.open("rb") as file:
                    record = RunningRecord.parse(file.read(RECORD_BYTES_MAX))
            except (OSError, ValueError):
                continue
            if record.identity != path.stem:
                continue
            if self._is_alive(record):
                found.append(record)
            else:
                self.remove(record)
        return sorted(found, key=lambda record: record.started_ns)

    def _is_alive(self, record: RunningRecord) -> bool:
        try:
            self.connect(record).close()
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError as error:
            _log.debug("the control socket of process %d does not answer: %s", record.pid, error)
        return True

    def connect(self, record: RunningRecord) -> socket.socket:
        """A connection to a running drive. Raises OSError; BlockingIOError: nobody accepts it in time."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # A process that is stopped accepts nobody, and with its queue full connecting waits (unix(7)).
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _time.pack(CONNECT_SECONDS_MAX, 0))
            with self._short_path(f"{record.identity}.sock") as path:
                connection.connect(path)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _time.pack(0, 0))
        except BaseException:
            connection.close()
            raise
        return connection

    def listen(self, record: RunningRecord) -> socket.socket:
        """A socket that listens, mode 0600 from its first moment. Raises ConfigError."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # The name gets the socket's mode when it is bound: at no moment may others enter.
            os.fchmod(listener.fileno(), 0o600)
            with self._short_path(f"{record.identity}.sock") as path:
                with suppress(FileNotFoundError):
                    os.unlink(path)
                listener.bind(path)
            listener.listen(32)
        except OSError as error:
            listener.close()
            raise ConfigError(f"no control socket can be made in {self._path}: {error.strerror}") from error
        return listener

    @contextmanager
    def _short_path(self, name: str) -> Iterator[str]:
        """A path for ``name`` that fits a socket's address (108 bytes), however long the folder's is."""
        folder = os.open(self._path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{folder}/{name}"
        finally:
            os.close(folder)
