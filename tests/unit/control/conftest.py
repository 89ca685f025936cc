"""A drive without a kernel, its control socket, and the files of both ends."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cryptdrive.clock import SystemClock
from cryptdrive.control.client import ControlClient, RemoteFiles
from cryptdrive.control.files import DriveFiles, LocalFiles
from cryptdrive.control.records import RunningRecord, RuntimeFolder
from cryptdrive.control.server import ControlServer
from cryptdrive.errors import Unsupported
from cryptdrive.store.memory import MemoryStore
from cryptdrive.vfs.filesystem import FileSystem
from tests.support.vault import SmallVault


def make_record(pid: int = 4711, **changes: Any) -> RunningRecord:
    fields: dict[str, Any] = {
        "pid": pid,
        "store": "file:///vault",
        "vault_id": "ab" * 32,
        "read_only": False,
        "mountpoint": "/mnt/drive",
        "webdav_url": None,
        "log_file": None,
        "started_ns": pid,
    }
    return RunningRecord(**{**fields, **changes})


class FakeDrive:
    """Answers as a running drive does, and ends when it is asked to."""

    def __init__(self, fs: FileSystem) -> None:
        self.fs = fs
        self.refusal: Exception | None = None
        self.stops: list[bool] = []
        self.stopped = threading.Event()
        self.flushes = 0

    def describe(self) -> dict[str, Any]:
        return {"state": "running"}

    def flush(self) -> None:
        self.flushes += 1
        self.fs.sync()

    def credential(self) -> dict[str, Any]:
        raise Unsupported("the drive is not served by WebDAV")

    def request_stop(self, *, lazy: bool, wait: bool) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.stops.append(lazy)
        self.stopped.set()


class Served:
    """A fake drive behind a real socket."""

    def __init__(self, runtime: Path, fs: FileSystem) -> None:
        self.runtime = runtime
        self.folder = RuntimeFolder(runtime)
        self.record = make_record()
        self.drive = FakeDrive(fs)
        self.server = ControlServer(self.folder, self.record, self.drive)
        self.server.start()

    def client(self) -> ControlClient:
        return ControlClient(self.folder, self.record)


@pytest.fixture
def fs() -> FileSystem:
    return SmallVault(MemoryStore(), SystemClock()).open()


@pytest.fixture
def served(tmp_path: Path, fs: FileSystem) -> Iterator[Served]:
    # Longer than a socket's address can be.
    runtime = tmp_path / ("a-long-name" * 10)
    runtime.mkdir(mode=0o700)
    served = Served(runtime, fs)
    yield served
    served.server.end(None)


@pytest.fixture(params=["local", "remote"])
def files(request: pytest.FixtureRequest, served: Served) -> Iterator[DriveFiles]:
    """The same drive seen from its own process, and from another one."""
    if request.param == "local":
        yield LocalFiles(served.drive.fs)
        return
    with served.client() as client:
        yield RemoteFiles(client)
