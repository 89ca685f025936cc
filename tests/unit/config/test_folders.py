"""Where local files go."""

import os
import stat
from pathlib import Path

import pytest

from cryptdrive.config import LocalFolders
from cryptdrive.errors import ConfigError


def test_without_variables_they_are_below_the_home_folder() -> None:
    folders = LocalFolders.from_environment({"HOME": "/home/a"})
    assert folders == LocalFolders(
        state=Path("/home/a/.local/state/cryptdrive"),
        cache=Path("/home/a/.cache/cryptdrive"),
        config=Path("/home/a/.config/cryptdrive"),
        runtime=Path("/home/a/.local/state/cryptdrive/run"),
    )
    assert folders.config_file == Path("/home/a/.config/cryptdrive/config.toml")


def test_the_variables_and_the_option_win(tmp_path: Path) -> None:
    environment = {
        "HOME": "/home/a",
        "XDG_STATE_HOME": "/s",
        "XDG_CACHE_HOME": "/c",
        "XDG_CONFIG_HOME": "/g",
        "XDG_RUNTIME_DIR": str(tmp_path),
    }
    folders = LocalFolders.from_environment(environment)
    assert folders.state == Path("/s/cryptdrive")
    assert folders.cache == Path("/c/cryptdrive")
    assert folders.config == Path("/g/cryptdrive")
    assert folders.runtime == tmp_path / "cryptdrive"
    assert LocalFolders.from_environment(environment, cache_dir=Path("/x")).cache == Path("/x")


@pytest.mark.parametrize("runtime", ["", "relative", "/does/not/exist", "/dev/null"])
def test_a_runtime_folder_that_cannot_be_used_counts_as_unset(runtime: str) -> None:
    folders = LocalFolders.from_environment(
        {"HOME": "/h", "XDG_STATE_HOME": "relative", "XDG_RUNTIME_DIR": runtime}
    )
    assert folders.state == Path("/h/.local/state/cryptdrive")
    assert folders.runtime == folders.state / "run"


def test_another_users_runtime_folder_counts_as_unset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    folders = LocalFolders.from_environment({"HOME": "/h", "XDG_RUNTIME_DIR": str(tmp_path)})
    assert folders.runtime == folders.state / "run"


def test_what_is_made_is_for_the_owner_alone(tmp_path: Path) -> None:
    folders = LocalFolders.from_environment({"HOME": str(tmp_path)})
    folders.create()
    folders.create()
    for folder in (folders.state, folders.cache, folders.runtime):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folders.config.exists()


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    folders = LocalFolders.from_environment({"HOME": str(tmp_path)})
    folders.create()
    folders.runtime.chmod(0o777)
    with pytest.raises(ConfigError, match="nobody else may write"):
        folders.create()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / ".local").write_bytes(b"")
    with pytest.raises(ConfigError, match="state"):
        LocalFolders.from_environment({"HOME": str(tmp_path)}).create()
