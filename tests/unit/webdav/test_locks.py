"""Locks: how they are kept, and that nothing goes around them."""

import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wsgidav.dav_error import DAVError

from cryptdrive.errors import Integrity
from cryptdrive.types import ROOT_INODE
from cryptdrive.vfs.values import Caller
from cryptdrive.webdav import locks
from cryptdrive.webdav.locks import TIMEOUT_S_MAX, SealedLockStorage
from tests.support.webdav import Client, MemoryValue, eventually, serving
from tests.unit.webdav.test_clients import LOCK, lock


@pytest.fixture
def dav(tmp_path: Path) -> Iterator[Client]:
    with serving(tmp_path) as client:
        yield client


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def described(timeout: float = 600, **changes: Any) -> dict[str, Any]:
    return {
        "type": "write", "scope": "exclusive", "depth": "0", "owner": b"<o/>", "principal": "u",
        "timeout": timeout, **changes,
    }  # fmt: skip


def opened(value: MemoryValue, clock: Time) -> SealedLockStorage:
    storage = SealedLockStorage(value, clock)
    storage.open()
    return storage


def roots(storage: SealedLockStorage, path: str, *, deep: bool = False) -> set[str]:
    found = storage.get_lock_list(path, include_root=True, include_children=deep, token_only=False)
    return {each["root"] for each in found}


# --- the storage -------------------------------------------------------------------------------


def test_locks_are_kept_and_end() -> None:
    value, clock = MemoryValue(), Time()
    storage = opened(value, clock)
    first = storage.create("/a/b", described())
    storage.create("/a/bc", described(timeout=-1))
    assert first["token"].startswith("opaquelocktoken:")
    assert first["token"] != storage.create("/c", described())["token"]
    again = opened(value, clock)
    assert again.get(first["token"]) == first
    assert roots(again, "/a/b", deep=True) == {"/a/b"}
    assert roots(again, "/a", deep=True) == {"/a/b", "/a/bc"}
    assert roots(again, "/", deep=True) == {"/a/b", "/a/bc", "/c"}
    clock.now += 601
    assert again.get(first["token"]) is None
    assert roots(opened(value, clock), "/", deep=True) == {"/a/bc"}
    clock.now += TIMEOUT_S_MAX
    assert roots(opened(value, clock), "/", deep=True) == set()


def test_a_lock_is_refreshed_and_given_back() -> None:
    value, clock = MemoryValue(), Time()
    storage = opened(value, clock)
    token = storage.create("/a", described())["token"]
    clock.now += 500
    assert storage.refresh(token, timeout=10 * TIMEOUT_S_MAX)["timeout"] == TIMEOUT_S_MAX
    clock.now += 500
    assert storage.get(token) is not None
    assert storage.delete(token)
    assert not storage.delete(token)
    assert storage.is_empty
    with pytest.raises(DAVError):
        storage.refresh(token, timeout=10)
    assert opened(value, clock).is_empty


def test_there_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    value, clock = MemoryValue(), Time()
    storage = opened(value, clock)
    monkeypatch.setattr(locks, "LOCKS_MAX", 3)
    for number in range(3):
        storage.create(f"/{number}", described())
    with pytest.raises(DAVError) as error:
        storage.create("/one-more", described())
    assert error.value.value == 507
    assert roots(storage, "/", deep=True) == {"/0", "/1", "/2"}
    monkeypatch.setattr(locks, "LOCKS_MAX", 9)
    monkeypatch.setattr(locks, "LOCKS_BYTES_MAX", 2000)
    with pytest.raises(DAVError):
        storage.create("/" + "x" * 2000, described())


@pytest.mark.parametrize(
    "saved",
    [
        b"", b"{", b"[]", b"null", b"{}", b'{"version":2,"locks":[]}', b'{"version":1,"locks":[{}]}', b"\xff",
        b'{"version":1,"locks":[{"token":1,"root":"/","type":"write","scope":"shared","depth":"0","principal":"u",'
        b'"owner":"","timeout":1,"expire":2000}]}',
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_dropped(saved: bytes) -> None:
    value = MemoryValue()
    value.value = saved
    storage = opened(value, Time())
    assert storage.is_empty
    storage.create("/a", described())
    assert json.loads(value.value)["version"] == 1


def test_a_file_that_fails_keeps_the_locks_in_memory(caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        def load(self) -> bytes | None:
            raise Integrity("damaged")

        def save(self, value: bytes) -> None:
            raise OSError(28, "No space left on device")

    storage = SealedLockStorage(Failing(), Time())
    with caplog.at_level(logging.WARNING):
        storage.open()
        storage.create("/secret-name", described())
    assert roots(storage, "/secret-name") == {"/secret-name"}
    assert "secret-name" not in caplog.text


def test_names_are_in_the_sealed_value_alone(dav: Client, tmp_path: Path) -> None:
    lock(dav, "/confidential")
    for folder, _, files in os.walk(tmp_path):
        for name in files:
            assert b"confidential" not in (Path(folder) / name).read_bytes()


# --- the server --------------------------------------------------------------------------------


def test_every_way_of_writing_minds_a_lock(dav: Client) -> None:
    dav("MKCOL", "/d")
    dav("PUT", "/d/f", b"old")
    dav("PUT", "/g", b"g")
    token = lock(dav, "/d/f")
    for method, path, headers in (
        ("PUT", "/d/f", {}),
        ("DELETE", "/d/f", {}),
        ("DELETE", "/d", {}),
        ("MOVE", "/d/f", {"Destination": "/h"}),
        ("MOVE", "/d", {"Destination": "/h"}),
        ("MOVE", "/g", {"Destination": "/d/f"}),
        ("COPY", "/g", {"Destination": "/d/f"}),
        ("COPY", "/g", {"Destination": "/d"}),
        ("LOCK", "/d/f", {}),
    ):
        assert dav(method, path, LOCK if method == "LOCK" else b"", **headers).status == 423, (method, path)
    assert dav("COPY", "/d/f", Destination="/copy").status == 201
    assert dav("PUT", "/copy", b"a copy is not locked").status == 204
    assert dav("GET", "/d/f").body == b"old"
    assert dav("DELETE", "/d", If=f"</d/f> ({token})").status == 204
    assert dav("PUT", "/d", b"the lock went with the file").status == 201


def test_a_lock_counts_in_every_form_of_the_name(dav: Client) -> None:
    dav("PUT", "/e%CC%81", b"x")
    token = lock(dav, "/%C3%A9")
    assert dav("PUT", "/e%CC%81", b"y").status == 423
    assert dav("PUT", "/%C3%A9", b"y").status == 423
    assert dav("PUT", "/e%CC%81", b"y", If=f"({token})").status == 204
    assert token.strip("<>").encode() in dav("PROPFIND", "/e%CC%81", Depth="0").body


def test_a_lock_stays_when_the_file_goes_another_way(dav: Client) -> None:
    dav("PUT", "/f", b"x")
    token = lock(dav, "/f")
    dav.fs.unlink(ROOT_INODE, b"f", Caller())
    assert dav("PUT", "/f", b"y").status == 423
    assert dav("MKCOL", "/f").status == 423
    assert dav("LOCK", "/f", LOCK).status == 423
    assert dav("GET", "/f").status == 404, "nothing was made on the way"
    assert dav("PUT", "/f", b"y", If=f"(Not <DAV:no-lock>) ({token})").status == 201


def test_a_lock_that_fails_leaves_nothing_behind(dav: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    dav("MKCOL", "/d")
    lock(dav, "/d", Depth="0")
    assert dav("LOCK", "/d/new", LOCK).status == 423
    assert dav("LOCK", "/malformed", b"<x").status == 400
    assert dav("LOCK", "/malformed", b"<x/>").status == 400
    monkeypatch.setattr(locks, "LOCKS_MAX", 1)
    assert dav("LOCK", "/too-many", LOCK).status == 507
    for path in ("/d/new", "/malformed", "/too-many"):
        assert dav("GET", path).status == 404


def test_shared_locks(dav: Client) -> None:
    dav("PUT", "/f", b"x")
    shared = LOCK.replace(b"exclusive", b"shared")
    first = dav("LOCK", "/f", shared)
    assert first.status == dav("LOCK", "/f", shared).status == 200
    assert dav("LOCK", "/f", LOCK).status == 423
    assert dav("PUT", "/f", b"y").status == 423


def test_a_file_cannot_be_locked_while_it_is_being_sent(dav: Client) -> None:
    dav("PUT", "/f", b"old")
    finish = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield b"new "
        finish.wait(10)
        yield b"content"

    statuses = []
    upload = threading.Thread(
        target=lambda: statuses.append(dav("PUT", "/f", slowly(), Transfer_Encoding="chunked").status)
    )
    upload.start()
    assert eventually(lambda: dav.fs.open_handles() == 1)
    assert dav("LOCK", "/f", LOCK).status == 423
    assert dav("GET", "/f").body == b"old"
    finish.set()
    upload.join()
    assert statuses == [204]
    assert dav("LOCK", "/f", LOCK).status == 200
    assert dav("GET", "/f").body == b"new content"


def test_an_upload_minds_what_happened_meanwhile(dav: Client) -> None:
    etag = dav("PUT", "/f", b"old").headers["etag"]
    finish = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield b"from the slow one"
        finish.wait(10)

    statuses = []
    headers = {"Transfer_Encoding": "chunked", "If_Match": etag}
    upload = threading.Thread(target=lambda: statuses.append(dav("PUT", "/f", slowly(), **headers).status))
    upload.start()
    assert eventually(lambda: dav.fs.open_handles() == 1)
    assert dav("PUT", "/f", b"from the quick one").status == 204
    finish.set()
    upload.join()
    assert statuses == [412]
    assert dav("GET", "/f").body == b"from the quick one"
