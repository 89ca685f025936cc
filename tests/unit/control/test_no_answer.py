"""A process that is stopped or hangs holds up nobody; one that takes long is waited for."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptdrive.control import client as client_module
from cryptdrive.control import records as records_module
from cryptdrive.control.client import ControlClient, RemoteFiles
from cryptdrive.control.protocol import NoAnswer, send_message
from cryptdrive.control.records import RunningRecord, RuntimeFolder
from cryptdrive.errors import UnsentData
from tests.unit.control.conftest import Served, make_record


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_S", "STATUS_SECONDS_MAX", "QUIET_SECONDS_MAX", "STALL_SECONDS_MAX"):
        monkeypatch.setattr(client_module, name, 0.1)


class Stopped:
    """A process that listens and never says a word."""

    def __init__(self, path: Path) -> None:
        self.folder = RuntimeFolder(path)
        self.record: RunningRecord = make_record(pid=os.getpid())
        self.listener = self.folder.listen(self.record)
        self.folder.add(self.record)

    def client(self) -> ControlClient:
        return ControlClient(self.folder, self.record)


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Stopped]:
    stopped = Stopped(tmp_path)
    yield stopped
    stopped.listener.close()


def test_nobody_waits_for_ever(stopped: Stopped) -> None:
    calls = (
        ControlClient.status,
        ControlClient.credential,
        ControlClient.flush,
        lambda client: client.stop(lazy=False),
        lambda client: RemoteFiles(client).stat(b"/"),
        lambda client: [RemoteFiles(client).write(1, 0, bytes(1 << 20)) for _ in range(3)],
    )
    for call in calls:
        start = time.monotonic()
        with stopped.client() as client, pytest.raises(NoAnswer, match=f"process {os.getpid()}"):
            call(client)
        assert time.monotonic() - start < 3


def test_a_full_queue(stopped: Stopped, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_module, "CONNECT_SECONDS_MAX", 1)
    waiting: list[socket.socket] = []
    try:
        with pytest.raises(BlockingIOError):
            for _ in range(100):
                waiting.append(stopped.folder.connect(stopped.record))
        with pytest.raises(NoAnswer, match=f"process {os.getpid()}"):
            stopped.client()
        assert stopped.folder.records() == [stopped.record], "it is there all the same"
    finally:
        for connection in waiting:
            connection.close()


def test_half_an_answer(stopped: Stopped) -> None:
    def answer() -> None:
        connection, _ = stopped.listener.accept()
        connection.sendall(b"CDCS")
        time.sleep(1)
        connection.close()

    thread = threading.Thread(target=answer)
    thread.start()
    with stopped.client() as client, pytest.raises(NoAnswer):
        client.status()
    thread.join()


def test_what_takes_long_is_waited_for(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def flush() -> None:
        time.sleep(1)
        done.append("flush")

    monkeypatch.setattr(served.drive, "flush", flush)
    with served.client() as client:
        client.flush()
        RemoteFiles(client).sync()
    assert done == ["flush", "flush"]


def test_a_long_end_is_waited_for(served: Served) -> None:
    said: list[BaseException] = []

    def stop() -> None:
        try:
            with served.client() as client:
                client.stop(lazy=False)
        except BaseException as error:
            said.append(error)

    thread = threading.Thread(target=stop)
    thread.start()
    assert served.drive.stopped.wait(5)
    time.sleep(1)
    assert said == []
    served.server.end(UnsentData("left"))
    thread.join(5)
    assert [str(error) for error in said] == ["left"]


def test_a_process_that_is_ending_is_waited_for(stopped: Stopped) -> None:
    """Its record and its socket have gone, and its last word is still to come."""
    began = threading.Event()

    def end() -> None:
        connection, _ = stopped.listener.accept()
        connection.recv(4096)
        send_message(connection, {"ending": True})
        stopped.folder.remove(stopped.record)
        stopped.listener.close()
        began.set()
        time.sleep(0.5)
        send_message(connection, {"ended": True})
        connection.close()

    thread = threading.Thread(target=end)
    thread.start()
    with stopped.client() as client:
        client.stop(lazy=False)
    assert began.is_set()
    thread.join()
