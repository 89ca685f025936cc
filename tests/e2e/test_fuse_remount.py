"""What was saved is there again, after a clean end and after none."""

import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.fuse_support import PROJECT, Mounted, clean_up, described, run, start

GIB = 1 << 30


@pytest.fixture
def begin(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Mounted]:
    """Mounts the drive of the vault in ``tmp_path``, each time again."""

    def mount(options: str = "") -> Mounted:
        mounted = start("drive", tmp_path / "mount", tmp_path / "vault", options)
        request.addfinalizer(lambda: clean_up(mounted))
        return mounted

    return mount


Begin = Callable[..., Mounted]


def fill(folder: Path) -> None:
    """One of everything."""
    run("cp", "-a", PROJECT / "cryptdrive", folder / "tree")
    (folder / "link").symlink_to("tree/errors.py")
    os.link(folder / "tree" / "errors.py", folder / "hard")
    os.mkfifo(folder / "fifo", 0o640)
    os.mknod(folder / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    (folder / "large").write_bytes(os.urandom(9_000_001))
    with (folder / "large").open("r+b") as file:
        for number in range(50):
            file.seek(number * 179_426_549 % 9_000_000)
            file.write(os.urandom(5000))
    with (folder / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(5 * GIB)
        file.write(b"end")
    (folder / "small").write_bytes(b"s" * 512)
    (folder / "empty").touch()
    (folder / "grown").write_bytes(b"g" * 100)
    os.truncate(folder / "grown", 5000)
    os.chown(folder / "large", 1234, 5678)
    os.chmod(folder / "large", 0o4711)
    os.setxattr(folder / "large", "user.comment", b"a comment")
    os.setxattr(folder / "tree", "trusted.long", os.urandom(30_000))
    os.utime(folder / "small", ns=(123_456_789_012_345_678, -987_654_321))
    database = sqlite3.connect(folder / "data.sqlite")
    database.execute("CREATE TABLE numbers (value)")
    with database:
        database.executemany("INSERT INTO numbers VALUES (?)", [(n,) for n in range(1000)])
    database.close()


def everything(folder: Path) -> dict[str, tuple[object, ...]]:
    """As ``described``, without reading the holes, with extended attributes and devices."""
    os.rename(folder / "sparse", folder.parent / "sparse")
    try:
        found = described(folder)
    finally:
        os.rename(folder.parent / "sparse", folder / "sparse")
    for name in found:
        path = folder / name
        attributes = {key: os.getxattr(path, key, follow_symlinks=False) for key in _attributes(path)}
        found[name] += (attributes, os.lstat(path).st_rdev)
    with (folder / "sparse").open("rb") as file:
        pieces = [file.read(10), file.seek(5 * GIB - 5), file.read()]
    return {**found, "sparse": (os.stat(folder / "sparse").st_size, *pieces)}


def _attributes(path: Path) -> list[str]:
    return sorted(os.listxattr(path, follow_symlinks=False))


def test_a_clean_end(begin: Begin) -> None:
    mounted = begin()
    (mounted.path / "folder").mkdir()
    fill(mounted.path / "folder")
    before = everything(mounted.path / "folder")
    mounted.stop()
    assert os.listdir(mounted.path) == []
    mounted = begin()
    assert everything(mounted.path / "folder") == before
    figures = os.statvfs(mounted.path)
    inodes = {path.lstat().st_ino for path in (mounted.path, *mounted.path.rglob("*"))}
    assert figures.f_files - figures.f_ffree == len(inodes)
    # and again, after changes to what was there
    os.rename(mounted.path / "folder", mounted.path / "renamed")
    run("rm", "-r", mounted.path / "renamed" / "tree")
    with (mounted.path / "renamed" / "large").open("r+b") as file:
        file.seek(4_000_000)
        file.write(b"changed")
    before = everything(mounted.path / "renamed")
    mounted.stop()
    mounted = begin()
    assert os.listdir(mounted.path) == ["renamed"]
    assert everything(mounted.path / "renamed") == before


def test_read_only_afterwards(begin: Begin) -> None:
    mounted = begin()
    (mounted.path / "file").write_text("content")
    mounted.stop()
    mounted = begin("ro")
    assert (mounted.path / "file").read_text() == "content"
    with pytest.raises(OSError, match="Read-only"):
        (mounted.path / "file").write_text("other")


def test_a_killed_drive_holds_what_was_synced(begin: Begin) -> None:
    sums: dict[str, str] = {}
    for number in range(4):
        mounted = begin()
        for name, checksum in sums.items():
            content = (mounted.path / "folder" / name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == checksum, name
        folder = mounted.path / "folder"
        folder.mkdir(exist_ok=True)
        content = os.urandom(700_000 * number + 100)
        with (folder / "temporary").open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(folder / "temporary", folder / f"saved{number}")
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        sums[f"saved{number}"] = hashlib.sha256(content).hexdigest()
        (folder / "not synced").write_bytes(os.urandom(100_000))
        mounted.kill()
    mounted = begin()
    assert set(sums) <= set(os.listdir(mounted.path / "folder")) <= {*sums, "not synced"}
    mounted.stop()


def test_open_files_without_a_name_are_gone_after_a_kill(begin: Begin) -> None:
    mounted = begin()
    used = os.statvfs(mounted.path).f_files
    descriptor = os.open(mounted.path / "file", os.O_RDWR | os.O_CREAT)
    os.write(descriptor, os.urandom(5_000_000))
    os.unlink(mounted.path / "file")
    os.fsync(descriptor)
    mounted.kill()
    with suppress(OSError):
        os.close(descriptor)
    begin().stop()
    mounted = begin()
    assert os.listdir(mounted.path) == []
    assert os.statvfs(mounted.path).f_files == used
