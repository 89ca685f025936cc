"""fsync for many programs at once: one save for all that wait.

Where the disk is fast and little is to be saved, it is done in the event loop, once nothing else is
asked: a thread would cost more than the disk does. Else one thread saves, and wakes all together.
"""

import queue
import threading
import time
from contextlib import suppress

import trio

from cryptdrive.types import HandleId
from cryptdrive.vfs.filesystem import FileSystem

IDLE_S = 0.00015
"""How long nothing arrives until it is clear that nobody else comes along."""
GATHERING_S_MAX = 0.003
"""How long others are waited for, at most."""
ALONE_MAX = 64
"""After so many saves, at most, it is looked again whether others come along."""


class _Request:
    """A handle to be synced, with all that was done up to ``point``."""

    __slots__ = ("data_only", "done", "error", "handle", "point")

    def __init__(self, handle: HandleId, data_only: bool, point: int) -> None:
        self.handle = handle
        self.data_only = data_only
        self.point = point
        self.done = trio.Event()
        self.error: Exception | None = None


class GroupSync:
    """Runs in an event loop; its thread, if it is needed, lives as long as the process."""

    def __init__(self, fs: FileSystem) -> None:
        self.arrivals = 0
        """Counts what the kernel asks; the operations do it."""
        self._fs = fs
        self._waiting: list[_Request] = []
        self._is_gathering = False
        self._sizes = (1, 1)
        """How many there were in the last groups, the last one first."""
        self._alone = 0
        """How often nobody is waited for once nobody came; it doubles."""
        self._saves_alone = 0
        """How often nobody is to be waited for now."""
        self._batches: queue.SimpleQueue[tuple[trio.lowlevel.TrioToken, list[_Request]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def fsync(self, handle: HandleId, data_only: bool) -> None:
        """See FileSystem.fsync. Raises what it raises."""
        self.arrivals += 1
        request = _Request(handle, data_only, self._fs.sync_point())
        self._waiting.append(request)
        if self._is_gathering:
            await request.done.wait()
        else:
            await self._gather()
            if not request.done.is_set():
                await request.done.wait()
        if request.error is not None:
            raise request.error

    async def _gather(self) -> None:
        """Let all come along that are on their way, and save for them."""
        self._is_gathering = True
        try:
            await self._wait_for_others()
        finally:
            self._is_gathering = False
            requests, self._waiting = self._waiting, []
            if self._save_quickly(max(request.point for request in requests)):
                self._finish(requests)
                _wake(requests)
            else:
                self._hand_over(requests)

    async def _wait_for_others(self) -> None:
        """Return when nobody else is on the way.

        Those of the last group were answered together, and are likely to come again as soon as they
        have written something. Whoever is alone is not to wait: that is tried now and then only.
        """
        if self._saves_alone:
            self._saves_alone -= 1
            return
        expected = max(*self._sizes, 2)
        start = last = time.perf_counter()
        while len(self._waiting) < expected:
            before = self.arrivals
            await trio.lowlevel.checkpoint()
            now = time.perf_counter()
            if self.arrivals != before:
                last = now
            if now - last > IDLE_S or now - start > GATHERING_S_MAX:
                break
        size = len(self._waiting)
        self._sizes = size, self._sizes[0]
        self._alone = 0 if size > 1 else min(2 * self._alone + 1, ALONE_MAX)
        self._saves_alone = self._alone

    def _save_quickly(self, point: int) -> bool:
        try:
            return self._fs.save_quickly(point)
        except Exception:  # noqa: BLE001 - the thread meets it again, and tells each that waits
            return False

    def _finish(self, requests: list[_Request]) -> None:
        """What is left to do for each where all is saved, or to fail."""
        for request in requests:
            try:
                self._fs.fsync(request.handle, request.data_only, request.point)
            except Exception as error:  # noqa: BLE001 - raised again where it was asked for
                request.error = error

    def _hand_over(self, requests: list[_Request]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="fsync", daemon=True)
            self._thread.start()
        self._batches.put((trio.lowlevel.current_trio_token(), requests))

    def _run(self) -> None:
        while True:
            token, requests = self._batches.get()
            while not self._batches.empty():
                requests += self._batches.get()[1]
            # The last one's point is the latest: what it saves is saved for the others too.
            self._finish(requests[::-1])
            with suppress(trio.RunFinishedError):  # the mount has ended, and nobody waits
                token.run_sync_soon(_wake, requests)


def _wake(requests: list[_Request]) -> None:
    for request in requests:
        request.done.set()
