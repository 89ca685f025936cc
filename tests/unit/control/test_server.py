"""The control socket: who may ask, what is bounded, how a drive is stopped, what is left behind."""

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from cryptdrive.control import server as server_module
from cryptdrive.control.client import ControlClient, RemoteFiles
from cryptdrive.control.protocol import ConnectionEnded, receive_message, send_message
from cryptdrive.control.records import RuntimeFolder
from cryptdrive.errors import BadHandle, Busy, StoreFull, UnsentData, Unsupported
from tests.unit.control.conftest import Served, make_record


def test_only_the_owner_may_enter(served: Served) -> None:
    for path in served.runtime.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert {path.suffix for path in served.runtime.iterdir()} == {".json", ".sock"}


def test_other_users_are_not_answered(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module.os, "geteuid", lambda: 12345)
    monkeypatch.setattr(server_module, "_peer", FakePeer())
    with served.client() as client, pytest.raises(ConnectionEnded):
        client.status()


class FakePeer:
    """Stands in for the kernel's answer: a user that is neither root nor ours."""

    size = 12

    def unpack(self, data: bytes) -> tuple[int, int, int]:
        return 1, 54321, 54321


def test_status_and_errors_on_one_connection(served: Served) -> None:
    with served.client() as client:
        assert client.status() == {"state": "running"}
        with pytest.raises(Unsupported, match="WebDAV"):
            client.credential()
        client.flush()
    assert served.drive.flushes == 1


@pytest.mark.parametrize(
    "header",
    [
        {"request": "no such request"},
        {},
        {"request": ["list"]},
        {"request": "stat"},
        {"request": "stat", "path": 5, "follow": False},
        {"request": "read", "handle": "x", "offset": 0, "size": 1},
        {"request": "list", "listing": 77},
        {"request": "stat", "path": "\udc00\ud800", "follow": False},
    ],
)
def test_malformed_requests_are_answered(served: Served, header: dict[str, object]) -> None:
    with served.client() as client:
        send_message(client._connection, header)
        assert receive_message(client._connection)[0]["error"] == "Invalid"
        assert client.status()


def test_handles_of_others_cannot_be_used(served: Served) -> None:
    with served.client() as one, served.client() as other:
        handle = RemoteFiles(one).stage()
        with pytest.raises(BadHandle):
            RemoteFiles(other).write(handle, 0, b"x")
        with pytest.raises(BadHandle):
            RemoteFiles(other).close(handle)
        RemoteFiles(one).write(handle, 0, b"x")


def test_what_a_client_left_open_is_closed(served: Served) -> None:
    with served.client() as client:
        files = RemoteFiles(client)
        files.stage()
        for number in range(300):
            files.make_link(b"/%d" % number, b"x")
        next(iter(files.entries(b"/")))
        assert served.drive.fs.open_handles() == 2
    for _ in range(500):
        if not served.drive.fs.open_handles():
            return
        threading.Event().wait(0.01)
    pytest.fail("handles are still open")


# --- stopping --------------------------------------------------------------------------------------


def stop_in_thread(
    served: Served, *, lazy: bool = False
) -> tuple[threading.Thread, list[BaseException | str]]:
    said: list[BaseException | str] = []

    def run() -> None:
        try:
            with served.client() as client:
                client.stop(lazy=lazy)
            said.append("ended")
        except BaseException as error:
            said.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, said


def test_stop_waits_for_the_outcome(served: Served) -> None:
    thread, said = stop_in_thread(served, lazy=True)
    assert served.drive.stopped.wait(5)
    assert served.drive.stops == [True]
    thread.join(0.2)
    assert thread.is_alive()
    assert said == []


def test_a_refused_stop_leaves_the_drive_running(served: Served) -> None:
    served.drive.refusal = Busy("/mnt/drive is in use by bash (17)")
    with served.client() as client:
        with pytest.raises(Busy, match=r"bash \(17\)"):
            client.stop(lazy=False)
        assert client.status() == {"state": "running"}


@pytest.mark.parametrize("problem", [StoreFull("the disk is full"), UnsentData("1 MiB could not be saved")])
def test_what_could_not_be_saved_is_told(served: Served, problem: Exception) -> None:
    thread, said = stop_in_thread(served)
    assert served.drive.stopped.wait(5)
    served.server.end(problem)
    thread.join(5)
    assert type(said[0]) is type(problem)
    assert str(said[0]) == str(problem)
    assert list(served.runtime.iterdir()) == []


def test_a_process_that_dies_while_saving(served: Served) -> None:
    listener = served.folder.listen(make_record(pid=1))
    client = ControlClient(served.folder, make_record(pid=1))
    connection, _ = listener.accept()

    def die() -> None:
        receive_message(connection)
        send_message(connection, {"ending": True})
        connection.close()

    thread = threading.Thread(target=die)
    thread.start()
    with client, pytest.raises(UnsentData, match="without saying"):
        client.stop(lazy=False)
    thread.join()
    listener.close()


# --- records ---------------------------------------------------------------------------------------


def test_running_drives_are_found(served: Served) -> None:
    assert served.folder.records() == [served.record]


def test_what_dead_processes_left_is_removed(tmp_path: Path) -> None:
    folder = RuntimeFolder(tmp_path)
    dead = make_record(pid=2)
    folder.listen(dead).close()
    folder.add(dead)
    without_socket = make_record(pid=3)
    folder.add(without_socket)
    assert folder.records() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"pid": 1}', b"\xff"])
def test_damaged_records_are_ignored(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert RuntimeFolder(tmp_path).records() == []


def test_a_record_under_a_foreign_name_is_ignored(served: Served) -> None:
    own = served.runtime / f"{served.record.identity}.json"
    (served.runtime / "other.json").write_bytes(own.read_bytes())
    assert served.folder.records() == [served.record]


def test_no_folder_means_no_drives(tmp_path: Path) -> None:
    assert RuntimeFolder(tmp_path / "missing").records() == []


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(ConnectionEnded, match="process 5"):
        ControlClient(RuntimeFolder(tmp_path), make_record(pid=5))


def test_the_end_takes_everything_away(tmp_path: Path, served: Served) -> None:
    served.server.end(None)
    assert list(served.runtime.iterdir()) == []
    assert served.folder.records() == []
    with pytest.raises(ConnectionEnded):
        served.client()


def test_a_left_socket_is_replaced(tmp_path: Path) -> None:
    folder, record = RuntimeFolder(tmp_path), make_record(pid=os.getpid())
    folder.listen(record).close()
    with folder.listen(record):
        connection = folder.connect(record)
        assert connection.family == socket.AF_UNIX
        connection.close()
