"""What a running drive does by itself: seal, publish, remove what nothing names."""

import logging
import threading

from cryptdrive.clock import Clock
from cryptdrive.config import DriveSettings
from cryptdrive.errors import CryptdriveError
from cryptdrive.vfs.filesystem import FileSystem

_log = logging.getLogger(__name__)

_RETRY_S = 5.0


class Housekeeper:
    """Decides what is due. :meth:`step` does one round; :meth:`start` lets a thread call it.

    Publishes after a time of quiet, at most a set time after the first change; that time doubles
    while small changes go on steadily, up to a limit, and is as at first again after a quiet time.
    """

    def __init__(self, files: FileSystem, clock: Clock, settings: DriveSettings) -> None:
        self._files = files
        self._clock = clock
        self._settings = settings
        self._interval_s = settings.publish_interval_s
        self._retry_at = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._reported = ""

    def step(self) -> None:
        """Do what is due now. Never raises; a failure is kept and tried again later."""
        try:
            while self._files.wants_sealing and self._files.sealer.seal_oldest():
                pass
            if self._saving_is_due():
                self._files.sync(remote=False)
            if self._publication_is_due():
                self._retry_at = self._clock.monotonic() + _RETRY_S
                self._files.sync()
                self._reported = ""
            # Last, for it reads: what cannot be read must not keep anything from being saved.
            self._files.purge_some()
        except CryptdriveError as error:
            if self._reported != str(error):
                _log.warning("changes could not be saved to the store yet: %s", error)
            self._reported = str(error)

    def _saving_is_due(self) -> bool:
        first = self._files.core.first_unsaved
        return first is not None and self._clock.monotonic() - first >= self._settings.save_interval_s

    def _publication_is_due(self) -> bool:
        core = self._files.core
        now = self._clock.monotonic()
        first = core.first_change
        if self._files.last_error is not None:
            # Whoever met it, an fsync say: what was frozen then waits, whether more is changed or not.
            return now >= self._retry_at
        if first is None:
            return False
        if now - core.last_change >= self._settings.publish_quiet_s:
            self._interval_s = self._settings.publish_interval_s
            return True
        if now - first >= self._interval_s:
            self._interval_s = min(2 * self._interval_s, self._settings.publish_interval_max_s)
            return True
        return False

    def start(self) -> None:
        """Let a thread do it, several times a second."""
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.1 if self._files.core.first_change is not None else 0.5):
            try:
                self.step()
            except Exception:  # noqa: BLE001 - the thread has to go on
                _log.exception("housekeeping failed unexpectedly")

    def stop(self) -> None:
        """End the thread, after the step that it is in."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
