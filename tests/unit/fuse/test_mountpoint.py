"""Which mountpoints are taken, and who is found to use one."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cryptdrive.errors import MountpointError
from cryptdrive.fuse import mountpoint
from cryptdrive.fuse.mountpoint import (
    absolute,
    check_mountpoint,
    is_dead,
    mounted_at,
    unmount,
    who_holds,
)


def test_an_empty_directory_will_do(tmp_path: Path) -> None:
    assert check_mountpoint(tmp_path) is False


def test_a_missing_one(tmp_path: Path) -> None:
    with pytest.raises(MountpointError, match=r"missing does not exist"):
        check_mountpoint(tmp_path / "missing")


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MountpointError, match="not a directory"):
        check_mountpoint(tmp_path / "file")
    with pytest.raises(MountpointError, match="cannot be used"):
        check_mountpoint(tmp_path / "file" / "below")


def test_one_that_holds_files(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MountpointError, match="not empty"):
        check_mountpoint(tmp_path)
    assert check_mountpoint(tmp_path, nonempty=True) is False


def test_one_where_something_is_mounted() -> None:
    with pytest.raises(MountpointError, match=r"/proc: .*proc.* is mounted there already"):
        check_mountpoint("/proc")


def test_mounted_at(tmp_path: Path) -> None:
    proc = mounted_at("/proc")
    assert proc is not None
    assert proc.kind == "proc"
    assert not proc.is_fuse
    assert mounted_at(str(tmp_path)) is None


def test_symbolic_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert absolute(tmp_path / "link") == str(tmp_path / "real")
    assert absolute(tmp_path / "link" / ".." / "real") == str(tmp_path / "real")
    (tmp_path / "real" / "file").touch()
    with pytest.raises(MountpointError, match="real is not empty"):
        check_mountpoint(tmp_path / "link")


def test_links_that_lead_on(tmp_path: Path) -> None:
    (tmp_path / "real/below").mkdir(parents=True)
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("real/below/../below")
    (tmp_path / "dots").symlink_to("real/below/..")
    (tmp_path / "dangling").symlink_to("missing")
    (tmp_path / "round").symlink_to("round")
    assert absolute(tmp_path / "one") == str(tmp_path / "real/below")
    assert absolute(tmp_path / "dots") == str(tmp_path / "real")
    assert absolute(tmp_path / "dangling") == str(tmp_path / "missing")
    assert absolute(tmp_path / "round") == str(tmp_path / "round")
    assert absolute("/") == "/"


def test_a_mount_that_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()
    monkeypatch.setattr(mountpoint.os, "statvfs", lambda place: asked.wait())
    monkeypatch.setattr(mountpoint, "ANSWER_SECONDS_MAX", 0.05)
    with pytest.raises(MountpointError, match="does not answer"):
        is_dead(str(tmp_path))
    asked.set()
    assert is_dead(str(tmp_path)) is False


def test_unmount_where_nothing_is_mounted(tmp_path: Path) -> None:
    with pytest.raises(MountpointError, match="nothing is mounted"):
        unmount(tmp_path)


PROGRAM = "import sys; print('ready', flush=True); sys.stdin.read()"
MAPPING = "import mmap; f = open('data', 'rb'); m = mmap.mmap(f.fileno(), 0, prot=1); f.close(); "


@pytest.mark.parametrize(
    ("program", "folder"),
    [(PROGRAM, "."), ("f = open('used/data', 'rb'); " + PROGRAM, ".."), (MAPPING + PROGRAM, ".")],
)
def test_users_are_found(tmp_path: Path, program: str, folder: str) -> None:
    place = tmp_path / "used"
    place.mkdir()
    (place / "data").write_bytes(b"x" * 10)
    (tmp_path / "used-not").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=place / folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        holders = dict(who_holds(place))
        assert process.pid in holders
        assert holders[process.pid].startswith("python")
        assert process.pid not in dict(who_holds(tmp_path / "used-not"))
    finally:
        process.communicate()
    assert process.pid not in dict(who_holds(place))
