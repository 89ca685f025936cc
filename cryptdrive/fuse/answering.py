"""Runs one call of the file system for one request of the kernel.

pyfuse3's handlers may raise ``FUSEError`` and nothing else: any other exception ends the mount. So
every handler is decorated with :func:`handler`, which translates. The call itself is made by
:class:`Answerer`: in the event loop if it can be answered from memory, in a worker thread if it
must wait.
"""

import errno
import functools
import logging
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

import pyfuse3
import trio

from cryptdrive.errors import CryptdriveError, FileError
from cryptdrive.fuse.errors import errno_of
from cryptdrive.fuse.syncing import GroupSync
from cryptdrive.waiting import WouldBlock, no_waiting

logger = logging.getLogger(__name__)

WAITING_CALLS_MAX = 64
"""Calls that wait at the same time; more of them queue, while what needs no waiting goes on."""

Parameters = ParamSpec("Parameters")
Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


def handler(
    method: Callable[Parameters, Coroutine[Any, Any, Result]],
) -> Callable[Parameters, Coroutine[Any, Any, Result]]:
    """``method`` as a handler of pyfuse3's: it raises FUSEError and nothing else."""

    @functools.wraps(method)
    async def guarded(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
        try:
            return await method(*arguments, **keywords)
        except pyfuse3.FUSEError:
            raise
        except Exception as error:  # noqa: BLE001 - anything that got out would end the mount
            raise pyfuse3.FUSEError(_errno_for(method.__name__, error)) from None

    return guarded


def _errno_for(request: str, error: Exception) -> int:
    """The answer to the kernel for ``error``; what a program cannot have caused is logged."""
    if isinstance(error, CryptdriveError):
        if not isinstance(error, FileError):
            logger.warning("%s failed: %s", request, type(error).__name__)
        return errno_of(error)
    # Neither the message nor the values: they may hold names. The lines of code do not.
    lines = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s failed unexpectedly: %s\n%s", request, type(error).__name__, lines)
    return errno.EIO


class Answerer:
    """Makes calls of the file system for the event loop."""

    def __init__(self, syncs: GroupSync) -> None:
        self._syncs = syncs
        self._threads = trio.CapacityLimiter(WAITING_CALLS_MAX)

    async def answer(self, call: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """``call(*arguments)``, in place unless it would wait, and then in a thread.

        ``call`` may be run twice: it must raise WouldBlock before it has changed anything.
        """
        self._syncs.arrivals += 1
        try:
            with no_waiting():
                return call(*arguments)
        except WouldBlock:
            return await self.wait_for(call, *arguments)

    async def wait_for(self, call: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """``call(*arguments)`` in a thread at once, because it is known to wait."""
        return await trio.to_thread.run_sync(call, *arguments, limiter=self._threads)
