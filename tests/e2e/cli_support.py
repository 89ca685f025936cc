"""Runs the program as a person does, in folders of its own, and leaves nothing running."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptdrive.config import LocalFolders
from cryptdrive.crypto.passwords import Argon2Costs
from cryptdrive.drive import create_drive
from cryptdrive.store.opening import open_store

PROJECT = Path(__file__).resolve().parents[2]
PASSWORD = "correct horse – Stäple"
PROGRAM = [sys.executable, "-m", "cryptdrive.cli"]
SECONDS_MAX = 60
CHEAP = Argon2Costs(memory_kib=64 * 1024, passes=1, lanes=1)
"""The least that a vault may ask for: the tests open many."""


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def ok(self) -> "Done":
        assert self.code == 0, f"{self.code}\n{self.out}\n{self.err}"
        return self

    def failed(self, code: int, *words: str) -> "Done":
        """Fails unless the command failed so, with these words in its message and no traceback."""
        assert self.code == code, f"{self.code}, not {code}\n{self.out}\n{self.err}"
        for word in words:
            assert word in self.err, self.err
        assert "Traceback" not in self.err
        return self


class CommandLine:
    """One person's folders, vault and running drives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vault = folder / "vault"
        self.mountpoint = folder / "mount"
        self.mountpoint.mkdir()
        self.recovery_key = ""
        self.prefix: tuple[str, ...] = ()
        """What commands are run through, a program that takes rights away say."""
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("CRYPTDRIVE", "XDG"))
            },
            "HOME": str(folder / "home"),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "data"),
            "PYTHONPATH": str(PROJECT),
        }
        self._started: list[subprocess.Popen[str]] = []

    def create_vault(self) -> None:
        """A vault as init makes it, with a password that costs less to try."""
        xdg = {name: value for name, value in self.environment.items() if name.startswith(("XDG", "HOME"))}
        folders = LocalFolders.from_environment(xdg)
        folders.create()
        store = open_store(str(self.vault), create=True)
        self.recovery_key = create_drive(store, PASSWORD, folders, costs=CHEAP)
        store.close()

    def run(
        self,
        *arguments: object,
        password: str | None = PASSWORD,
        cwd: Path | None = None,
        data: bytes | None = None,
        **variables: str,
    ) -> Done:
        """Run one command to its end; the password comes by the variable."""
        done = subprocess.run(
            [*self.prefix, *PROGRAM, *map(str, arguments)],
            env=self._variables(password, variables),
            cwd=cwd or self.folder,
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            timeout=SECONDS_MAX,
        )
        return Done(
            done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )

    def start(
        self, *arguments: object, password: str | None = PASSWORD, **variables: str
    ) -> "subprocess.Popen[str]":
        """Start a command that stays in the foreground."""
        process = subprocess.Popen(
            [*PROGRAM, *map(str, arguments)],
            env=self._variables(password, variables),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(process)
        return process

    def _variables(self, password: str | None, variables: dict[str, str]) -> dict[str, str]:
        given = {} if password is None else {"CRYPTDRIVE_PASSWORD": password}
        return {**self.environment, **given, **variables}

    def mount(self, *options: object) -> None:
        self.run("mount", self.vault, self.mountpoint, *options).ok()

    def umount(self) -> None:
        self.run("umount", self.mountpoint).ok()

    def status(self) -> dict[str, Any]:
        """The status of the one drive that runs."""
        drives = json.loads(self.run("status", "--json").ok().out)["drives"]
        assert len(drives) == 1
        found: dict[str, Any] = drives[0]
        return found

    def logs(self) -> str:
        """All that was logged in the background."""
        return "".join(path.read_text() for path in (self.folder / "state/cryptdrive/log").glob("*"))

    def clean_up(self) -> None:
        """Leave neither processes nor mounts behind."""
        for path in (self.folder / "state/cryptdrive/run").glob("*.json"):
            self._end(int(json.loads(path.read_bytes())["pid"]))
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        for place in (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()):
            if place.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "-l", place], capture_output=True)

    def _end(self, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not is_alive(pid), SECONDS_MAX)
        except ProcessLookupError:
            return


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(holds: Callable[[], bool], seconds_max: float = 20) -> None:
    """Wait for what another process does. Raises AssertionError."""
    end = time.monotonic() + seconds_max
    while not holds():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


def read_until(process: "subprocess.Popen[str]", words: str) -> str:
    """What a foreground command says, up to the line that has ``words``. Raises AssertionError."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"it ended: {said}")


def is_mounted(place: Path) -> bool:
    return f" {place} " in Path("/proc/self/mountinfo").read_text()


@contextmanager
def command_line(folder: Path) -> Iterator[CommandLine]:
    """A person for the time of the block."""
    found = CommandLine(folder)
    try:
        yield found
    finally:
        found.clean_up()
