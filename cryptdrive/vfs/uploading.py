"""When what is saved here goes to the store."""

import logging

from cryptdrive.clock import Clock, Randomness
from cryptdrive.config import DriveSettings
from cryptdrive.errors import CryptdriveError
from cryptdrive.vfs.filesystem import FileSystem

_log = logging.getLogger(__name__)

RETRY_FIRST_S = 1.0
UNSENT_BYTES_MAX = 64 << 20
"""So many bytes of complete packs are not kept waiting for a time of quiet."""


class Uploader:
    """Publishes after a time of quiet, at most a set time after the first change.

    That time doubles while small changes go on steadily, up to a limit, and is as at first again
    after a quiet time. A publication that failed is tried again after a time that doubles, and
    that chance lengthens or shortens, so that many devices do not come back at one moment.
    """

    def __init__(
        self, files: FileSystem, clock: Clock, settings: DriveSettings, randomness: Randomness
    ) -> None:
        self._files = files
        self._clock = clock
        self._settings = settings
        self._randomness = randomness
        self._interval_s = settings.publish_interval_s
        self._failures = 0
        self._retry_at = 0.0
        self._reported = ""

    def step(self) -> None:
        """Publish if it is due. Never raises; a failure is kept and tried again later."""
        if not self._is_due():
            return
        try:
            self._files.sync()
        except CryptdriveError as error:
            self._failures += 1
            self._retry_at = self._clock.monotonic() + self._delay_s()
            if self._reported != str(error):
                _log.warning("changes could not be saved to the store yet: %s", error)
            self._reported = str(error)
        else:
            if self._failures:
                _log.info("the store takes changes again")
            self._failures, self._reported = 0, ""

    @property
    def retry_in_s(self) -> float | None:
        """When it is tried again; None where nothing failed."""
        return max(0.0, self._retry_at - self._clock.monotonic()) if self._failures else None

    def _delay_s(self) -> float:
        longest = min(
            RETRY_FIRST_S * float(1 << min(self._failures - 1, 20)), self._settings.retry_interval_max_s
        )
        return longest * (0.5 + int.from_bytes(self._randomness(2)) / 2**17)

    def _is_due(self) -> bool:
        core, now = self._files.core, self._clock.monotonic()
        first = core.first_change
        if self._files.publish_error is not None:
            # Whoever met it: what was frozen then waits, whether more is changed or not.
            return now >= self._retry_at
        if self._files.unsent_bytes >= UNSENT_BYTES_MAX or self._files.is_pressed:
            return True
        if first is None:
            return False
        if now - core.last_change >= self._settings.publish_quiet_s:
            self._interval_s = self._settings.publish_interval_s
            return True
        if now - first >= self._interval_s:
            self._interval_s = min(2 * self._interval_s, self._settings.publish_interval_max_s)
            return True
        return False

    def pause_s(self) -> float:
        """How long the next step may wait."""
        return 0.1 if self._files.core.first_change is not None else 0.5
