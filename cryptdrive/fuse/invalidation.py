"""Tells the kernel what it has to forget because somebody else than the kernel changed it.

The kernel keeps names, attributes and pages for minutes. What goes through the mount it keeps up to
date itself: link, unlink and rename take the attributes they touch out of its cache (fs/fuse/dir.c:
``fuse_dir_changed``, ``fuse_entry_unlinked``, ``fuse_update_ctime``). What came another way, by WebDAV
or from another device, is told to it here, by a thread of its own: the kernel may let an
invalidation wait for a request in progress, so a handler that waited for it would wait for itself.
"""

import errno
import logging
import threading
from dataclasses import dataclass
from typing import Protocol

from cryptdrive.types import InodeNumber
from cryptdrive.vfs.values import Event, EventKind

logger = logging.getLogger(__name__)

PENDING_INVALIDATIONS_MAX = 65536
"""What may wait to be told; whoever changes more than that waits until the kernel has caught up."""

STOP_SECONDS_MAX = 5.0

UNKNOWN_TO_KERNEL = (errno.ENOENT, errno.ESTALE)
CONNECTION_GONE = (errno.ENODEV, errno.ENOTCONN, errno.EBADF, errno.EINVAL, errno.ECONNABORTED)


class KernelCache(Protocol):
    """The part of pyfuse3 that is needed here."""

    def invalidate_inode(self, inode: int, attr_only: bool = False) -> None:
        """Forget the attributes of ``inode`` and, unless ``attr_only``, its pages."""

    def invalidate_entry(self, inode_p: int, name: bytes) -> None:
        """Forget what ``name`` means in the directory ``inode_p``."""


@dataclass(frozen=True, slots=True)
class _Attributes:
    inode: InodeNumber


@dataclass(frozen=True, slots=True)
class _Pages:
    inode: InodeNumber


@dataclass(frozen=True, slots=True)
class _Entry:
    directory: InodeNumber
    name: bytes


_Forget = _Attributes | _Pages | _Entry


def _what_to_forget(event: Event) -> tuple[_Forget, ...]:
    match event.kind:
        case EventKind.ATTRIBUTES:
            return (_Attributes(event.inode),)
        case EventKind.CONTENT:
            return (_Pages(event.inode),)
        case EventKind.ENTRY:
            # The directory's own times changed too; the kernel forgets them with the name only if
            # it knew the name.
            return (_Entry(event.inode, event.name), _Attributes(event.inode))
        case _:
            return ()


class Invalidator:
    """Takes events of the file system and passes them on to the kernel, each once while it waits."""

    def __init__(self, kernel: KernelCache, own_origin: str = "fuse") -> None:
        self._kernel = kernel
        self._own_origin = own_origin
        self._changed = threading.Condition()
        self._pending: dict[_Forget, None] = {}
        self._current: _Forget | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="fuse-invalidation", daemon=True)

    def start(self) -> None:
        """Begin to pass on."""
        self._thread.start()

    def stop(self) -> None:
        """Pass on what is waiting, and end; called before the session with the kernel is closed.

        Gives up after a few seconds: once the file system is unmounted nothing needs telling.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS_MAX)
            if self._thread.is_alive():
                logger.warning("the kernel did not take all invalidations before the end")

    def on_event(self, event: Event) -> None:
        """A change was made. Waits if the kernel is far behind, so never called with locks held."""
        if event.origin == self._own_origin:
            return
        wanted = _what_to_forget(event)
        if not wanted:
            return
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._has_room())
            if not self._stopping:
                self._pending.update(dict.fromkeys(wanted))
                self._changed.notify_all()

    def _has_room(self) -> bool:
        return len(self._pending) < PENDING_INVALIDATIONS_MAX

    def pages_may_be_old(self, inode: InodeNumber) -> bool:
        """Whether the kernel has still to be told that the content of ``inode`` changed."""
        wanted = _Pages(inode)
        with self._changed:
            return wanted in self._pending or self._current == wanted

    def wait_until_told(self, seconds_max: float) -> bool:
        """Wait until nothing is pending; whether that was reached in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._pending and self._current is None, timeout=seconds_max
            )

    # --- the thread ------------------------------------------------------------------

    def _run(self) -> None:
        while (wanted := self._next()) is not None:
            if not self._tell(wanted):
                break
        with self._changed:
            self._stopping = True
            self._pending.clear()
            self._current = None
            self._changed.notify_all()

    def _next(self) -> _Forget | None:
        """What the kernel is to be told next; None at the end."""
        with self._changed:
            self._current = None
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._stopping or bool(self._pending))
            if not self._pending:
                return None
            self._current = next(iter(self._pending))
            # Taken out before the kernel is told: a change from now on is told again.
            del self._pending[self._current]
            return self._current

    def _tell(self, wanted: _Forget) -> bool:
        """Tell the kernel; whether it still listens."""
        try:
            match wanted:
                case _Attributes(inode):
                    self._kernel.invalidate_inode(inode, attr_only=True)
                case _Pages(inode):
                    self._kernel.invalidate_inode(inode, attr_only=False)
                case _Entry(directory, name):
                    self._kernel.invalidate_entry(directory, name)
        except OSError as error:
            if error.errno in CONNECTION_GONE:
                logger.debug("the kernel takes no invalidations any more: errno %s", error.errno)
                return False
            if error.errno not in UNKNOWN_TO_KERNEL:
                logger.warning("the kernel refused an invalidation: errno %s", error.errno)
        return True
