"""The file system's shared state, and the transactions that change it."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from cryptdrive.clock import Clock
from cryptdrive.errors import NotADirectory, NotFound, ReadOnly, Stale
from cryptdrive.local.working_map import WorkingMap
from cryptdrive.objects.cache import GenerationCache
from cryptdrive.schema.counters import Counters
from cryptdrive.schema.inode import Inode, decode_inode, encode_inode, new_inode
from cryptdrive.schema.keys import dirent_key, inode_key
from cryptdrive.schema.records import Usage, decode_dirent
from cryptdrive.tree.source import NodeMissing
from cryptdrive.types import InodeNumber
from cryptdrive.vfs.buffers import WriteBuffer
from cryptdrive.vfs.live import LiveFile
from cryptdrive.vfs.values import Attr, Caller, Event, EventKind
from cryptdrive.waiting import before_waiting

T = TypeVar("T")
_log = logging.getLogger(__name__)

SYNCED_MAX = 1 << 16
# What a cached inode takes in memory, about.
INODE_CACHE_ENTRY_BYTES = 600


class SealingInProgress(Exception):
    """An operation wants to change the extents of a file whose bytes are being sealed: wait, then again."""


class Transaction:
    """One operation's reads and changes. Used under the drive's lock; applied as a whole at its end."""

    __slots__ = ("_inodes", "changes", "core", "edited", "events", "now_ns", "origin", "usage")

    def __init__(self, core: "Core", caller: Caller | None) -> None:
        self.core = core
        self.origin = caller.origin if caller is not None else ""
        self.changes: dict[bytes, bytes | None] = {}
        self.edited: dict[InodeNumber, Inode | None] = {}
        self.events: list[Event] = []
        self.now_ns = core.clock.now_ns()
        self.usage = [0, 0]
        """By how much the totals (allocated bytes, inodes) change."""

    def get(self, key: bytes) -> bytes | None:
        changes = self.changes
        if key in changes:
            return changes[key]
        return self.core.map.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self.changes[key] = value

    def delete(self, key: bytes) -> None:
        self.changes[key] = None

    def inode(self, number: InodeNumber) -> Inode:
        """An inode as the transaction has it; only to be read. Raises Stale."""
        if number in self.edited:
            found = self.edited[number]
            if found is None:
                raise Stale("the inode is gone")
            return found
        return self.core.inode(number)

    def directory(self, number: InodeNumber) -> Inode:
        """Raises NotADirectory, Stale."""
        found = self.inode(number)
        if not found.is_directory:
            raise NotADirectory("not a directory")
        return found

    def edit(self, number: InodeNumber) -> Inode:
        """An inode to be changed, with a new change number. Raises Stale."""
        found = self.edited.get(number)
        if found is None:
            found = self.inode(number).copy()
            found.change = max(self.core.counters.change(), found.change + 1)
            self.edited[number] = found
        return found

    def touch(self, number: InodeNumber) -> Inode:
        """:meth:`edit` for a change of attributes: ctime is now."""
        found = self.edit(number)
        found.ctime_ns = self.now_ns
        return found

    def touch_content(self, number: InodeNumber) -> Inode:
        """:meth:`edit` for a change of content (of a directory: its entries): mtime and ctime are now."""
        found = self.edit(number)
        found.mtime_ns = found.ctime_ns = self.now_ns
        return found

    def new_inode(self, mode: int, caller: Caller) -> Inode:
        counters = self.core.counters
        found = new_inode(counters.inode(), mode, caller.uid, caller.gid, self.now_ns, counters.change())
        self.edited[found.number] = found
        self.usage[1] += 1
        return found

    def forget_inode(self, number: InodeNumber) -> None:
        """The inode's record goes."""
        self.usage[1] -= 1
        self.edited[number] = None

    def child(self, directory: InodeNumber, name: bytes) -> InodeNumber | None:
        """What ``name`` stands for; ``directory`` is known to be one."""
        value = self.get(dirent_key(directory, name))
        return None if value is None else decode_dirent(value).inode

    def existing_child(self, directory: InodeNumber, name: bytes) -> InodeNumber:
        """Raises NotFound."""
        found = self.child(directory, name)
        if found is None:
            raise NotFound("no such file or directory")
        return found

    def event(self, kind: EventKind, inode: InodeNumber, name: bytes = b"") -> None:
        self.events.append(Event(kind, inode, name, self.origin))

    def commit(self) -> None:
        """Apply everything, or nothing. Raises Integrity for records that were wrong before already."""
        core = self.core
        changes = self.changes
        for number, inode in self.edited.items():
            changes[inode_key(number)] = None if inode is None else encode_inode(inode)
        cache = core.inode_cache
        for number, inode in self.edited.items():
            if inode is None:
                cache.discard(number)
            else:
                cache.put(number, inode, INODE_CACHE_ENTRY_BYTES)
        if changes:
            core.map.apply(changes)
            core.usage = Usage(core.usage.allocated + self.usage[0], core.usage.inodes + self.usage[1])


class Core:
    """What all parts of the file system share."""

    def __init__(
        self,
        working_map: WorkingMap,
        clock: Clock,
        counters: Counters,
        usage: Usage,
        *,
        read_only: bool,
        inode_cache_mib: int = 32,
    ) -> None:
        self.map = working_map
        self.clock = clock
        self.counters = counters
        self.usage = usage
        self.cut_usage = usage
        """The totals as of the group that was cut last."""
        self.read_only = read_only
        self.inode_cache: GenerationCache[InodeNumber, Inode] = GenerationCache(inode_cache_mib << 20)
        self.live: dict[InodeNumber, LiveFile] = {}
        self.unsealed: dict[InodeNumber, LiveFile] = {}
        """The files among them with bytes in their buffers, the one that has waited longest first."""
        self.kernel_references: dict[InodeNumber, int] = {}
        self.purges: deque[InodeNumber] = deque()
        """Inodes without a name that nothing uses any more: their records are to be removed."""
        self.orphans: set[InodeNumber] = set()
        """Inodes that lost their last name while this drive runs, and are not removed yet."""
        self.synced: set[InodeNumber] = set()
        self.synced_before: set[InodeNumber] = set()
        """Files that were fsynced since the last publication began, and since the one before."""
        self.access_times: dict[InodeNumber, int] = {}
        self.sealed = threading.Condition(self.map.lock)
        """Notified whenever the bytes of files have been sealed."""
        self.finish_sealing: Callable[[], None] = lambda: None
        """Waits for whoever seals now, and finishes what was begun and failed; the sealer sets it."""
        self.unsealed_bytes = 0
        self.admit: Callable[[int], None] = lambda byte_count: None
        """Called before that many bytes are taken, or anything is made; may wait, or raise NoSpace."""
        self._admitted_thread = 0
        """Who is inside :meth:`sealing`."""
        self.seal_lock = threading.Lock()
        """Held by whoever seals; the sealer sets it."""
        self.first_change: float | None = None
        """When the oldest change was made that is not in a publication (monotonic seconds)."""
        self.first_unsaved: float | None = None
        """The same of changes that are not saved on this machine."""
        self.last_change = 0.0
        self._subscribers: tuple[Callable[[Event], None], ...] = ()

    # --- running operations ------------------------------------------------------------

    def read(self, operation: Callable[[], T]) -> T:
        """Run an operation that only reads, under the drive's lock."""
        return self.map.run(operation)

    def transact(
        self,
        operation: Callable[[Transaction], T],
        caller: Caller | None = None,
        *,
        internal: bool = False,
        byte_count: int = 0,
        frees: bool = False,
    ) -> T:
        """Run an operation that changes; all of its changes are applied at its end, or none.

        It runs under the drive's lock, and again from its start when it lacked a node or a file
        was being sealed: side effects outside of the transaction come last in it. An ``internal``
        one is housekeeping, which does not put off a publication. ``byte_count`` is what it takes of
        file data; one that ``frees`` is let in however full this machine is.

        Raises ReadOnly, NoSpace, what the operation raises, and what keeps a file from being sealed.
        """
        if self.read_only:
            raise ReadOnly("the drive is mounted read-only")
        if not (internal or frees or self._admitted_thread == threading.get_ident()):
            self.admit(byte_count)
        while True:
            with self.map.lock:
                transaction = Transaction(self, caller)
                try:
                    result = operation(transaction)
                    transaction.commit()
                    if not internal:
                        self.last_change = self.clock.monotonic()
                        if self.first_unsaved is None:
                            self.first_unsaved = self.last_change
                            if self.first_change is None:
                                self.first_change = self.last_change
                    break
                except NodeMissing as missing:
                    wanted = missing.ref
                except SealingInProgress:
                    before_waiting()
                    wanted = None
            if wanted is None:
                self.finish_sealing()
            else:
                self.map.fetch(wanted)
        if transaction.events:
            self.emit(transaction.events)
        return result

    @contextmanager
    def sealing(self, byte_count: int) -> Iterator[None]:
        """For operations that seal a blob of their own: it and what names it come into one group.

        Room is waited for here and not in the transactions inside: whoever makes room needs the lock.
        Raises ReadOnly, NoSpace.
        """
        if self.read_only:
            raise ReadOnly("the drive is mounted read-only")
        before_waiting()
        self.admit(byte_count)
        with self.seal_lock:
            self._admitted_thread = threading.get_ident()
            try:
                yield
            finally:
                self._admitted_thread = 0

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """See :meth:`cryptdrive.vfs.filesystem.FileSystem.subscribe`."""
        self._subscribers += (callback,)

        def unsubscribe() -> None:
            self._subscribers = tuple(each for each in self._subscribers if each is not callback)

        return unsubscribe

    def emit(self, events: list[Event]) -> None:
        for callback in self._subscribers:
            for event in events:
                try:
                    callback(event)
                except Exception:  # noqa: BLE001 - a front end must not fail another one's operation
                    _log.exception("a subscriber failed")

    def note_sync(self, number: InodeNumber) -> None:
        """A file was fsynced; what was long before counts as long ago."""
        self.synced.add(number)
        if len(self.synced) > SYNCED_MAX:
            self.synced_before, self.synced = self.synced, set()

    def was_synced(self, parent: InodeNumber, name: bytes) -> bool:
        """Whether a name is a file's that was fsynced shortly before."""
        if not self.synced and not self.synced_before:
            return False
        number = self.read(lambda: self.child(parent, name))
        return number in self.synced or number in self.synced_before

    # --- under the drive's lock --------------------------------------------------------

    def inode(self, number: InodeNumber) -> Inode:
        """An inode's record; only to be read. Raises Stale, NodeMissing."""
        found = self.inode_cache.get(number)
        if found is None:
            value = self.map.get(inode_key(number))
            if value is None:
                raise Stale("the inode is not known any more")
            found = decode_inode(number, value)
            self.remember(found)
        return found

    def child(self, directory: InodeNumber, name: bytes) -> InodeNumber | None:
        """What ``name`` stands for in a directory; None if it is free. Raises NodeMissing."""
        value = self.map.get(dirent_key(directory, name))
        return None if value is None else decode_dirent(value).inode

    def remember(self, inode: Inode) -> None:
        """Let an inode's newest record be found without decoding it again."""
        self.inode_cache.put(inode.number, inode, INODE_CACHE_ENTRY_BYTES)

    def attr(self, inode: Inode) -> Attr:
        """What ``stat`` shows of an inode."""
        found = inode.attr
        if found.__class__ is Attr:
            return found
        live = self.live.get(inode.number)
        unsealed = live.unsealed_bytes if live is not None else 0
        attr = Attr(
            inode.number, inode.mode, inode.uid, inode.gid, inode.nlink, inode.size,
            inode.allocated + unsealed, inode.rdev,
            self.access_times.get(inode.number, inode.atime_ns),
            inode.mtime_ns, inode.ctime_ns, inode.btime_ns, inode.change,
        )  # fmt: skip
        inode.attr = attr
        return attr

    def is_used(self, number: InodeNumber) -> bool:
        """Whether a handle or the kernel still refers to an inode."""
        live = self.live.get(number)
        return number in self.kernel_references or (live is not None and live.handles > 0)

    def buffer_write(self, live: LiveFile, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Take bytes into a file's buffer."""
        buffer = live.buffer
        before = buffer.byte_count
        buffer.write(offset, data)
        self.unsealed_bytes += buffer.byte_count - before
        if not before:
            self.unsealed[live.inode] = live

    def buffer_truncate(self, live: LiveFile, size: int) -> None:
        """Forget a buffer's bytes from ``size`` on."""
        buffer = live.buffer
        before = buffer.byte_count
        buffer.truncate(size)
        self.unsealed_bytes -= before - buffer.byte_count
        if not buffer:
            self.unsealed.pop(live.inode, None)
        if live.is_idle:
            self.live.pop(live.inode, None)

    def take_buffer(self, live: LiveFile) -> None:
        """Set a file's buffer aside to be sealed."""
        live.sealing, live.buffer = live.buffer, WriteBuffer()
        self.unsealed.pop(live.inode, None)

    def take_full_runs(self, live: LiveFile) -> None:
        """Set aside what will not grow any more, so that a file written in one go becomes large blobs."""
        live.sealing = live.buffer.take_full()
        if not live.buffer:
            self.unsealed.pop(live.inode, None)

    def live_file(self, number: InodeNumber) -> LiveFile:
        live = self.live.get(number)
        if live is None:
            live = self.live[number] = LiveFile(number)
        return live
