"""What ends a running drive, and what keeps it from ending."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cryptdrive.cli.front_ends import FrontEnds
from cryptdrive.cli.running import RunningDrive
from cryptdrive.errors import NoSpace


@dataclass
class Status:
    """What matters here of a drive's status."""

    seconds_left: float | None = 3.0
    retry_in_s: float | None = None
    last_error: str | None = None


class FullDisk:
    """A drive whose machine has no room left, until there is."""

    read_only = False
    vault_id = bytes(32)

    class store:
        url = "file:///vault"

    def __init__(self) -> None:
        self.fs = self
        self.is_full = True
        self.saved = 0
        self.told = Status()

    def sync(self, *, remote: bool = True) -> None:
        assert not remote
        if self.is_full:
            raise NoSpace("the disk is full")
        self.saved += 1

    def status(self) -> Status:
        return self.told


@pytest.fixture
def disk() -> FullDisk:
    return FullDisk()


@pytest.fixture
def running(disk: Any, tmp_path: Path) -> RunningDrive:
    return RunningDrive(disk, FrontEnds(), tmp_path, None)


def test_lazy_does_not_end_what_is_not_saved(running: RunningDrive, disk: FullDisk) -> None:
    with pytest.raises(NoSpace, match="full"):
        running.request_stop(lazy=True, wait=True)
    assert running.stops.count == 0
    disk.is_full = False
    running.request_stop(lazy=True, wait=True)
    assert (running.stops.count, disk.saved) == (1, 1)


def test_a_signal_does_not_end_what_is_not_saved(
    running: RunningDrive, disk: FullDisk, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "cryptdrive"):
        running._stop_by_signal()
    assert "the disk is full" in caplog.text
    assert "one more signal" in caplog.text
    assert running.stops.count == 0
    disk.is_full = False
    running._stop_by_signal()
    assert (running.stops.count, disk.saved) == (1, 1)


def test_no_time_is_told_while_nothing_is_sent(running: RunningDrive, disk: FullDisk) -> None:
    assert running.describe()["seconds_left"] == 3.0
    for told in (Status(retry_in_s=9.0), Status(last_error="away")):
        disk.told = told
        assert running.describe()["seconds_left"] is None
