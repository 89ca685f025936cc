"""What status and flush tell of a drive that no process has open."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cryptdrive.cli.local_state import MARK, all_waiting, mark_open, mark_sent, waiting_in
from cryptdrive.config import LocalFolders
from cryptdrive.local.device import state_folder
from cryptdrive.local.known_stores import KnownStores
from cryptdrive.types import VaultId

Run = Callable[..., tuple[int, str, str]]

VAULT_ID = VaultId(bytes(range(32)))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "away"


@pytest.fixture
def state(place: Path) -> Path:
    """The state folder of a vault that this machine knows, with nothing that waits."""
    folders = LocalFolders.from_environment()
    folders.create()
    KnownStores(folders.state).remember(place.as_uri(), VAULT_ID)
    folder = state_folder(folders.state, VAULT_ID)
    (folder / "outbox").mkdir()
    (folder / "outbox/0123.kept").write_bytes(bytes(4096))
    return folder


def test_nothing_waits(run: Run, place: Path, state: Path) -> None:
    code, _, err = run("flush", place)
    assert code == 10
    assert "not running: nothing can be sent" in err
    assert run("status")[:2] == (0, "no drive is running\n")
    assert run("status", place)[:2] == (0, f"{place}: not running\n")


def test_packs_that_are_not_sent(run: Run, place: Path, state: Path) -> None:
    (state / "outbox/4567").write_bytes(bytes(3 << 20))
    code, _, err = run("flush", place)
    assert code == 20
    assert "3.0 MiB" in err
    assert "mount it to send them" in err
    for arguments in ([], [place]):
        code, out, _ = run("status", *arguments, "--json")
        (found,) = json.loads(out)["drives"]
        assert (code, found["state"], found["waiting_bytes"]) == (0, "not running", 3 << 20)
        assert VAULT_ID.hex().startswith(found["vault_id"])
        code, out, _ = run("status", *arguments)
        assert "not running" in out
        assert "3.0 MiB" in out


def test_a_drive_that_was_not_closed(run: Run, place: Path, state: Path) -> None:
    """What only the journal holds cannot be seen: the mark tells that something may wait."""
    mark_open(state, VAULT_ID, "file:///somewhere")
    code, _, err = run("flush", place)
    assert code == 20
    assert "may wait here" in err
    (found,) = json.loads(run("status", "--json")[1])["drives"]
    assert found["store"] == "file:///somewhere"
    assert found["vault_id"] == VAULT_ID.hex()
    mark_sent(state)
    assert not (state / MARK).exists()
    assert run("flush", place)[0] == 10


def test_the_mark_of_the_next_process_is_left(state: Path) -> None:
    (state / MARK).write_text('{"pid": 1}')
    mark_sent(state)
    assert (state / MARK).exists()


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"store": 5}', b"[" * 10_000])
def test_a_damaged_mark_is_one(state: Path, content: bytes) -> None:
    (state / MARK).write_bytes(content)
    found = waiting_in(state)
    assert found is not None
    assert (found.store, found.vault_id) == (None, state.name)
    assert all_waiting(LocalFolders.from_environment()) == [found]
