"""What the kernel is told, and that nobody waits who must not."""

import errno
import logging
import threading
from collections.abc import Iterator

import pytest

from cryptdrive.fuse import invalidation
from cryptdrive.fuse.invalidation import Invalidator
from cryptdrive.types import InodeNumber
from cryptdrive.vfs.values import Event, EventKind

SECONDS_MAX = 10.0


class FakeKernel:
    """Notes what it is told; waits in each call while ``gate`` is closed."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.error: int = 0

    def invalidate_inode(self, inode: int, attr_only: bool = False) -> None:
        self._note("attributes" if attr_only else "pages", inode)

    def invalidate_entry(self, inode_p: int, name: bytes) -> None:
        self._note("entry", inode_p, name)

    def _note(self, *what: object) -> None:
        self.entered.set()
        assert self.gate.wait(SECONDS_MAX)
        self.told.append(what)
        if self.error:
            raise OSError(self.error, "refused")


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


@pytest.fixture
def invalidator(kernel: FakeKernel) -> Iterator[Invalidator]:
    running = Invalidator(kernel)
    running.start()
    yield running
    kernel.gate.set()
    running.stop()


def event(kind: EventKind, inode: int, name: bytes = b"", origin: str = "webdav") -> Event:
    return Event(kind, InodeNumber(inode), name, origin)


def test_each_kind_of_change(invalidator: Invalidator, kernel: FakeKernel) -> None:
    invalidator.on_event(event(EventKind.ATTRIBUTES, 5))
    invalidator.on_event(event(EventKind.CONTENT, 6))
    invalidator.on_event(event(EventKind.ENTRY, 7, b"name"))
    invalidator.on_event(event(EventKind.INTEGRITY, 8))
    assert invalidator.wait_until_told(SECONDS_MAX)
    # With a name goes what its directory says about itself.
    assert kernel.told == [("attributes", 5), ("pages", 6), ("entry", 7, b"name"), ("attributes", 7)]


def test_what_came_through_the_mount_is_not_told(invalidator: Invalidator, kernel: FakeKernel) -> None:
    invalidator.on_event(event(EventKind.CONTENT, 6, origin="fuse"))
    invalidator.on_event(event(EventKind.CONTENT, 7, origin=""))
    assert invalidator.wait_until_told(SECONDS_MAX)
    assert kernel.told == [("pages", 7)]


def test_the_same_change_waits_once(invalidator: Invalidator, kernel: FakeKernel) -> None:
    kernel.gate.clear()
    invalidator.on_event(event(EventKind.ATTRIBUTES, 1))
    assert kernel.entered.wait(SECONDS_MAX)
    for _ in range(50):
        invalidator.on_event(event(EventKind.CONTENT, 6))
    kernel.gate.set()
    assert invalidator.wait_until_told(SECONDS_MAX)
    assert kernel.told == [("attributes", 1), ("pages", 6)]


def test_a_change_while_it_is_told_is_told_again(invalidator: Invalidator, kernel: FakeKernel) -> None:
    kernel.gate.clear()
    invalidator.on_event(event(EventKind.CONTENT, 6))
    assert kernel.entered.wait(SECONDS_MAX)
    invalidator.on_event(event(EventKind.CONTENT, 6))
    kernel.gate.set()
    assert invalidator.wait_until_told(SECONDS_MAX)
    assert kernel.told == [("pages", 6), ("pages", 6)]


def test_pages_are_old_until_the_kernel_was_told(invalidator: Invalidator, kernel: FakeKernel) -> None:
    kernel.gate.clear()
    invalidator.on_event(event(EventKind.CONTENT, 6))
    assert kernel.entered.wait(SECONDS_MAX)
    invalidator.on_event(event(EventKind.CONTENT, 7))
    invalidator.on_event(event(EventKind.ATTRIBUTES, 8))
    assert invalidator.pages_may_be_old(InodeNumber(6))  # being told
    assert invalidator.pages_may_be_old(InodeNumber(7))  # waiting
    assert not invalidator.pages_may_be_old(InodeNumber(8))
    kernel.gate.set()
    assert invalidator.wait_until_told(SECONDS_MAX)
    assert not invalidator.pages_may_be_old(InodeNumber(6))


def test_what_waits_is_bounded(
    invalidator: Invalidator, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invalidation, "PENDING_INVALIDATIONS_MAX", 3)
    kernel.gate.clear()
    invalidator.on_event(event(EventKind.CONTENT, 1))
    assert kernel.entered.wait(SECONDS_MAX)
    for inode in (2, 3, 4):
        invalidator.on_event(event(EventKind.CONTENT, inode))
    waiting = threading.Thread(target=invalidator.on_event, args=(event(EventKind.CONTENT, 5),))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    kernel.gate.set()
    waiting.join(SECONDS_MAX)
    assert not waiting.is_alive()
    assert invalidator.wait_until_told(SECONDS_MAX)
    assert kernel.told == [("pages", inode) for inode in (1, 2, 3, 4, 5)]


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOSYS])
def test_an_unknown_inode_does_not_end_it(invalidator: Invalidator, kernel: FakeKernel, number: int) -> None:
    kernel.error = number
    invalidator.on_event(event(EventKind.CONTENT, 6))
    invalidator.on_event(event(EventKind.CONTENT, 7))
    assert invalidator.wait_until_told(SECONDS_MAX)
    assert kernel.told == [("pages", 6), ("pages", 7)]


def test_warnings_hold_no_names(
    invalidator: Invalidator, kernel: FakeKernel, caplog: pytest.LogCaptureFixture
) -> None:
    kernel.error = errno.EPERM
    with caplog.at_level(logging.INFO):
        invalidator.on_event(event(EventKind.ENTRY, 7, b"secret-name"))
        assert invalidator.wait_until_told(SECONDS_MAX)
    assert "refused an invalidation" in caplog.text
    assert "secret-name" not in caplog.text


def test_it_ends_when_the_connection_is_gone(invalidator: Invalidator, kernel: FakeKernel) -> None:
    kernel.error = errno.ENOTCONN
    invalidator.on_event(event(EventKind.CONTENT, 6))
    assert invalidator.wait_until_told(SECONDS_MAX)
    for inode in range(10):  # nobody waits for a kernel that does not listen
        invalidator.on_event(event(EventKind.CONTENT, inode))
    invalidator.stop()
    assert kernel.told == [("pages", 6)]


def test_stop_tells_what_is_waiting(invalidator: Invalidator, kernel: FakeKernel) -> None:
    kernel.gate.clear()
    for inode in (1, 2, 3):
        invalidator.on_event(event(EventKind.CONTENT, inode))
    assert kernel.entered.wait(SECONDS_MAX)
    kernel.gate.set()
    invalidator.stop()
    assert kernel.told == [("pages", 1), ("pages", 2), ("pages", 3)]
    invalidator.on_event(event(EventKind.CONTENT, 4))
    assert len(kernel.told) == 3


def test_stop_before_start(kernel: FakeKernel) -> None:
    Invalidator(kernel).stop()
