"""One session with the kernel, from mount to unmount."""

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pyfuse3
import trio

from cryptdrive.errors import Busy, MountpointError
from cryptdrive.fuse.encoding import Presentation
from cryptdrive.fuse.invalidation import Invalidator
from cryptdrive.fuse.mountpoint import mounted_at, unmount
from cryptdrive.fuse.operations import Operations
from cryptdrive.fuse.options import MountOptions
from cryptdrive.fuse.references import KernelReferences
from cryptdrive.vfs.filesystem import FileSystem

logger = logging.getLogger(__name__)

READ_AHEAD_KIB = 1024
"""How much the kernel asks for in advance, in one request, when a file is read from front to back. Its
own 128 would be a hop to a thread each (330 MB/s against 745, measured)."""

IDLE_TASKS = 16
"""So many of pyfuse3's tasks stay when there is nothing for them: with its one, each request of several
programs would start a task, and end one."""

DETACHED_SECONDS_MAX = 5.0
"""How long programs that keep a stopped drive busy may go on with what they have open."""


class Session:
    """Mounts, answers requests, unmounts."""

    def __init__(self, fs: FileSystem, mountpoint: str, options: MountOptions) -> None:
        """``mountpoint`` is absolute and was checked."""
        self._fs = fs
        self._mountpoint = mountpoint
        self._options = options
        self._references = KernelReferences(fs)
        self._invalidator = Invalidator(pyfuse3)
        self._stop_wanted = False
        self._stop_event: trio.Event | None = None
        self._token: trio.lowlevel.TrioToken | None = None

    def run(self, ready: Callable[[], None]) -> None:
        """Mount and serve; returns when the file system is unmounted.

        Raises MountpointError: the mount was refused.
        """
        presentation = Presentation(self._options)
        old = self._invalidator.pages_may_be_old
        operations = Operations(self._fs, presentation, self._references, old)
        self._mount(operations)
        try:
            unsubscribe = self._fs.subscribe(self._invalidator.on_event)
            self._invalidator.start()
            try:
                trio.run(self._serve, ready)
            except BaseExceptionGroup as group:
                raise _first_cause(group) from None
            finally:
                unsubscribe()
                self._invalidator.stop()
        finally:
            # Also takes the mount away if an exception ended the loop.
            pyfuse3.close(unmount=True)
            self._references.give_all_back()

    def _mount(self, operations: Operations) -> None:
        with _standard_error_kept() as said:
            try:
                pyfuse3.init(operations, self._mountpoint, self._options.for_libfuse())
            except RuntimeError as error:
                reason = said() or str(error)
                raise MountpointError(f"{self._mountpoint} could not be mounted: {reason}") from None

    # --- in the event loop -----------------------------------------------------------

    async def _serve(self, ready: Callable[[], None]) -> None:
        self._stop_event = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        if self._stop_wanted:
            self._stop_event.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._announce, ready)
            nursery.start_soon(self._stop_when_asked, self._stop_event)
            await pyfuse3.main(min_tasks=IDLE_TASKS)
            nursery.cancel_scope.cancel()

    async def _announce(self, ready: Callable[[], None]) -> None:
        """Say that the mount works, once the kernel and the loop below have talked to each other."""
        try:
            await trio.to_thread.run_sync(os.statvfs, self._mountpoint, abandon_on_cancel=True)
            await trio.to_thread.run_sync(_widen_read_ahead, self._mountpoint, abandon_on_cancel=True)
        except OSError as error:
            raise MountpointError(f"{self._mountpoint} does not answer: {error.strerror}") from None
        ready()

    async def _stop_when_asked(self, asked: trio.Event) -> None:
        await asked.wait()
        # In a thread: what the kernel writes while it unmounts is answered by this loop.
        await trio.to_thread.run_sync(self._unmount)
        # Once the last file is closed the loop ends by itself and this task is cancelled.
        await trio.sleep(DETACHED_SECONDS_MAX)
        await trio.to_thread.run_sync(self._invalidator.stop)
        pyfuse3.terminate()

    def _unmount(self) -> None:
        """Take the mount out of the tree; in a busy one the dirty pages are written first."""
        try:
            unmount(self._mountpoint)
        except Busy as error:
            logger.warning("stopping although %s", error)
            with suppress(OSError):  # whose page it was will hear of it
                pyfuse3.syncfs(self._mountpoint)
            unmount(self._mountpoint, lazy=True)
        except MountpointError:
            if mounted_at(self._mountpoint) is not None:
                raise

    # --- from anywhere ---------------------------------------------------------------

    def stop(self) -> None:
        """Ask for the end; returns at once. From any thread or signal handler."""
        self._stop_wanted = True
        token, event = self._token, self._stop_event
        if token is not None and event is not None:
            with suppress(trio.RunFinishedError):  # it has ended already
                token.run_sync_soon(event.set)


def _widen_read_ahead(mountpoint: str) -> None:
    """Tell the kernel to ask for more at once; only root may, for others it stays as it is."""
    device = os.stat(mountpoint).st_dev
    with (
        suppress(OSError),
        open(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb", "w") as file,
    ):
        file.write(str(READ_AHEAD_KIB))


def _first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What ended the loop; whatever else was raised came from ending it."""
    first = group.exceptions[0]
    return _first_cause(first) if isinstance(first, BaseExceptionGroup) else first


@contextmanager
def _standard_error_kept() -> Iterator[Callable[[], str]]:
    """Keeps what is written to standard error: libfuse says only there why a mount was refused.

    The function that is given tells what was written so far.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)

        def said() -> str:
            kept.seek(0)
            return " ".join(kept.read().decode(errors="replace").split())

        try:
            yield said
        finally:
            os.dup2(saved, 2)
            os.close(saved)
