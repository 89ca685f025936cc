"""When a running drive ends: signals, requests, and long times without use."""

import logging
import queue
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from cryptdrive.errors import CryptdriveError
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.values import Event

_log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
IDLE_LOOK_S_MAX = 15.0


class StopRequests:
    """Counts requests to end. Signals end the drive as requests do: nothing is torn off."""

    def __init__(self, on_request: Callable[[], None], on_signal: Callable[[], None] | None = None) -> None:
        """``on_request`` is called at each, also from within signal handlers.

        ``on_signal`` is called at the first signal, in a thread; it may wait, and adds the request if
        nothing speaks against it. Any further signal is a request at once.
        """
        self._on_request = on_request
        self._on_first_signal = on_signal or self.add
        self._signals: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._was_signalled = False
        # Its put() may interrupt its own get() in a signal handler; an Event's set() may not.
        self._requests: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.count = 0

    def install(self) -> None:
        """Take over the signals; to be called in the main thread."""
        # Started now: a signal handler may interrupt what it would need to start one.
        threading.Thread(target=self._answer_first_signal, name="signals", daemon=True).start()
        for number in SIGNALS:
            # Hanging up stays ignored where it was (nohup, the background): no terminal is needed there.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._was_signalled:
            self.add()
        else:
            self._was_signalled = True
            self._signals.put(None)

    def _answer_first_signal(self) -> None:
        self._signals.get()
        try:
            self._on_first_signal()
        except Exception as error:  # noqa: BLE001 - no error may keep a signal from ending the drive
            _log.error("stopping: %s", type(error).__name__)
            self.add()

    def add(self) -> None:
        """Ask for the end. From any thread or signal handler."""
        self.count += 1
        self._requests.put(None)
        self._on_request()

    def wait(self, seconds_max: float | None = None) -> bool:
        """Wait for a request that was not waited for yet; False if there was none in that time."""
        try:
            self._requests.get(timeout=seconds_max)
        except queue.Empty:
            return False
        return True


class IdleWatch:
    """Asks for the end after a time without use.

    In use is a drive in which something is changed, opened or listed, is open, or is a program's
    working folder. Attributes that the kernel remembers can be looked at without our noticing.
    """

    def __init__(self, fs: FileSystem, idle_s: float, stop: Callable[[], None]) -> None:
        """``stop`` raises Busy where the drive is in use after all."""
        self._fs = fs
        self._idle_s = idle_s
        self._stop = stop
        self._last_use = time.monotonic()
        self._next_handle = 0
        self._ended = threading.Event()

    def start(self) -> None:
        self._fs.subscribe(self._on_change)
        threading.Thread(target=self._run, name="idle", daemon=True).start()

    def end(self) -> None:
        self._ended.set()

    def _on_change(self, event: Event) -> None:
        self._last_use = time.monotonic()

    def _run(self) -> None:
        while not self._ended.wait(min(self._idle_s / 4, IDLE_LOOK_S_MAX)):
            if self._was_used():
                self._last_use = time.monotonic()
            elif time.monotonic() - self._last_use >= self._idle_s and self._has_stopped():
                return

    def _was_used(self) -> bool:
        """Whether handles are open, or were given out since the last look: their numbers are counted up."""
        in_use = self._fs.open_handles() > 0
        handle = self._fs.opendir(self._fs.root)
        self._fs.closedir(handle)
        in_use = in_use or handle != self._next_handle
        self._next_handle = handle + 1
        return in_use

    def _has_stopped(self) -> bool:
        _log.info("not used for %g seconds: unmounting", self._idle_s)
        try:
            self._stop()
        except CryptdriveError as error:
            _log.info("not unmounted: %s", error)
            self._last_use = time.monotonic()
            return False
        return True
