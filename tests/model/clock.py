"""A clock that stands still until it is told to move."""


class ManualClock:
    """Wall clock and monotonic clock that only :meth:`advance` moves.

    ``step_ns`` is added after each look at the wall clock; 0 keeps the time of one operation one.
    """

    def __init__(self, start_ns: int = 1_700_000_000_000_000_000, step_ns: int = 0) -> None:
        self._now_ns = start_ns
        self._start_ns = start_ns
        self._step_ns = step_ns

    def now_ns(self) -> int:
        now = self._now_ns
        self._now_ns += self._step_ns
        return now

    def monotonic(self) -> float:
        return (self._now_ns - self._start_ns) / 1e9

    def advance(self, nanoseconds: int = 1_000_000_001) -> None:
        self._now_ns += nanoseconds
