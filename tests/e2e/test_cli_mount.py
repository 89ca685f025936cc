"""Mounting and serving by the program: readiness, both front ends, signals, the end."""

import base64
import json
import os
import signal
import stat
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cli_support import (
    PASSWORD,
    CommandLine,
    command_line,
    is_alive,
    is_mounted,
    read_until,
    wait_until,
)

pytestmark = pytest.mark.fuse


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    with command_line(tmp_path) as line:
        line.create_vault()
        yield line


def test_the_whole_way(tmp_path: Path) -> None:
    """init, mount, write, umount, mount, read: as a person does it."""
    with command_line(tmp_path) as line:
        done = line.run("init", line.vault).ok()
        key = done.out.strip()
        assert len(key.split("-")) == 8
        assert "kept nowhere" in done.err
        done = line.run("mount", line.vault, line.mountpoint).ok()
        assert f"mounted at {line.mountpoint}" in done.err
        (line.mountpoint / "letter").write_text("content")
        done = line.run("umount", line.mountpoint).ok()
        assert "everything is on the store" in done.err
        assert list(line.mountpoint.iterdir()) == []
        (tmp_path / "key").write_text(key)
        (tmp_path / "key").chmod(0o600)
        line.run("mount", line.vault, line.mountpoint, "--recovery-key-file", "key", password=None).ok()
        assert (line.mountpoint / "letter").read_text() == "content"
        line.umount()


def test_the_mount_works_when_the_command_ends(line: CommandLine) -> None:
    for number in range(3):
        line.mount()
        assert is_mounted(line.mountpoint)
        (line.mountpoint / f"{number}").write_text("x")
        assert len(list(line.mountpoint.iterdir())) == number + 1
        pid = line.status()["pid"]
        line.umount()
        assert not is_mounted(line.mountpoint)
        assert not is_alive(pid), "umount returns when the process has ended"


def test_the_background_process_is_detached(line: CommandLine) -> None:
    line.mount()
    process = Path("/proc") / str(line.status()["pid"])
    assert os.readlink(process / "cwd") == "/"
    assert [os.readlink(process / f"fd/{number}") for number in range(3)] == ["/dev/null"] * 3
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    session, terminal = int(fields[3]), int(fields[4])
    assert session != os.getsid(0)
    assert terminal == 0
    limits = (process / "limits").read_text()
    core = next(text for text in limits.splitlines() if text.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]


def test_both_front_ends_on_one_drive(line: CommandLine) -> None:
    line.mount("--webdav", "127.0.0.1:0")
    status = line.status()
    assert status["mounts"] == [str(line.mountpoint)]
    (line.mountpoint / "by-fuse").write_text("one")
    assert webdav(line, "GET", "by-fuse") == b"one"
    webdav(line, "PUT", "by-webdav", b"two")
    assert (line.mountpoint / "by-webdav").read_text() == "two"
    line.umount()
    line.mount()
    assert sorted(os.listdir(line.mountpoint)) == ["by-fuse", "by-webdav"]


def webdav(line: CommandLine, method: str, path: str, data: bytes | None = None) -> bytes:
    found = json.loads(line.run("status", "--credential", "--json").ok().out)["drives"][0]["credential"]
    request = urllib.request.Request(found["url"] + path, data=data, method=method)
    token = base64.b64encode(f"{found['user']}:{found['password']}".encode()).decode()
    request.add_header("Authorization", f"Basic {token}")
    with urllib.request.urlopen(request, timeout=20) as answer:
        content: bytes = answer.read()
        return content


def test_serve_in_the_background(line: CommandLine) -> None:
    line.run("serve", line.vault, "--address", "127.0.0.1:0", "--background").ok()
    webdav(line, "PUT", "letter", b"content")
    url = line.status()["webdav_url"]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url, timeout=20)
    assert line.run("ls", url).ok().out == "letter\n"
    line.run("umount", url).ok()
    assert line.run("get", line.vault, "letter", "-").ok().out == "content"


def test_serve_in_the_foreground(line: CommandLine) -> None:
    process = line.start("serve", line.vault, "--address", "127.0.0.1:0")
    assert "http://127.0.0.1:" in read_until(process, "Ctrl-C")
    webdav(line, "PUT", "letter", b"content")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert line.run("get", line.vault, "letter", "-").ok().out == "content"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("foreground", [True, False])
def test_signals_save_and_unmount(line: CommandLine, number: signal.Signals, foreground: bool) -> None:
    process: subprocess.Popen[str] | None = None
    if foreground:
        process = line.start("mount", line.vault, line.mountpoint, "--foreground")
        read_until(process, "Ctrl-C")
    else:
        line.mount()
    pid = line.status()["pid"]
    (line.mountpoint / "letter").write_text("content")
    os.kill(pid, number)
    if process is not None:
        assert process.wait(30) == 0
        assert "everything is saved" in (process.stdout.read() if process.stdout else "")
    wait_until(lambda: not is_alive(pid))
    assert not is_mounted(line.mountpoint)
    assert list((line.folder / "state/cryptdrive/run").iterdir()) == []
    assert line.run("get", line.vault, "letter", "-").ok().out == "content"


def test_a_signal_while_it_is_busy(line: CommandLine) -> None:
    """Whoever has a file open cannot keep the drive from saving."""
    line.mount()
    pid = line.status()["pid"]
    with (line.mountpoint / "letter").open("w") as file:
        file.write("content")
        file.flush()
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not is_mounted(line.mountpoint))
    wait_until(lambda: not is_alive(pid))
    assert line.run("get", line.vault, "letter", "-").ok().out == "content"


def test_unmounting_by_other_programs(line: CommandLine) -> None:
    line.mount()
    pid = line.status()["pid"]
    (line.mountpoint / "letter").write_text("content")
    subprocess.run(["fusermount3", "-u", str(line.mountpoint)], check=True)
    wait_until(lambda: not is_alive(pid))
    assert line.run("get", line.vault, "letter", "-").ok().out == "content"


def test_a_busy_mount_says_who_holds_it(line: CommandLine) -> None:
    line.mount()
    holder = subprocess.Popen(["sleep", "60"], cwd=line.mountpoint)
    try:
        line.run("umount", line.mountpoint).failed(21, str(line.mountpoint), f"sleep ({holder.pid})")
        (line.mountpoint / "letter").write_text("still mounted")
        assert line.status()["state"] == "running"
        line.run("umount", line.mountpoint, "--lazy").ok()
        assert not is_mounted(line.mountpoint)
    finally:
        holder.kill()
        holder.wait()
    assert line.run("get", line.vault, "letter", "-").ok().out == "still mounted"


def test_a_dead_mount_is_cleared(line: CommandLine) -> None:
    line.mount()
    os.kill(line.status()["pid"], signal.SIGKILL)
    assert is_mounted(line.mountpoint)
    done = line.run("umount", line.mountpoint).ok()
    assert "died" in done.err
    assert not is_mounted(line.mountpoint)
    assert list((line.folder / "state/cryptdrive/run").iterdir()) == []


def test_mounting_over_a_dead_mount(line: CommandLine) -> None:
    line.mount()
    os.kill(line.status()["pid"], signal.SIGKILL)
    done = line.run("mount", line.vault, line.mountpoint).ok()
    assert "cleared" in done.err
    (line.mountpoint / "x").touch()


def test_options(line: CommandLine) -> None:
    line.mount("--uid", 1234, "--gid", 4321, "--umask", "027", "-o", "fsname=my drive,nosuid")
    (line.mountpoint / "file").touch(0o666)
    found = (line.mountpoint / "file").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode) & 0o027) == (1234, 4321, 0)
    assert r"fuse.cryptdrive my\040drive" in Path("/proc/self/mountinfo").read_text()


def test_read_only(line: CommandLine) -> None:
    line.mount()
    (line.mountpoint / "letter").write_text("content")
    line.umount()
    line.mount("--read-only")
    assert (line.mountpoint / "letter").read_text() == "content"
    with pytest.raises(OSError, match="Read-only"):
        (line.mountpoint / "letter").write_text("changed")
    assert line.status()["read_only"]
    line.run("flush", line.vault).ok()
    line.umount()


def test_idle(line: CommandLine) -> None:
    line.mount("--idle", "2s")
    pid = line.status()["pid"]
    holder = subprocess.Popen(["sleep", "4"], cwd=line.mountpoint)
    (line.mountpoint / "letter").write_text("content")
    holder.wait()
    assert is_mounted(line.mountpoint), "a working folder is use"
    wait_until(lambda: not is_alive(pid))
    assert not is_mounted(line.mountpoint)
    assert line.run("get", line.vault, "letter", "-").ok().out == "content"


def test_a_name_from_the_configuration(line: CommandLine) -> None:
    config = line.folder / "config/cryptdrive/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(
        f'[drives.letters]\nstore = "{line.vault}"\nmountpoint = "{line.mountpoint}"\n'
        f'password_command = ["printf", "%s", "{PASSWORD}"]\nmount.umask = "077"\n'
    )
    line.run("mount", "letters", password=None).ok()
    assert "fuse.cryptdrive letters" in Path("/proc/self/mountinfo").read_text()
    line.run("status", "letters").ok()
    line.run("umount", "letters").ok()
    assert not is_mounted(line.mountpoint)


def test_no_wait_leaves_it_to_the_next_mount(line: CommandLine) -> None:
    line.run("mount", line.vault, line.mountpoint).ok()
    (line.mountpoint / "letter").write_text("content")
    done = line.run("umount", line.mountpoint, "--no-wait")
    done.failed(20, "2 files", "safe on this machine", "next mount")
    assert not is_mounted(line.mountpoint)
    line.run("flush", line.vault).failed(20, "mount it to send them")
    assert line.status()["state"] == "not running"
    assert line.status()["store"] == line.vault.as_uri()
    assert line.run("ls", line.vault).ok().out.split() == ["letter"], "shown from here"
    line.run("mount", line.vault, line.mountpoint).ok()
    assert (line.mountpoint / "letter").read_text() == "content"
    line.run("flush", line.mountpoint).ok()
    line.run("umount", line.mountpoint, "--no-wait").ok()
    line.run("flush", line.vault).failed(10, "not running")
    assert json.loads(line.run("status", "--json").ok().out) == {"drives": []}


def test_where_a_file_is(line: CommandLine) -> None:
    def state(name: str) -> bytes:
        return os.getxattr(line.mountpoint / name, "user.cryptdrive.state")

    line.run("mount", line.vault, line.mountpoint).ok()
    file = line.mountpoint / "letter"
    with file.open("w") as opened:
        opened.write("content")
        opened.flush()
        assert state("letter") == b"memory"
        os.fsync(opened.fileno())
        assert state("letter") == b"local"
    assert line.status()["waiting_files"] == 2, "the file, and the folder that it is in"
    line.run("flush", line.mountpoint).ok()
    assert state("letter") == state("") == b"stored"
    assert line.status()["waiting_files"] == 0
    assert os.listxattr(file) == []
    for attempt in (
        lambda: os.setxattr(file, "user.cryptdrive.state", b"stored"),
        lambda: os.removexattr(file, "user.cryptdrive.state"),
    ):
        with pytest.raises(PermissionError):
            attempt()
