"""Mounts in a subprocess for the tests of the FUSE front end, and takes the mount away in any case."""

import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
STOP_SECONDS_MAX = 60


class Mounted:
    """A mounted file system and the process behind it."""

    def __init__(self, process: "subprocess.Popen[str]", path: Path, log: Path) -> None:
        self.process = process
        self.path = path
        self.log = log

    def elsewhere(self, call: str, *arguments: object) -> Any:
        """Make a change as another front end would, at once in the same process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"call": call, "arguments": arguments}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert "error" not in answer, f"{call} failed elsewhere: {answer['error']}"
        return answer["result"]

    def stop(self) -> None:
        """Unmount cleanly; fails if the process does not end well."""
        if self.process.poll() is None:
            self.process.terminate()
        assert self.process.wait(STOP_SECONDS_MAX) == 0, self.log.read_text()

    def kill(self) -> None:
        """End the process at once; a dead mount stays."""
        self.process.kill()
        self.process.wait(STOP_SECONDS_MAX)

    def errors(self) -> str:
        """What the process said on standard error."""
        return self.log.read_text()


def start(kind: str, mountpoint: Path, folder: Path, options: str = "") -> Mounted:
    """Mount and wait until the mount answers. Raises AssertionError with what the process said."""
    with suppress(OSError):  # a dead mount there cannot even be looked at
        mountpoint.mkdir()
    folder.mkdir(exist_ok=True)
    log = folder.with_suffix(".log")
    command = [sys.executable, "-m", "tests.e2e.fuse_server", kind, str(mountpoint), str(folder), options]
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=PROJECT
        )
    assert process.stdout is not None
    first = process.stdout.readline()
    if first != "ready\n":
        process.communicate(timeout=STOP_SECONDS_MAX)
        raise AssertionError(log.read_text())
    return Mounted(process, mountpoint, log)


def clean_up(mounted: Mounted) -> None:
    """Leave neither a process nor a mount behind."""
    for pipe in (mounted.process.stdin, mounted.process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        mounted.process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        mounted.kill()
    subprocess.run(["fusermount3", "-u", "-z", str(mounted.path)], capture_output=True)


@contextmanager
def mounted_at(kind: str, mountpoint: Path, folder: Path, options: str = "") -> Iterator[Mounted]:
    """A mount for the time of the block."""
    mounted = start(kind, mountpoint, folder, options)
    try:
        yield mounted
    finally:
        clean_up(mounted)


def run(*command: object, cwd: Path | None = None, ok: bool = True, seconds_max: float = 120) -> str:
    """Run a program; its output. Fails if it does (unless not ``ok``)."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=seconds_max)
    if ok:
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def described(folder: Path) -> dict[str, tuple[object, ...]]:
    """Names, types, modes, owners, links, sizes, times and contents of everything in ``folder``."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = ""
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        size = 0 if path.is_dir() else status.st_size
        owner = (status.st_uid, status.st_gid, status.st_nlink)
        times = status.st_mtime_ns
        found[str(path.relative_to(folder))] = (oct(status.st_mode), *owner, size, times, content)
    return found


@contextmanager
def refused(number: int) -> Iterator[None]:
    """The block is a system call that fails with that errno."""
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno == number, caught.value


def as_nobody(code: str, folder: Path) -> str:
    """Run Python code as an ordinary user in ``folder``, whose parents that user may not enter."""
    become = "import os; os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3)\n"
    return run(sys.executable, "-c", become + code, cwd=folder)
