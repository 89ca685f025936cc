"""Time and randomness as protocols, so that tests and simulations can stand in for them."""

import os
import time
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now_ns(self) -> int:
        """Wall-clock time in nanoseconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds that never go back, from an arbitrary start."""


class SystemClock:
    """The machine's clocks."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()


class Randomness(Protocol):
    """Where unpredictable bytes come from."""

    def __call__(self, count: int, /) -> bytes:
        """``count`` bytes nobody can predict."""


system_randomness: Randomness = os.urandom
