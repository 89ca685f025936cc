"""Keeping a process that knows keys from leaking them."""

import ctypes
import gc
import resource

_PR_SET_DUMPABLE = 4


def harden() -> None:
    """No core dumps, and no reading of this process's memory by others of the same user (prctl(2))."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def tune() -> None:
    """Many small values that live long: collecting them often costs a quarter of the speed."""
    gc.set_threshold(100_000, 20, 100)
