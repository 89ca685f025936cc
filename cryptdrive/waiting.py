"""Lets an event loop try a call in place and hop to a thread only if it would wait.

An operation that must wait (for the store, the disk, another thread's work) calls
:func:`before_waiting` first, before it has changed anything. Inside :func:`no_waiting`
that raises :class:`WouldBlock`; the event loop then runs the same call again in a worker
thread, where it may wait.
"""

import threading


class WouldBlock(Exception):
    """The call has to wait and was asked not to; nothing was changed."""


class _State(threading.local):
    forbidden = False


_state = _State()


class no_waiting:
    """In this thread, until the end of the block, waiting raises :class:`WouldBlock`.

    Used like a function; a generator would take three times as long, for each request.
    """

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = _state.forbidden
        _state.forbidden = True

    def __exit__(self, *error: object) -> None:
        _state.forbidden = self._before


def before_waiting() -> None:
    """Say that the caller is about to wait.

    Raises WouldBlock: this thread is inside :func:`no_waiting`.
    """
    if _state.forbidden:
        raise WouldBlock
