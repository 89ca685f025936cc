"""What a running drive does by itself: seal, save, remove what nothing names."""

import logging
import threading
from collections.abc import Callable

from cryptdrive.clock import Clock
from cryptdrive.config import DriveSettings
from cryptdrive.errors import CryptdriveError
from cryptdrive.vfs.filesystem import FileSystem

_log = logging.getLogger(__name__)

_RETRY_S = 5.0
FREED_BYTES_MIN = 16 << 20
"""When so much was removed, packs are looked through for what is dead; that takes a moment."""
FREE_AGAIN_S = 10.0


class Loop:
    """A thread that calls a step again and again."""

    def __init__(self, name: str, step: Callable[[], None], pause_s: Callable[[], float]) -> None:
        self._step = step
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._is_running = False

    def start(self) -> None:
        self._is_running = True
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._pause_s()):
            try:
                self._step()
            except Exception:  # noqa: BLE001 - the thread has to go on
                _log.exception("%s failed unexpectedly", self._thread.name)

    def stop(self) -> None:
        """End the thread, after the step that it is in."""
        self._stop.set()
        if self._is_running:
            self._thread.join()


class Housekeeper:
    """Makes changes durable on this machine, some seconds after they were made, and tidies.

    :meth:`step` does one round; nothing here waits for the store, but what removing reads.
    """

    def __init__(self, files: FileSystem, clock: Clock, settings: DriveSettings) -> None:
        self._files = files
        self._clock = clock
        self._settings = settings
        self._retry_at = 0.0
        self._reported = ""
        self._used_max = 0
        """The most bytes that files held since dead packs were let go of."""
        self._freed_at = 0
        """The transaction up to which that was done."""
        self._free_again_at = 0.0

    def step(self) -> None:
        """Do what is due now. Never raises; a failure is kept and tried again later."""
        try:
            self._save()
            self._reported = ""
        except CryptdriveError as error:
            self._retry_at = self._clock.monotonic() + _RETRY_S
            self._files.note_failure(error)
            if self._reported != str(error):
                _log.error("changes could not be kept on this machine yet: %s", error)
            self._reported = str(error)
        try:
            self._free_dead()
            self._files.purge_some()
        except CryptdriveError as error:
            _log.info("what nothing names any more is freed later: %s", error)

    def _save(self) -> None:
        now, first = self._clock.monotonic(), self._files.core.first_unsaved
        if now < self._retry_at:
            return
        while self._files.wants_sealing and self._files.sealer.seal_oldest():
            pass
        failed = self._files.save_error is not None
        if failed or (first is not None and now - first >= self._settings.save_interval_s):
            self._files.sync(remote=False)

    def _free_dead(self) -> None:
        """While nothing can be sent: let go of what was removed before it was."""
        files, core = self._files, self._files.core
        used, now = core.usage.allocated, self._clock.monotonic()
        self._used_max = max(self._used_max, used)
        if files.publish_error is None:
            self._used_max = used
            return
        is_due = files.is_pressed and core.map.sequence != self._freed_at and now >= self._free_again_at
        if is_due or self._used_max - used >= FREED_BYTES_MIN:
            files.free_dead()
            self._used_max, self._freed_at = used, core.map.sequence
            self._free_again_at = now + FREE_AGAIN_S

    def pause_s(self) -> float:
        """How long the next step may wait."""
        return 0.1 if self._files.core.first_unsaved is not None else 0.5
