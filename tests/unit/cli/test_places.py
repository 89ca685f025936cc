"""Where a vault may not come to be, and where a drive may not be mounted."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cryptdrive.cli import passwords
from cryptdrive.cli.local_state import state_path
from cryptdrive.config import LocalFolders
from cryptdrive.crypto.signatures import public_key_of
from cryptdrive.local.device import state_folder
from cryptdrive.local.known_stores import KnownStores
from cryptdrive.types import VaultId
from cryptdrive.vault.header import encode_header

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRYPTDRIVE_PASSWORD", raising=False)
    monkeypatch.setattr(passwords, "has_terminal", lambda: False)


def write_header(folder: Path) -> None:
    (folder / "cryptdrive.json").write_bytes(encode_header(public_key_of(bytes(32)), bytes(32)))


@pytest.mark.parametrize("command", [["init"], ["quickstart", "--vault"]])
@pytest.mark.parametrize("emptied", [False, True])
def test_no_new_vault_in_the_place_of_one_that_is_away(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], emptied: bool
) -> None:
    """The disk is not plugged in: what lies under its mountpoint is no place for another vault."""
    monkeypatch.setenv("CRYPTDRIVE_PASSWORD", "given")
    folders, place = LocalFolders.from_environment(), tmp_path / "disk/vault"
    folders.create()
    known, vault_id = KnownStores(folders.state), VaultId(bytes(range(32)))
    known.remember(place.as_uri(), vault_id)
    assert state_path(folders, vault_id) is None
    assert state_folder(folders.state, vault_id) == state_path(folders, vault_id)
    if emptied:
        place.mkdir(parents=True)
    code, _, err = run(*command, place)
    assert code == 13
    assert f"knows a vault at {place}" in err
    assert "plugged in" in err
    assert f"remove {known.file(place.as_uri())}" in err
    assert place.exists() is emptied
    assert not emptied or list(place.iterdir()) == []
    for command_of_a_vault in ("mount", "ls", "serve"):
        words = [tmp_path] if command_of_a_vault == "mount" else []
        code, _, err = run(command_of_a_vault, place, *words)
        assert "cryptdrive init" not in err
    known.file(place.as_uri()).unlink()
    assert run("init", place)[0] == 0


def test_another_vault_than_the_known_one(run: Run, tmp_path: Path) -> None:
    write_header(tmp_path)
    folders = LocalFolders.from_environment()
    folders.create()
    known = KnownStores(folders.state)
    known.remember(tmp_path.as_uri(), VaultId(bytes(range(32))))
    code, _, err = run("ls", tmp_path)
    assert code == 13
    assert "another" in err
    assert f"remove {known.file(tmp_path.as_uri())}" in err


@pytest.mark.fuse
@pytest.mark.parametrize("place", ["disk", "disk/vault", "xdg", "xdg/state_home/cryptdrive", "link", "logs"])
def test_mountpoints_that_would_hide_what_the_drive_works_with(
    run: Run, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would ask itself, and never answer."""
    for folder in ("disk/vault", "xdg/state_home/cryptdrive", "logs"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "xdg/state_home/cryptdrive").chmod(0o700)
    (tmp_path / "link").symlink_to("disk/vault")
    write_header(tmp_path / "disk/vault")
    vault, log = tmp_path / "disk/vault", tmp_path / "logs/log"
    for words in (
        ["mount", vault, tmp_path / place, "-o", "nonempty"],
        ["quickstart", "--vault", vault, "--mountpoint", tmp_path / place],
    ):
        code, _, err = run(*words, "--log-file", log)
        assert code == 10
        assert "hide it from the drive" in err
