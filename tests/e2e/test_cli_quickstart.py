"""What ``make run`` starts, and what a person at a terminal is asked."""

import os
import pty
import re
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cli_support import PROGRAM, CommandLine, command_line, is_mounted, read_until

pytestmark = pytest.mark.fuse


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    with command_line(tmp_path) as line:
        yield line


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(line: CommandLine, *options: object, password: str | None) -> "tuple[subprocess.Popen[str], str]":
    place = line.folder / "home/CryptDrive"
    process = line.start(
        "quickstart", "--vault", line.vault, "--mountpoint", place, "--webdav", f"127.0.0.1:{free_port()}",
        *options, password=password,
    )  # fmt: skip
    return process, read_until(process, "Ctrl-C")


def stop(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


def test_the_first_and_the_second_run(line: CommandLine) -> None:
    process, said = start(line, password=None)
    place = line.folder / "home/CryptDrive"
    made_up = re.search(r"made up:\s+(\S+)", said)
    assert made_up is not None
    assert "recovery key" in said
    assert f"your drive  {place}" in said
    assert re.search(r"WebDAV +http://127\.0\.0\.1:\d+/", said)
    (place / "letter").write_text("content")
    stop(process)
    assert not is_mounted(place)
    assert made_up[1] not in "".join(
        path.read_text(errors="replace") for path in line.folder.rglob("*") if path.is_file()
    )
    line.run("quickstart", "--vault", line.vault, "--mountpoint", place, password=None).failed(
        12, str(line.vault), "CRYPTDRIVE_PASSWORD", "--recovery-key-file"
    )
    process, said = start(line, password=made_up[1])
    assert "made up" not in said
    assert (place / "letter").read_text() == "content"
    again = line.run("quickstart", "--vault", line.vault, password=None).ok()
    assert "running already" in again.out
    assert str(place) in again.out
    stop(process)


def test_the_usual_places(line: CommandLine) -> None:
    process = line.start("quickstart", password="given")
    said = read_until(process, "Ctrl-C")
    assert f"your drive  {line.folder}/home/CryptDrive" in said
    assert (line.folder / "data/cryptdrive/demo/cryptdrive.json").exists()
    assert "made up" not in said
    stop(process)


def test_without_fuse(line: CommandLine) -> None:
    """pyfuse3 cannot be imported: WebDAV alone."""
    hidden = line.folder / "hidden"
    hidden.mkdir()
    (hidden / "pyfuse3.py").write_text("raise ImportError('not here')")
    line.environment["PYTHONPATH"] = f"{hidden}:{line.environment['PYTHONPATH']}"
    process, said = start(line, password="given")
    assert "WebDAV only" in said
    assert "pip install 'cryptdrive[fuse]'" in said
    assert "your drive" not in said
    assert "WebDAV  " in said
    stop(process)


def test_a_usual_port_that_is_taken(line: CommandLine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = line.folder / "config.toml"
        config.write_text(f'[defaults.webdav]\naddress = "127.0.0.1:{port}"\n')
        process = line.start("quickstart", "--config", config, password="given")
        said = read_until(process, "Ctrl-C")
        assert f"port {port} is taken" in said
        stop(process)
        asked_for = line.run("quickstart", "--webdav", f"127.0.0.1:{port}", password="given")
        asked_for.failed(11, f"127.0.0.1:{port}")


def test_a_taken_mountpoint_makes_no_vault(line: CommandLine) -> None:
    (line.mountpoint / "file").touch()
    done = line.run("quickstart", "--vault", line.vault, "--mountpoint", line.mountpoint, password="given")
    done.failed(10, "not empty")
    assert not line.vault.exists()


# --- at a terminal -----------------------------------------------------------------------------------


class Terminal:
    """A command with a terminal of its own, and a person who types."""

    def __init__(self, line: CommandLine, *arguments: object) -> None:
        self._process, self._screen = pty.fork()
        if not self._process:
            os.chdir(line.folder)
            os.execve(PROGRAM[0], [*PROGRAM, *map(str, arguments)], line.environment)
        self.shown = ""

    def type_after(self, prompt: str, text: str) -> None:
        """Wait for ``prompt``, then type ``text`` and Enter."""
        seen = len(self.shown)
        end = time.monotonic() + 30
        while prompt not in self.shown[seen:]:
            assert time.monotonic() < end, self.shown
            if not self._read():
                raise AssertionError(f"it ended: {self.shown}")
        time.sleep(0.1)  # until the echo is off
        os.write(self._screen, text.encode() + b"\n")

    def _read(self) -> bool:
        if select.select([self._screen], [], [], 0.1)[0]:
            try:
                self.shown += os.read(self._screen, 4096).decode()
            except OSError:
                return False  # EIO: the other side has gone
        return True

    def wait(self) -> int:
        """What the command showed to its end, and its exit code."""
        while self._read():
            pass
        os.close(self._screen)
        return os.waitstatus_to_exitcode(os.waitpid(self._process, 0)[1])


def test_the_password_is_asked_for_twice_and_not_shown(line: CommandLine) -> None:
    terminal = Terminal(line, "init", line.vault)
    terminal.type_after("Password for the new vault: ", "hunter2")
    terminal.type_after("Repeat", "hunter3")
    terminal.type_after("Password for the new vault: ", "hunter2")
    terminal.type_after("Repeat", "hunter2")
    assert terminal.wait() == 0, terminal.shown
    assert "hunter" not in terminal.shown
    assert "do not match" in terminal.shown
    terminal = Terminal(line, "mount", line.vault, line.mountpoint)
    terminal.type_after(f"Password for {line.vault}: ", "hunter2")
    assert terminal.wait() == 0, terminal.shown
    assert "hunter" not in terminal.shown
    assert is_mounted(line.mountpoint)


def test_nothing_is_left_of_an_init_that_was_broken_off(line: CommandLine) -> None:
    terminal = Terminal(line, "init", line.vault)
    terminal.type_after("Password for the new vault: ", "\x03")
    assert terminal.wait() == 130
    assert not (line.vault / "cryptdrive.json").exists()
    line.run("init", line.vault, password="given").ok()
