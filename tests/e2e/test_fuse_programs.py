"""What ordinary programs do with a mounted drive."""

import hashlib
import os
import sqlite3
import sys
from pathlib import Path

import pytest

from tests.e2e.fuse_support import PROJECT, described, run

GIT = ("git", "-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with a bit of everything, on an ordinary file system."""
    folder = tmp_path_factory.mktemp("source") / "tree"
    run("cp", "-a", PROJECT / "cryptdrive", folder)
    run("find", folder, "-name", "__pycache__", "-prune", "-exec", "rm", "-r", "{}", "+")
    (folder / "empty").mkdir(mode=0o700)
    (folder / "link").symlink_to("errors.py")
    (folder / "dangling").symlink_to("/nowhere/at/all")
    os.link(folder / "errors.py", folder / "empty" / "hard")
    os.mkfifo(folder / "fifo")
    (folder / "large").write_bytes(os.urandom(3_000_001))
    (folder / "large").chmod(0o4755)
    os.chown(folder / "large", 1000, 1000)
    (folder / "large").chmod(0o4755)
    (folder / "ünïcode name\twith blanks").touch()
    # Older than the tests: rsync leaves times as they are that differ by less than a second.
    run("find", folder, "-exec", "touch", "-h", "-d", "2020-01-02 03:04:05.678901234", "{}", "+")
    os.utime(folder / "large", ns=(10**18, 123_456_789_987_654_321))
    return folder


def test_copy_a_tree(here: Path, tree: Path) -> None:
    run("cp", "-a", tree, here / "copy")
    assert described(here / "copy") == described(tree)
    run("diff", "-r", "--no-dereference", "-x", "fifo", tree, here / "copy")
    run("cp", "-a", here / "copy", here / "again")
    assert described(here / "again") == described(tree)
    run("mv", here / "again", here / "moved")
    run("rm", "-r", here / "copy")
    assert described(here / "moved") == described(tree)


def test_tar(here: Path, tree: Path) -> None:
    run("tar", "--format=posix", "-cf", here / "archive.tar", "-C", tree, ".")
    (here / "out").mkdir()
    run("tar", "-xpf", here / "archive.tar", "-C", here / "out")
    assert described(here / "out") == described(tree)
    run("tar", "-df", here / "archive.tar", "-C", here / "out")


def test_rsync(here: Path, tree: Path) -> None:
    run("rsync", "-aH", f"{tree}/", here / "copy")
    assert described(here / "copy") == described(tree)
    with (here / "copy" / "large").open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"changed")
    os.utime(here / "copy" / "large", ns=(10**18, 123_456_789_987_654_321))
    listed = run("rsync", "-aH", "--checksum", "--itemize-changes", f"{tree}/", here / "copy")
    assert [line.split()[-1] for line in listed.splitlines()] == ["large"]
    assert run("rsync", "-aH", "--checksum", "--itemize-changes", f"{tree}/", here / "copy") == ""
    run("rsync", "-aHI", "--inplace", "--delete", f"{tree}/vfs/", here / "copy")
    assert described(here / "copy") == described(tree / "vfs")


def test_git(here: Path, tree: Path) -> None:
    repository = here / "repository"
    run("git", "init", "-q", "-b", "main", repository)
    run("cp", "-a", f"{tree}/.", repository)
    run(*GIT, "add", "-A", cwd=repository)
    run(*GIT, "commit", "-q", "-m", "first", cwd=repository)
    run("git", "fsck", "--strict", cwd=repository)
    assert run("git", "status", "--porcelain", cwd=repository) == ""
    (repository / "errors.py").write_text("changed")
    run(*GIT, "commit", "-q", "-a", "-m", "second", cwd=repository)
    run(*GIT, "checkout", "-q", "HEAD~1", cwd=repository)
    assert (repository / "errors.py").read_bytes() == (tree / "errors.py").read_bytes()
    run("git", "gc", "-q", "--prune=now", cwd=repository)
    run("git", "fsck", "--strict", cwd=repository)


def test_git_clone(here: Path, tree: Path) -> None:
    """Also clones that link object files: the link count must be right at once."""
    run("git", "init", "-q", "-b", "main", here / "origin")
    run("cp", "-a", f"{tree}/.", here / "origin")
    run(*GIT, "add", "-A", cwd=here / "origin")
    run(*GIT, "commit", "-q", "-m", "first", cwd=here / "origin")
    for option in ("--local", "--no-hardlinks"):
        run("git", "clone", "-q", option, here / "origin", here / f"clone{option}")
        run("git", "fsck", "--strict", cwd=here / f"clone{option}")
        assert run("git", "status", "--porcelain", cwd=here / f"clone{option}") == ""


@pytest.mark.parametrize("mode", ["delete", "wal", "truncate"])
def test_sqlite(here: Path, mode: str) -> None:
    path = here / "data.sqlite"
    for number in range(5):
        database = sqlite3.connect(path)
        assert database.execute(f"PRAGMA journal_mode={mode}").fetchone() == (mode,)
        database.execute("CREATE TABLE IF NOT EXISTS numbers (key INTEGER PRIMARY KEY, value BLOB)")
        with database:
            rows = [(os.urandom(300),) for _ in range(200)]
            database.executemany("INSERT INTO numbers (value) VALUES (?)", rows)
        with database:
            database.execute("DELETE FROM numbers WHERE key % 3 = 0")
        database.execute("BEGIN")
        database.execute("DELETE FROM numbers")
        database.rollback()
        other = sqlite3.connect(path)
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert other.execute("SELECT count(*) > 100 FROM numbers").fetchone() == (1,), number
        other.close()
        database.close()
    assert run("sqlite3", path, "PRAGMA integrity_check").strip() == "ok"


def test_editors_that_save_by_rename(here: Path) -> None:
    document = here / "document.txt"
    document.write_text("version 0\n")
    document.chmod(0o640)
    for number in range(1, 20):
        temporary = here / f".document.txt.{number}"
        with temporary.open("w") as file:
            file.write(f"version {number}\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(document, here / "document.txt~")
        os.rename(temporary, document)
        os.unlink(here / "document.txt~")
        assert document.read_text() == f"version {number}\n"
        assert document.stat().st_nlink == 1
    run("sed", "-i", "s/version/edition/", document)
    assert document.read_text() == "edition 19\n"
    assert os.listdir(here) == ["document.txt"]


def test_a_save_is_durable_with_its_folder(here: Path) -> None:
    (here / "file").write_text("content")
    folder = os.open(here, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.fdatasync(folder)
    os.close(folder)
    run("sync", here / "file")
    run("sync", "-f", here)


def test_programs_run_from_the_drive(here: Path) -> None:
    run("cp", "/bin/echo", here / "echo")
    assert run(here / "echo", "it runs") == "it runs\n"
    (here / "script").write_text("#!/bin/sh\necho $0\n")
    (here / "script").chmod(0o755)
    assert run(here / "script").strip() == str(here / "script")


def test_python_compiles_on_the_drive(here: Path, tree: Path) -> None:
    run("cp", "-a", tree, here / "package")
    run(sys.executable, "-m", "compileall", "-q", here / "package")
    assert list((here / "package").rglob("*.pyc"))


def test_random_overwrites_of_a_large_file(here: Path) -> None:
    run("dd", "if=/dev/urandom", f"of={here}/file", "bs=1M", "count=64", "status=none")
    content = bytearray((here / "file").read_bytes())
    with (here / "file").open("r+b", buffering=0) as file:
        for number in range(300):
            offset = number * 7_919_131 % (len(content) - 70_000)
            piece = os.urandom(number * 229 % 70_000)
            file.seek(offset)
            file.write(piece)
            content[offset : offset + len(piece)] = piece
    assert hashlib.sha256((here / "file").read_bytes()).digest() == hashlib.sha256(content).digest()
