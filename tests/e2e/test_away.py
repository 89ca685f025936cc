"""A store that is away: while mounted, when mounting; and another one in its place."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cli_support import CommandLine, command_line, is_mounted, wait_until

pytestmark = pytest.mark.fuse


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    with command_line(tmp_path) as line:
        line.create_vault()
        (tmp_path / "config/cryptdrive").mkdir(parents=True, exist_ok=True)
        (tmp_path / "config/cryptdrive/config.toml").write_text(
            "[defaults.settings]\nretry_interval_max_s = 0.5\n"
        )
        yield line


def objects(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())


def test_mounting_without_the_store(line: CommandLine) -> None:
    line.mount()
    (line.mountpoint / "folder").mkdir()
    (line.mountpoint / "folder/old").write_bytes(b"old" * 1000)
    line.umount()
    away = line.folder / "unplugged"
    line.vault.rename(away)
    done = line.run("passwd", line.vault, CRYPTDRIVE_NEW_PASSWORD="new")
    done.failed(15)
    assert "working" not in done.err
    for emptied in (False, True):
        if emptied:
            line.vault.mkdir()  # the place where the disk is mounted, without the disk
        for words in (["ls"], ["get", "folder/old", "copy"], ["put", __file__, "/folder"]):
            done = line.run(words[0], line.vault, *words[1:])
            assert done.code in (0, 15, 20)
            assert done.err.count("No such file" if not emptied else "plugged in") == 1, done.err
        # Also by its bare name, which no folder bears now.
        done = line.run("mount", line.vault.name, line.mountpoint, cwd=line.vault.parent).ok()
        assert "what is on this machine" in done.err
        assert "old" in os.listdir(line.mountpoint / "folder")
        assert (line.mountpoint / "folder/old").stat().st_size == 3000
        start = time.monotonic()
        with pytest.raises(OSError, match="Input/output"):
            (line.mountpoint / "folder/old").read_bytes()
        assert time.monotonic() - start < 2
        new = line.mountpoint / f"folder/new-{emptied}"
        new.write_bytes(b"new" * 1000)
        assert new.read_bytes() == b"new" * 1000
        line.run("flush", line.mountpoint).failed(15)
        assert "away" in str(line.status()["errors"]) or "No such file" in str(line.status()["errors"])
        line.run("umount", line.mountpoint).failed(20, "next mount")
    assert objects(line.vault) == []
    line.vault.rmdir()
    away.rename(line.vault)
    line.mount()
    assert sorted(os.listdir(line.mountpoint / "folder")) == ["new-False", "new-True", "old", "test_away.py"]
    line.umount()
    (line.folder / "state").rename(line.folder / "state of another machine")
    assert line.run("ls", line.vault, "/folder").ok().out.split() == [
        "new-False",
        "new-True",
        "old",
        "test_away.py",
    ]


def test_a_store_that_goes_away_and_comes_back(line: CommandLine) -> None:
    line.mount()
    (line.mountpoint / "before").write_bytes(b"before")
    line.run("flush", line.mountpoint).ok()
    backup, other = line.folder / "backup", line.folder / "other"
    shutil.copytree(line.vault, backup)
    shutil.rmtree(line.vault)
    (line.mountpoint / "meanwhile").write_bytes(b"meanwhile")
    line.run("flush", line.mountpoint).failed(15)
    assert (line.mountpoint / "meanwhile").read_bytes() == b"meanwhile"
    # Another vault in its place is not written to.
    line.run("init", other, "--password-file", password_file(line)).ok()
    before = objects(other)
    other.rename(line.vault)
    line.run("flush", line.mountpoint).failed(15, "another")
    assert objects(line.vault) == before
    line.vault.rename(other)
    backup.rename(line.vault)
    wait_until(lambda: not line.status()["waiting_files"])  # by itself
    assert not line.status()["errors"]
    line.umount()
    assert not is_mounted(line.mountpoint)
    assert line.run("ls", line.vault).ok().out.split() == ["before", "meanwhile"]


def test_it_comes_back_for_a_machine_that_uses_it_for_the_first_time_too(line: CommandLine) -> None:
    (line.folder / "state").rename(line.folder / "state of another machine")
    line.mount()
    away = line.folder / "unplugged"
    line.vault.rename(away)
    (line.mountpoint / "meanwhile").write_bytes(b"meanwhile")
    line.run("flush", line.mountpoint).failed(15)
    away.rename(line.vault)
    wait_until(lambda: not line.status()["waiting_files"])
    line.umount()


def test_an_emptied_folder_is_not_written_to(line: CommandLine) -> None:
    line.mount()
    (line.mountpoint / "file").write_bytes(b"text")
    for path in line.vault.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    line.run("flush", line.mountpoint).failed(15, "away")
    assert objects(line.vault) == []
    line.run("umount", line.mountpoint).failed(20)


def password_file(line: CommandLine) -> Path:
    path = line.folder / "password"
    path.write_text("another password\n")
    path.chmod(0o600)
    return path
