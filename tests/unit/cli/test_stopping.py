"""When a running drive ends: requests, signals, and times without use."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from cryptdrive.cli.stopping import IdleWatch, StopRequests
from cryptdrive.clock import SystemClock
from cryptdrive.errors import Busy
from cryptdrive.store.memory import MemoryStore
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.values import Caller
from tests.support.vault import SmallVault

CALLER = Caller()
IDLE_S = 0.2


def test_requests_are_counted_and_waited_for() -> None:
    heard: list[int] = []
    stops = StopRequests(lambda: heard.append(1))
    assert not stops.wait(0.01)
    stops.add()
    stops.add()
    assert (stops.count, heard) == (2, [1, 1])
    assert stops.wait(0)
    assert stops.wait(0)
    assert not stops.wait(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_are_requests(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        signal.signal(number, signal.SIG_DFL)  # under nohup the tests themselves ignore hanging up
        stops = StopRequests(lambda: None)
        stops.install()
        threading.Timer(0.05, os.kill, (os.getpid(), number)).start()
        assert stops.wait(5)
        assert stops.count == 1
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_the_first_signal_may_be_refused_and_the_second_is_not() -> None:
    before, asked = signal.getsignal(signal.SIGTERM), threading.Event()
    others = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGHUP)}
    try:
        stops = StopRequests(lambda: None, asked.set)
        stops.install()
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.wait(5)
        assert not stops.wait(0.05)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stops.wait(5)
        assert stops.count == 1
    finally:
        for each, handler in {signal.SIGTERM: before, **others}.items():
            signal.signal(each, handler)


def test_a_first_signal_that_fails_is_a_request() -> None:
    def fail() -> None:
        raise RuntimeError("unexpected")

    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        stops = StopRequests(lambda: None, fail)
        stops.install()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stops.wait(5)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_ignored_hang_ups_stay_ignored() -> None:
    """As nohup wants it."""
    script = """
import signal
from cryptdrive.cli.stopping import StopRequests
signal.signal(signal.SIGHUP, signal.SIG_IGN)
StopRequests(lambda: None).install()
assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
assert callable(signal.getsignal(signal.SIGTERM))
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.fixture
def fs() -> FileSystem:
    fs = SmallVault(MemoryStore(), SystemClock()).open()
    for number in range(3):
        handle, _ = fs.create(fs.root, b"%d" % number, 0o644, os.O_WRONLY, CALLER)
        fs.close(handle)
    return fs


class Watched:
    """An idle watch, and when it asked for the end."""

    def __init__(self, fs: FileSystem) -> None:
        self.asked = threading.Event()
        self.refusals = 0
        self.watch = IdleWatch(fs, IDLE_S, self._stop)
        self.watch.start()

    def _stop(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Busy("in use")
        self.asked.set()


@pytest.fixture
def watched(fs: FileSystem) -> Iterator[Watched]:
    watched = Watched(fs)
    yield watched
    watched.watch.end()


def test_an_unused_drive_ends(watched: Watched) -> None:
    assert watched.asked.wait(5)


def test_open_files_are_use(watched: Watched, fs: FileSystem) -> None:
    handle = fs.open(fs.lookup(fs.root, b"0").inode, os.O_RDONLY, CALLER)
    assert not watched.asked.wait(4 * IDLE_S)
    fs.close(handle)
    assert watched.asked.wait(5)


def test_reading_now_and_then_is_use(watched: Watched, fs: FileSystem) -> None:
    end = time.monotonic() + 4 * IDLE_S
    while time.monotonic() < end:
        fs.close(fs.open(fs.lookup(fs.root, b"0").inode, os.O_RDONLY, CALLER))
        assert not watched.asked.wait(IDLE_S / 8)


def test_changes_are_use(watched: Watched, fs: FileSystem) -> None:
    end, number = time.monotonic() + 4 * IDLE_S, 0
    while time.monotonic() < end:
        fs.symlink(fs.root, b"link-%d" % number, b"x", CALLER)
        number += 1
        assert not watched.asked.wait(IDLE_S / 8)


def test_a_refusal_is_use(watched: Watched) -> None:
    watched.refusals = 2
    assert watched.asked.wait(5)
    assert watched.refusals == 0
