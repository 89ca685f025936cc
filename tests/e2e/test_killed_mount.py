"""kill -9 of a mounted drive under load: after it, the state of one moment, with all that was synced."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptdrive.control.client import ControlClient
from cryptdrive.control.records import RuntimeFolder
from tests.e2e.cli_support import PROJECT, CommandLine, command_line, is_alive, wait_until
from tests.e2e.mount_writer import State, read_all, steps

pytestmark = pytest.mark.fuse

ROUNDS, ROUNDS_LONG = 6, 200
SETTINGS = "[defaults.settings]\npublish_quiet_s = 0.5\npublish_interval_s = 1\nsave_interval_s = 0.3\n"


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    with command_line(tmp_path) as line:
        line.create_vault()
        (tmp_path / "config/cryptdrive").mkdir(parents=True, exist_ok=True)
        (tmp_path / "config/cryptdrive/config.toml").write_text(SETTINGS)
        yield line


def kill_while(line: CommandLine, log: Path, seconds: float, *words: str) -> bool:
    """Let a writer work on the mounted drive, then kill the drive; True if it had unpublished changes."""
    log.write_bytes(b"")
    folder = RuntimeFolder(line.folder / "state/cryptdrive/run")
    (record,) = folder.records()
    command = [sys.executable, "-m", "tests.e2e.mount_writer", *words]
    with subprocess.Popen(command, cwd=PROJECT) as writer:
        wait_until(lambda: b"ready" in log.read_bytes())
        time.sleep(seconds)
        assert writer.poll() is None, "the writer met an error before the drive was killed"
        with ControlClient(folder, record) as client:
            status = client.status()
        os.kill(record.pid, signal.SIGKILL)
        writer.wait(30)
    wait_until(lambda: not is_alive(record.pid))
    line.run("umount", line.mountpoint).ok()
    return bool(status["changed_records"])


def noted(log: Path) -> tuple[int, int]:
    """The last step that was done, and the last sync that was acknowledged; −1 for none."""
    rows = [row.split() for row in log.read_text().splitlines()[1:]]
    done = max((int(number) for _, number in rows), default=-1)
    return done, max((int(number) for verb, number in rows if verb == "synced"), default=-1)


def is_one_moment(before: State, seed: int, found: State, done: int, synced: int) -> bool:
    """Whether ``found`` is the state after some step from the last synced to the one under way."""
    state = dict(before)
    if synced < 0 and found == before:
        return True  # nothing was saved yet, and nobody was told that it was
    for number, step in enumerate(steps(seed, state)):
        step.apply(state)
        if number >= synced and state == found:
            return True
        if number > done:
            return False
    raise AssertionError("steps never end")


@pytest.mark.parametrize("rounds", [ROUNDS, pytest.param(ROUNDS_LONG, marks=pytest.mark.slow)])
@pytest.mark.timeout(3600)
def test_the_state_of_one_moment(line: CommandLine, tmp_path: Path, rounds: int) -> None:
    log, chance = tmp_path / "log", random.Random(11)
    state: State = {}
    unpublished = 0
    for seed in range(1, rounds + 1):
        line.run("mount", line.vault, line.mountpoint).ok()
        seconds = chance.uniform(0.05, 1.2)
        unpublished += kill_while(line, log, seconds, str(line.mountpoint), str(log), str(seed))
        done, synced = noted(log)
        line.run("mount", line.vault, line.mountpoint).ok()
        found = read_all(line.mountpoint)
        assert found == state if done < 0 else is_one_moment(state, seed, found, done, synced), (
            f"round {seed}: no state from step {synced} to {done + 1}"
        )
        state = found
        line.run("umount", line.mountpoint, *(["--no-wait"] if chance.random() < 0.5 else []))
    assert unpublished >= rounds * 3 / 4, unpublished
    line.run("mount", line.vault, line.mountpoint).ok()
    line.run("umount", line.mountpoint).ok()
    # A machine that knows only the store sees the same.
    (line.folder / "state").rename(line.folder / "state of another machine")
    line.run("mount", line.vault, line.mountpoint, "--read-only").ok()
    assert read_all(line.mountpoint) == state


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
@pytest.mark.parametrize("rounds", [3, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.timeout(1800)
def test_sqlite_keeps_what_it_committed(line: CommandLine, tmp_path: Path, mode: str, rounds: int) -> None:
    log, chance = tmp_path / "log", random.Random(13)
    database = line.mountpoint / "data.sqlite"
    committed, transactions = 0, 0
    for _ in range(rounds):
        line.run("mount", line.vault, line.mountpoint).ok()
        kill_while(line, log, chance.uniform(0.1, 1.5), "--sqlite", mode, str(database), str(log))
        last = max(committed, noted(log)[1])
        transactions += last - committed
        line.run("mount", line.vault, line.mountpoint).ok()
        connection = sqlite3.connect(database)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (newest,) = connection.execute("SELECT coalesce(max(n), 0) FROM t").fetchone()
        numbers = [n for (n,) in connection.execute("SELECT n FROM t ORDER BY n")]
        connection.close()
        assert newest >= last, "a committed transaction is gone"
        assert numbers == list(range(max(1, newest - 300), newest + 1)) if newest else not numbers
        committed = newest
        line.umount()
    assert transactions > rounds
