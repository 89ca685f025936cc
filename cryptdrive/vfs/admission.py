"""Back-pressure: whoever writes waits for the store before this machine's disk or memory is full."""

from collections.abc import Callable
from typing import Protocol

from cryptdrive.clock import Clock
from cryptdrive.errors import CryptdriveError, NoSpace
from cryptdrive.waiting import before_waiting

LOOK_S = 0.05
STALLED_S = 30.0
"""A store that confirms nothing for so long makes no progress."""
SLOW_BYTES_PER_S = 4 << 20
"""The rate that writers are slowed down to at most while the store's is not known, or is less."""
_CHECK_BYTES = 4 << 20
_CHANGE_BYTES = 4 << 10
"""What a change that is saved by itself takes on disk, about: a frame with inode, totals and counters."""
_MIB = 1 << 20


class Backlog(Protocol):
    """What waits on this machine."""

    @property
    def kept_bytes(self) -> int:
        """Bytes of packs on the local disk that the store has not confirmed."""

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory that unpublished records take."""

    @property
    def sent_bytes(self) -> int:
        """Bytes that the store has confirmed so far."""

    @property
    def send_rate(self) -> float:
        """Bytes a second that it confirms of late."""

    @property
    def failure(self) -> CryptdriveError | None:
        """Why nothing can be sent now."""

    def free_bytes(self) -> int:
        """Bytes that may still be written on the local disk. Raises OSError."""


class Admission:
    """Slows writers down from the moment that half of a limit is used, and stops them at the limit.

    Limits: ``outbox_bytes_max`` on disk, ``memory_bytes_max`` for records, and ``reserve_bytes`` that
    stay free on the disk. At a limit a writer waits as long as the store makes progress.
    """

    def __init__(
        self,
        backlog: Backlog,
        clock: Clock,
        sleep: Callable[[float], None],
        *,
        outbox_bytes_max: int,
        memory_bytes_max: int,
        reserve_bytes: int,
    ) -> None:
        self._backlog = backlog
        self._clock = clock
        self._sleep = sleep
        self._outbox_bytes_max = outbox_bytes_max
        self._memory_bytes_max = memory_bytes_max
        self._reserve_bytes = reserve_bytes
        self._unchecked = _CHECK_BYTES
        self._disk_is_low = False

    def admit(self, byte_count: int) -> None:
        """Before ``byte_count`` more bytes are taken. Raises NoSpace, WouldBlock."""
        # Every change takes some of the journal, whatever it brings of file data.
        self._unchecked += byte_count + _CHANGE_BYTES
        if self._unchecked >= _CHECK_BYTES or self._disk_is_low:
            self._unchecked = 0
            self._disk_is_low = self._backlog.free_bytes() < self._reserve_bytes + 2 * _CHECK_BYTES
        used = self._used(byte_count)
        if used <= 0.5 and not self._disk_is_low:
            return
        before_waiting()
        if used >= 1 or self._disk_is_low:
            self._wait_for_room(byte_count)
        elif byte_count:
            # At half a limit four times as fast as the store takes it, at the limit no faster.
            rate = max(self._backlog.send_rate, SLOW_BYTES_PER_S) * (1 + 6 * (1 - used))
            self._sleep(min(byte_count / rate, 1.0))

    @property
    def is_pressed(self) -> bool:
        """Whether more than half of a limit is used."""
        return self._disk_is_low or self._used(0) > 0.5

    @property
    def pressure(self) -> str | None:
        """What writers meet, and why; None where nothing keeps them back. Raises OSError."""
        reason = self._full(0)
        if reason is not None:
            return f"refused, for {reason}"
        return "slowed down, for much waits to be sent" if self.is_pressed else None

    def _used(self, byte_count: int) -> float:
        """The part of a limit that is used, the larger one."""
        backlog = self._backlog
        return max(
            (backlog.kept_bytes + byte_count) / self._outbox_bytes_max,
            backlog.memory_bytes / self._memory_bytes_max,
        )

    def _wait_for_room(self, byte_count: int) -> None:
        backlog = self._backlog
        sent, since = backlog.sent_bytes, self._clock.monotonic()
        while True:
            reason = self._full(byte_count)
            if reason is None:
                return
            now = self._clock.monotonic()
            if backlog.sent_bytes != sent:
                sent, since = backlog.sent_bytes, now
            failure = backlog.failure
            is_hopeless = self._disk_is_low and not backlog.kept_bytes
            if failure is not None or is_hopeless or now - since > STALLED_S:
                raise NoSpace(f"{reason}; {failure or 'the store takes nothing'}")
            self._sleep(LOOK_S)

    def _full(self, byte_count: int) -> str | None:
        """Which limit is reached; None for none."""
        backlog = self._backlog
        if backlog.kept_bytes + byte_count > self._outbox_bytes_max:
            return f"{self._outbox_bytes_max // _MIB} MiB of changes wait to be sent to the store"
        if backlog.memory_bytes > self._memory_bytes_max:
            return f"changes that take {self._memory_bytes_max // _MIB} MiB of memory wait to be sent"
        self._disk_is_low = backlog.free_bytes() < self._reserve_bytes
        if self._disk_is_low:
            return (
                f"the disk of this machine has less than {self._reserve_bytes // _MIB} MiB left, "
                "which disk_reserve_mib keeps free"
            )
        return None
