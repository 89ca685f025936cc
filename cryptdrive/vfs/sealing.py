"""From written bytes to sealed blobs and extents."""

from collections.abc import Callable

from cryptdrive.crypto.sealing import BLOB_BYTES_MAX
from cryptdrive.errors import Integrity, StoreError
from cryptdrive.local.packing import PackAppender
from cryptdrive.local.saving import ChangeSaver
from cryptdrive.objects.pack import Role
from cryptdrive.objects.reader import BlobReader
from cryptdrive.objects.ref import Ref
from cryptdrive.schema.inode import Inode, decode_inode, encode_inode
from cryptdrive.schema.keys import extent_key, inode_key
from cryptdrive.schema.records import EXTENT_INLINE_MAX, Extent, Usage, encode_extent
from cryptdrive.tree.memtable import MISSING, Memtable
from cryptdrive.types import InodeNumber
from cryptdrive.vfs.core import Core, Transaction
from cryptdrive.vfs.extents import extent_before, extents_under, punch, total_length
from cryptdrive.vfs.live import LiveFile

# A run that goes on where a shorter extent than this ends is sealed together with it, so that a
# file written in small pieces does not end as a heap of them; what is sealed again is at most this.
TAIL_BYTES_MAX = 16 * 1024
TAIL_RUN_BYTES_MAX = 4 * 1024
"""A run of that length is long enough to stand alone: to read and seal once more would cost an fsync more
than the disk does."""
_FILES_AT_ONCE = 256


class ContentSealer:
    """Seals the bytes that files have taken.

    Either early, one file at a time while it goes on being written; or all files at once as of
    the moment that a group is cut. Both under the saver's ``seal_lock``.
    """

    def __init__(self, core: Core, saver: ChangeSaver, appender: PackAppender, reader: BlobReader) -> None:
        self._core = core
        self._saver = saver
        self._appender = appender
        self._reader = reader
        self._cut: list[LiveFile] = []
        self._early: list[LiveFile] = []
        """What is being sealed; after a failure, what is to be sealed first the next time."""
        core.finish_sealing = self.finish
        core.seal_lock = saver.seal_lock

    # --- UnsealedContents, for the saver -------------------------------------------------

    def cut(self) -> None:
        """Set all unsealed bytes aside; under the drive's lock and the seal lock."""
        core = self._core
        self._save_access_times()
        self._cut = list(core.unsealed.values())
        for live in self._cut:
            core.take_buffer(live)
        core.cut_usage = core.usage
        core.first_unsaved = None

    def froze(self) -> None:
        """All that was cut so far is being published; under the drive's lock."""
        self._core.first_change = self._core.first_unsaved
        self._core.synced_before, self._core.synced = self._core.synced, set()

    def _save_access_times(self) -> None:
        """Access times are kept in memory until something else is published."""
        core = self._core
        for number, atime_ns in core.access_times.items():
            value = core.map.active.get(inode_key(number))
            if value is not MISSING and value is not None:
                inode = decode_inode(number, value)
                inode.atime_ns = atime_ns
                core.remember(inode)
                core.map.active.put(inode_key(number), encode_inode(inode))
        core.access_times.clear()

    def seal_cut(self, group: Memtable) -> None:
        """Seal what was set aside, and record it in the group; under the seal lock."""
        self._drain(self._cut, lambda live, extent: self._record_cut(group, live, extent))

    def finish_early(self) -> None:
        """Finish what an early sealing began and did not end; under the seal lock."""
        self._drain(self._early, self._record_active)

    def finish(self) -> None:
        """Return when nothing is being sealed any more; what an earlier failure left is tried again.

        Raises what makes it fail once more.
        """
        with self._saver.seal_lock:
            self.finish_early()
            group = self._core.map.cut
            if group is not None:
                self.seal_cut(group)

    def _drain(self, files: list[LiveFile], record: Callable[[LiveFile, Extent], None]) -> None:
        while files:
            self._seal(files[-1], record)
            files.pop()

    # --- early sealing -------------------------------------------------------------------

    def seal_file(self, live: LiveFile) -> None:
        """Seal what one file has in memory."""
        core = self._core
        with self._saver.seal_lock:
            self.finish_early()
            with core.map.lock:
                if live.sealing is None and live.buffer:
                    core.take_buffer(live)
                    self._early.append(live)
            self.finish_early()

    def seal_oldest(self) -> bool:
        """Seal what has waited longest, about a blob's worth; False if there is nothing."""
        core = self._core
        with self._saver.seal_lock:
            self.finish_early()
            with core.map.lock:
                byte_count = 0
                for live in core.unsealed.values():
                    if live.sealing is not None:
                        continue
                    self._early.append(live)
                    byte_count += live.buffer.byte_count
                    if byte_count >= BLOB_BYTES_MAX or len(self._early) >= _FILES_AT_ONCE:
                        break
                for live in self._early:
                    core.take_full_runs(live)
            found = bool(self._early)
            self.finish_early()
        return found

    def make_room(self) -> None:
        """Seal something, or wait a moment for whoever does."""
        core = self._core
        if not self.seal_oldest():
            with core.sealed:
                core.sealed.wait(0.05)

    def note_failure(self, error: Exception) -> None:
        """All files with bytes or changes that are not saved: those who have them open are to be told."""
        core = self._core
        with core.map.lock:
            concerned = {live.inode: live for live in (*core.unsealed.values(), *self._cut, *self._early)}
            for layer in (core.map.active, core.map.cut):
                if layer is None:
                    continue
                for number, live in core.live.items():
                    if layer.get(inode_key(number)) is not MISSING:
                        concerned[number] = live
            for live in concerned.values():
                live.error = error
                live.failures += 1

    # --- both ----------------------------------------------------------------------------

    def _seal(self, live: LiveFile, record: Callable[[LiveFile, Extent], None]) -> None:
        sealing = live.sealing
        if sealing is None:
            return
        # Each run is recorded by itself, so that the next sees what it cut. A second try after a
        # failure records the same again; until all are, readers take the bytes from ``sealing``.
        for offset, run in sealing.runs():
            start, data = self._with_tail(live.inode, offset, run)
            record(live, self._seal_run(live.inode, start, data))
        core = self._core
        with core.map.lock:
            core.unsealed_bytes -= sealing.byte_count
            live.sealing = None
            if live.is_idle:
                core.live.pop(live.inode, None)
            inode = core.inode_cache.get(live.inode)
            if inode is not None:
                inode.attr = None
            core.sealed.notify_all()

    def _seal_run(self, inode: InodeNumber, offset: int, data: bytes | bytearray) -> Extent:
        if len(data) <= EXTENT_INLINE_MAX:
            return Extent(offset, len(data), None, 0, bytes(data))
        ref = self._appender.add(data, Role.FILE_DATA, inode, offset)
        return Extent(offset, len(data), ref.encode(), 0, b"")

    def _with_tail(self, inode: InodeNumber, offset: int, run: bytearray) -> tuple[int, bytes | bytearray]:
        """A short run together with the short extent that ends where it starts."""
        if not offset or len(run) >= TAIL_RUN_BYTES_MAX:
            return offset, run
        try:
            before = self._core.read(lambda: extent_before(self._core.map, inode, offset))
            if before is None or before.end != offset or before.length >= TAIL_BYTES_MAX:
                return offset, run
            head = before.inline
            if before.ref is not None:
                head = self._reader.read(Ref.decode(before.ref), before.blob_offset, before.length)
        except (StoreError, Integrity):
            # What lies before may be out of reach or damaged: no reason not to save what is new.
            return offset, run
        return before.offset, head + run

    def _record_active(self, live: LiveFile, extent: Extent) -> None:
        """Put a new extent among the current changes."""

        def operation(transaction: Transaction) -> None:
            # Not a change that a user would see: neither times nor the change number move.
            edited = transaction.inode(live.inode).copy()
            growth = self._replace(transaction, live, edited, extent)
            edited.allocated += growth
            transaction.edited[live.inode] = edited
            transaction.usage[0] += growth

        self._core.transact(operation, internal=True)

    def _record_cut(self, group: Memtable, live: LiveFile, extent: Extent) -> None:
        """Put a new extent into the group that was cut.

        Nothing newer can have changed the file's extents, for such operations wait while
        ``sealing`` is set. Its attributes may have changed since: then both records take over the
        new allocation.
        """
        core, number = self._core, live.inode
        key = inode_key(number)

        def operation() -> None:
            value = group.get(key)
            if value is MISSING or value is None:
                return
            newest = inode = decode_inode(number, value)
            growth = self._replace(group, live, inode, extent)
            inode.allocated += growth
            group.put(key, encode_inode(inode))
            core.cut_usage = Usage(core.cut_usage.allocated + growth, core.cut_usage.inodes)
            newer = core.map.active.get(key)
            if newer is None:
                return
            if newer is not MISSING:
                newest = decode_inode(number, newer)
                newest.allocated += growth
                core.map.active.put(key, encode_inode(newest))
            core.remember(newest)
            core.usage = Usage(core.usage.allocated + growth, core.usage.inodes)

        core.read(operation)

    def _replace(self, changes: Transaction | Memtable, live: LiveFile, inode: Inode, extent: Extent) -> int:
        """Put ``extent`` in the place of what was there; returns by how many bytes the file grew."""
        number = live.inode
        # Reading comes first: a missing node starts the operation again.
        old = extents_under(self._core.map, live, inode, extent.offset, extent.end)
        kept = punch(changes, old, number, extent.offset, extent.end)
        for each in (*kept, extent):
            changes.put(extent_key(number, each.offset), encode_extent(each))
        live.extents_end = max(live.extents_end or 0, extent.end)
        return extent.length + total_length(kept) - total_length(old)
