"""Reading, writing and truncating the bytes of files."""

import os
import stat
from collections.abc import Callable

from cryptdrive.errors import (
    BadHandle,
    Integrity,
    Invalid,
    IsADirectory,
    ReadOnly,
    StoreError,
    TooBig,
)
from cryptdrive.objects.reader import BlobReader
from cryptdrive.objects.ref import Ref
from cryptdrive.schema.inode import FILE_BYTES_MAX, Inode
from cryptdrive.schema.keys import extent_key
from cryptdrive.schema.records import Extent, encode_extent
from cryptdrive.types import HandleId, InodeNumber
from cryptdrive.vfs.core import Core, SealingInProgress, Transaction
from cryptdrive.vfs.extents import extents_between, extents_under, punch, total_length
from cryptdrive.vfs.live import FileHandle, HandleTable, LiveFile, access_of
from cryptdrive.vfs.values import Caller, EventKind
from cryptdrive.waiting import before_waiting

ACCESS_TIMES_MAX = 1 << 16
_DAY_NS = 24 * 3600 * 1_000_000_000
READ_BYTES_MAX = 64 * 1024 * 1024


class FileContent:
    """Open files and their bytes."""

    def __init__(
        self,
        core: Core,
        handles: HandleTable,
        reader: BlobReader,
        *,
        unsealed_bytes_max: int,
        sealing_starts_bytes: int,
        make_room: Callable[[], object],
    ) -> None:
        """``make_room`` seals something; it is called where ``unsealed_bytes_max`` is reached."""
        self._core = core
        self._handles = handles
        self._reader = reader
        self._unsealed_bytes_max = unsealed_bytes_max
        self._sealing_starts_bytes = sealing_starts_bytes
        self._make_room = make_room

    # --- handles -------------------------------------------------------------------------

    def open(self, number: InodeNumber, flags: int, caller: Caller) -> HandleId:
        """See open(2); O_CREAT and O_EXCL mean nothing here."""
        readable, writable, append = access_of(flags)
        core = self._core
        if (writable or flags & os.O_TRUNC) and core.read_only:
            raise ReadOnly("the drive is mounted read-only")
        if flags & os.O_TRUNC and writable:
            self.truncate(number, 0, caller)

        def operation() -> HandleId:
            inode = core.inode(number)
            if inode.is_directory:
                raise IsADirectory("is a directory")
            if not inode.is_regular:
                raise Invalid("only regular files are opened here")
            if readable and not flags & getattr(os, "O_NOATIME", 0):
                self.note_access(inode)
            return self.add_handle(number, readable, writable, append, caller)

        return core.read(operation)

    def add_handle(
        self, number: InodeNumber, readable: bool, writable: bool, append: bool, caller: Caller
    ) -> HandleId:
        """Under the drive's lock."""
        live = self._core.live_file(number)
        live.handles += 1
        handle = FileHandle(number, live, readable, writable, append, caller, live.failures)
        return self._handles.add(handle)

    def note_access(self, inode: Inode) -> None:
        """relatime, decided at open: only in memory, for reading alone must never publish anything.

        Under the drive's lock.
        """
        core = self._core
        if core.read_only:
            return
        atime_ns = core.access_times.get(inode.number, inode.atime_ns)
        now_ns = core.clock.now_ns()
        if atime_ns <= inode.mtime_ns or atime_ns <= inode.ctime_ns or now_ns - atime_ns > _DAY_NS:
            if len(core.access_times) >= ACCESS_TIMES_MAX:
                core.access_times.pop(next(iter(core.access_times)))
            core.access_times[inode.number] = now_ns
            inode.attr = None

    def close_file(self, handle: FileHandle) -> None:
        """The handle is gone from the table; its file may go too."""
        core = self._core
        with core.map.lock:
            live = handle.live
            live.handles -= 1
            if live.is_idle:
                core.live.pop(live.inode, None)

    def take_error(self, handle: FileHandle) -> None:
        """Raise what went wrong when the file's bytes were saved, once for each handle."""
        live = handle.live
        if handle.failures_told != live.failures:
            handle.failures_told = live.failures
            if live.error is not None:
                raise live.error

    # --- reading -------------------------------------------------------------------------

    def read(self, handle: HandleId, offset: int, size: int) -> bytes:
        """Short only at the end of the file."""
        found = self._handles.file(handle)
        if not found.readable:
            raise BadHandle("the file is not open for reading")
        if offset < 0 or size < 0:
            raise Invalid("offset and size are not negative")
        return self.read_inode(found.inode, offset, min(size, READ_BYTES_MAX))

    def read_inode(self, number: InodeNumber, offset: int, size: int) -> bytes:
        """The file's bytes ``[offset, offset + size)`` as of one moment."""
        try:
            return self._read_once(number, offset, size)
        except (Integrity, StoreError):
            # A pack that nothing names any more may have gone since its place was looked up.
            return self._read_once(number, offset, size)

    def _read_once(self, number: InodeNumber, offset: int, size: int) -> bytes:
        core = self._core

        def snapshot() -> tuple[int, list[Extent], list[tuple[int, bytearray]]]:
            inode = core.inode(number)
            end = min(offset + size, inode.size)
            if end <= offset:
                return offset, [], []
            extents = extents_between(core.map, number, offset, end) if inode.allocated else []
            live = core.live.get(number)
            return end, extents, _unsealed(live, offset, end) if live is not None else []

        end, extents, overlays = core.read(snapshot)
        if not overlays and len(extents) == 1:
            extent = extents[0]
            if extent.offset <= offset and extent.end >= end > offset:
                return self._read_extent(extent.cut(offset, end))
        result = bytearray(end - offset)
        for extent in extents:
            start, stop = max(extent.offset, offset), min(extent.end, end)
            result[start - offset : stop - offset] = self._read_extent(extent.cut(start, stop))
        for start, data in overlays:
            result[start - offset : start - offset + len(data)] = data
        return bytes(result)

    def _read_extent(self, extent: Extent) -> bytes:
        if extent.ref is None:
            return extent.inline
        return self._reader.read(Ref.decode(extent.ref), extent.blob_offset, extent.length)

    # --- writing -------------------------------------------------------------------------

    def write(self, handle: HandleId, offset: int, data: bytes | bytearray | memoryview) -> int:
        """Bytes written: all of them. In memory when it returns, not yet durable."""
        found = self._handles.file(handle)
        if not found.writable:
            raise BadHandle("the file is not open for writing")
        if offset < 0:
            raise Invalid("an offset is not negative")
        length = len(data)
        if not length:
            return 0
        core, live, number = self._core, found.live, found.inode
        if found.failures_told != live.failures:
            self.take_error(found)
        if core.unsealed_bytes + length > self._unsealed_bytes_max:
            self._wait_for_room(length)

        def operation(transaction: Transaction) -> None:
            inode = transaction.inode(number)
            position = inode.size if found.append else offset
            end = position + length
            if end > FILE_BYTES_MAX:
                raise TooBig("a file has at most 2^63 - 1 bytes")
            if inode.allocated and not live.buffer.overlaps(max(position - 1, 0), end):
                # Sealing will look there: whoever writes is to meet what is out of reach or damaged, and
                # not everybody whose changes are in the same group.
                extents_under(core.map, live, inode, position, end)
            inode = transaction.touch_content(number)
            if end > inode.size:
                inode.size = end
            if inode.mode & (stat.S_ISUID | stat.S_ISGID) and found.caller.uid:
                inode.mode = without_set_id(inode.mode)
            transaction.event(EventKind.CONTENT, number)
            core.buffer_write(live, position, data)

        core.transact(operation, found.caller, byte_count=length)
        return length

    def _wait_for_room(self, length: int) -> None:
        before_waiting()
        while self._core.unsealed_bytes + length > self._unsealed_bytes_max and self._core.unsealed_bytes:
            self._make_room()

    @property
    def wants_sealing(self) -> bool:
        """Whether enough is unsealed to start with it before the next publication."""
        return self._core.unsealed_bytes >= self._sealing_starts_bytes

    def truncate(self, number: InodeNumber, size: int, caller: Caller) -> None:
        """Set a file's size, on behalf of open(2)."""

        def operation(transaction: Transaction) -> None:
            self.set_size(transaction, number, size)
            if caller.uid:
                inode = transaction.edit(number)
                inode.mode = without_set_id(inode.mode)

        self._core.transact(operation, caller)

    def set_size(self, transaction: Transaction, number: InodeNumber, size: int) -> None:
        """Part of a transaction; the last of its reads.

        Raises IsADirectory, Invalid, TooBig, SealingInProgress.
        """
        core = self._core
        inode = transaction.inode(number)
        if inode.is_directory:
            raise IsADirectory("is a directory")
        if not inode.is_regular or size < 0:
            raise Invalid("only regular files have a size to set")
        if size > FILE_BYTES_MAX:
            raise TooBig("a file has at most 2^63 - 1 bytes")
        live = core.live.get(number)
        if size < inode.size:
            if live is not None and live.sealing is not None:
                raise SealingInProgress
            freed = self._cut_extents(transaction, inode, size)
            inode = transaction.edit(number)
            inode.allocated -= freed
            transaction.usage[0] -= freed
            if live is not None:
                live.extents_end = None
                core.buffer_truncate(live, size)
        inode = transaction.touch_content(number)
        inode.size = size
        transaction.event(EventKind.CONTENT, number)

    def _cut_extents(self, transaction: Transaction, inode: Inode, size: int) -> int:
        """Drop what lies beyond ``size``; returns how many bytes that frees."""
        if not inode.allocated:
            return 0
        number = inode.number
        old = extents_between(self._core.map, number, size, FILE_BYTES_MAX + 1)
        kept = punch(transaction, old, number, size, FILE_BYTES_MAX + 1)
        for each in kept:
            transaction.put(extent_key(number, each.offset), encode_extent(each))
        return total_length(old) - total_length(kept)


def without_set_id(mode: int) -> int:
    """``mode`` as it is after somebody without privileges changed the file (chown(2), write(2))."""
    mode &= ~stat.S_ISUID
    if mode & stat.S_IXGRP:
        mode &= ~stat.S_ISGID
    return mode


def _unsealed(live: LiveFile, offset: int, end: int) -> list[tuple[int, bytearray]]:
    """Copies of the file's unsealed bytes in ``[offset, end)``, older first; under the drive's lock."""
    found = []
    for buffer in (live.sealing, live.buffer):
        if buffer is not None and buffer.overlaps(offset, end):
            found += buffer.pieces(offset, end)
    return found
