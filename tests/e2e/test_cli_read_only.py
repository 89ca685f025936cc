"""A store that cannot be written to: every command says so before it asks for a password, harming nothing."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.cli_support import CommandLine, command_line

CHANGING: dict[str, tuple[object, ...]] = {
    "passwd": (),
    "put": (__file__, "/"),
    "mkdir": ("/new",),
    "rm": ("-r", "/folder"),
    "mv": ("/folder", "/moved"),
    "cp": ("/folder", "/copy"),
}


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    with command_line(tmp_path) as line:
        line.create_vault()
        line.run("mkdir", line.vault, "/folder").ok()
        yield line


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def not_writable(line: CommandLine) -> Callable[[Path], Path]:
    """Takes the right to write away from a folder and all below, and root's right to do it all the same."""
    if os.geteuid() == 0:
        line.prefix = ("setpriv", "--bounding-set=-dac_override")

    def lock(folder: Path) -> Path:
        subprocess.run(["chmod", "-R", "a-w", folder], check=True)
        return folder

    return lock


@pytest.fixture
def mounted_read_only(line: CommandLine) -> Iterator[Callable[[Path], Path]]:
    """Shows a folder once more, on a file system that takes no writes."""
    place = line.folder / "read-only"
    place.mkdir()

    def mount(folder: Path) -> Path:
        subprocess.run(["mount", "--bind", folder, place], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
        return place

    yield mount
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(
    params=["not_writable", pytest.param("mounted_read_only", marks=pytest.mark.skipif("os.geteuid() != 0"))]
)
def lock(request: pytest.FixtureRequest) -> Callable[[Path], Path]:
    found: Callable[[Path], Path] = request.getfixturevalue(request.param)
    return found


def test_what_changes_a_drive(line: CommandLine, lock: Callable[[Path], Path]) -> None:
    before = content_of(line.vault)
    store = lock(line.vault)
    for command, words in CHANGING.items():
        advice = "writable for your user" if store == line.vault else "for writing"
        done = line.run(command, store, *words, password=None)
        done.failed(16, str(store), "nothing was changed", advice)
        assert "--read-only" not in done.err  # an option that these do not have
    assert line.run("ls", store).ok().out == "folder\n"
    assert content_of(line.vault) == before


@pytest.mark.fuse
def test_what_opens_a_drive(line: CommandLine, lock: Callable[[Path], Path]) -> None:
    store = lock(line.vault)
    for words in (
        ("mount", store, line.mountpoint),
        ("mount", "-f", store, line.mountpoint),
        ("serve", store, "--address", "127.0.0.1:0"),
        ("quickstart", "--vault", store, "--mountpoint", line.mountpoint, "--webdav", "127.0.0.1:0"),
    ):
        done = line.run(*words, password=None).failed(16, str(store), "nothing was changed")
        assert ("--read-only" in done.err) == (words[0] != "quickstart")
    line.run("mount", store, line.mountpoint, "--read-only").ok()
    assert os.listdir(line.mountpoint) == ["folder"]
    with pytest.raises(OSError, match="Read-only"):
        (line.mountpoint / "new").mkdir()
    line.umount()


def test_a_new_vault(line: CommandLine, lock: Callable[[Path], Path]) -> None:
    empty = line.folder / "empty"
    empty.mkdir()
    store = lock(empty)
    key = line.folder / "key"
    line.run("init", store, "--recovery-key-file", key, password=None).failed(
        16, str(store), "nothing was changed"
    )
    line.run("init", store / "below", password=None).failed(16, str(store / "below"))
    assert not key.exists()
    assert list(empty.iterdir()) == []


def test_a_drive_that_is_not_to_be_changed(line: CommandLine) -> None:
    """``read_only`` holds for every command, as whoever wrote it will expect."""
    config = line.folder / "config/cryptdrive/config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(f'[drives.photos]\nstore = "{line.vault}"\nread_only = true\n')
    before = content_of(line.vault)
    for command, words in CHANGING.items():
        line.run(command, "photos", *words, password=None).failed(
            16, "photos", str(config), "read_only = true"
        )
    assert line.run("ls", "photos").ok().out == "folder\n"
    assert content_of(line.vault) == before
    line.run("rm", "-r", line.vault, "/folder").ok()
