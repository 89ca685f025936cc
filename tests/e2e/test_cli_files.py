"""The file commands, on a drive in use and on one that is not: the same results, byte for byte."""

import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cli_support import PASSWORD, PROGRAM, CommandLine, command_line, is_alive, wait_until

pytestmark = pytest.mark.fuse


@pytest.fixture(params=["in use", "not in use"])
def line(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CommandLine]:
    with command_line(tmp_path) as line:
        line.create_vault()
        if request.param == "in use":
            line.mount()
        yield line


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with all that put takes."""
    top = tmp_path / "tree"
    (top / "inner/deep").mkdir(parents=True)
    (top / "empty").mkdir(mode=0o711)
    (top / "inner/large").write_bytes(os.urandom(3_000_017))
    (top / "inner/deep/tool").write_text("#!/bin/sh\n")
    (top / "inner/deep/tool").chmod(0o755)
    (top / "link").symlink_to("inner/large")
    (top / "grün \n ?*").write_text("odd")
    os.utime(top / "inner/large", ns=(1_400_000_000_000_000_001, 1_400_000_000_000_000_001))
    os.utime(top / "inner", ns=(1_300_000_000_000_000_000, 1_300_000_000_000_000_000))
    return top


def described(top: Path) -> list[tuple[object, ...]]:
    found = []
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        target = os.readlink(path) if path.is_symlink() else ""
        found.append((path.relative_to(top), status.st_mode, status.st_mtime_ns, content, target))
    return found


def test_a_tree_there_and_back(line: CommandLine, tree: Path) -> None:
    line.run("put", line.vault, tree, "/").ok()
    line.run("get", line.vault, "/tree", line.folder / "back", password=password_if_needed(line)).ok()
    assert described(line.folder / "back") == described(tree)


def password_if_needed(line: CommandLine) -> str | None:
    """A drive in use needs no password: its process has the keys."""
    return None if os.path.ismount(line.mountpoint) else PASSWORD


def test_all_commands(line: CommandLine, tree: Path) -> None:
    line.run("mkdir", "-p", line.vault, "a/b", "c").ok()
    line.run("put", line.vault, tree / "inner/large", tree / "inner/deep/tool", "a/b").ok()
    assert line.run("ls", line.vault, "a/b").ok().out == "large\ntool\n"
    line.run("cp", line.vault, "a", "copy").ok()
    line.run("mv", line.vault, "a/b/large", "c").ok()
    assert line.run("ls", "-R", line.vault).ok().out == (
        "/:\na\nc\ncopy\n\n/a:\nb\n\n/a/b:\ntool\n\n/c:\nlarge\n\n/copy:\nb\n\n/copy/b:\nlarge\ntool\n"
    )
    long = line.run("ls", "-l", line.vault, "/copy/b").ok().out.splitlines()
    assert long[0].split()[0] == "-rw-r--r--"
    assert long[0].split()[4:6] == ["3000017", "2014-05-13"]
    assert long[1].startswith("-rwxr-xr-x")
    line.run("rm", line.vault, "a").failed(1, "/a: is a directory")
    line.run("rm", "-r", line.vault, "a", "c/large").ok()
    assert line.run("ls", line.vault, "/c").ok().out == ""
    line.run("get", line.vault, "copy/b/large", ".").ok()
    assert (line.folder / "large").read_bytes() == (tree / "inner/large").read_bytes()


def test_standard_input_and_output(line: CommandLine) -> None:
    data = os.urandom(2_500_000)
    line.run("put", line.vault, "-", "/stream", data=data).ok()
    (line.folder / "from").write_bytes(data)
    command = f'"$@" get {line.vault} /stream - | cmp - {line.folder}/from'
    variables = {**line.environment, "CRYPTDRIVE_PASSWORD": password_if_needed(line) or "x"}
    subprocess.run(["sh", "-c", command, "sh", *PROGRAM], env=variables, check=True)


def test_what_cannot_be_done(line: CommandLine, tree: Path) -> None:
    line.run("get", line.vault, "missing", ".").failed(1, "/missing: no such file")
    line.run("put", line.vault, line.folder / "missing", "/").failed(1, "missing: No such file")
    line.run("mkdir", line.vault, "a/b").failed(1, "/a/b: ")
    line.run("mkdir", line.vault, "a").ok()
    line.run("mkdir", line.vault, "a").failed(1, "/a: ")
    line.run("mv", line.vault, "a", "a/inside").failed(1, "/a/inside: ")
    line.run("cp", line.vault, "a", "a/inside").failed(1, "/a/inside: ")
    line.run("put", line.vault, tree / "link", tree / "empty", "/nowhere").failed(1, "/nowhere: ")
    line.run("rm", "-r", line.vault, "/").failed(1, "root")
    line.run("rm", line.vault, "a" * 256).failed(1, "255 bytes")
    assert line.run("ls", line.vault).ok().out == "a\n"


def test_a_mountpoint_names_its_drive(tmp_path: Path) -> None:
    with command_line(tmp_path) as line:
        line.create_vault()
        line.mount()
        line.run("put", line.mountpoint, __file__, "/", password=None).ok()
        assert (line.mountpoint / Path(__file__).name).read_bytes() == Path(__file__).read_bytes()
        (line.mountpoint / "by-mount").write_text("content")
        assert line.run("get", line.mountpoint, "by-mount", "-", password=None).ok().out == "content"


def test_changes_are_seen_at_once(tmp_path: Path) -> None:
    """By the kernel, although it may remember names and attributes for minutes."""
    with command_line(tmp_path) as line:
        line.create_vault()
        line.mount()
        (line.mountpoint / "file").write_text("old")
        assert (line.mountpoint / "file").read_text() == "old"
        assert not (line.mountpoint / "new").exists()
        line.run("put", line.vault, "-", "/file", data=b"new content").ok()
        line.run("mkdir", line.vault, "new").ok()
        assert (line.mountpoint / "file").read_text() == "new content"
        assert (line.mountpoint / "new").is_dir()
        line.run("rm", line.vault, "file").ok()
        assert not (line.mountpoint / "file").exists()


def test_what_was_put_is_on_the_store(tmp_path: Path) -> None:
    """Also through a running drive: when put returns, killing the drive loses nothing of it."""
    with command_line(tmp_path) as line:
        line.create_vault()
        line.mount()
        line.run("put", line.vault, __file__, "/").ok()
        os.kill(line.status()["pid"], signal.SIGKILL)
        wait_until(lambda: "not running" in line.run("status", line.vault).ok().out)
        assert line.run("get", line.vault, Path(__file__).name, "-").ok().out == Path(__file__).read_text()


def test_killing_at_any_moment(tmp_path: Path) -> None:
    """Whatever was fsynced before a kill is there after it."""
    with command_line(tmp_path) as line:
        line.create_vault()
        for round_number in range(4):
            line.run("mount", line.vault, line.mountpoint).ok()
            for earlier in range(round_number):
                assert (line.mountpoint / f"round-{earlier}").read_bytes() == bytes([earlier]) * 100_000
            with (line.mountpoint / f"round-{round_number}").open("wb") as file:
                file.write(bytes([round_number]) * 100_000)
                file.flush()
                os.fsync(file.fileno())
            with (line.mountpoint / f"torn-{round_number}").open("wb") as file:
                file.write(b"x" * 100_000 * round_number)
            pid = line.status()["pid"]
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: not is_alive(pid))  # type: ignore[misc]
        names = line.run("ls", line.vault).ok().out.split()
        assert set(names) >= {f"round-{number}" for number in range(4)}
