"""Lets an event loop try a call in place and hop to a thread only if it would wait.

An operation that must wait (for the store, the disk, another thread's work) calls
:func:`before_waiting` first, before it has changed anything. Inside :func:`no_waiting`
that raises :class:`WouldBlock`; the event loop then runs the same call again in a worker
thread, where it may wait.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class WouldBlock(Exception):
    """The call has to wait and was asked not to; nothing was changed."""


class _State(threading.local):
    forbidden = False


_state = _State()


@contextmanager
def no_waiting() -> Iterator[None]:
    """In this thread, until the end of the block, waiting raises :class:`WouldBlock`."""
    before = _state.forbidden
    _state.forbidden = True
    try:
        yield
    finally:
        _state.forbidden = before


def before_waiting() -> None:
    """Say that the caller is about to wait.

    Raises WouldBlock: this thread is inside :func:`no_waiting`.
    """
    if _state.forbidden:
        raise WouldBlock
