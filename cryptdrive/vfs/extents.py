"""A file's extents in the map: finding, cutting and removing them.

Everything here runs under the drive's lock. Extents of one file never overlap.
"""

from typing import Protocol

from cryptdrive.errors import Integrity
from cryptdrive.local.working_map import WorkingMap
from cryptdrive.schema.inode import FILE_BYTES_MAX, Inode
from cryptdrive.schema.keys import extent_end, extent_key, extent_offset
from cryptdrive.schema.records import Extent, decode_extent
from cryptdrive.types import InodeNumber
from cryptdrive.vfs.live import LiveFile

SCAN_PIECE = 256


class RecordChanges(Protocol):
    """Where changed records go: a transaction, or a memtable."""

    def put(self, key: bytes, value: bytes) -> None: ...

    def delete(self, key: bytes) -> None: ...


def extents_between(source: WorkingMap, inode: InodeNumber, start: int, stop: int) -> list[Extent]:
    """All extents that hold any byte of ``[start, stop)``, in order.

    Raises NodeMissing; Integrity for extents that overlap, which no honest device writes.
    """
    found: list[Extent] = []
    before = extent_before(source, inode, start)
    if before is not None and before.end > start:
        found.append(before)
    position, end_key = start, extent_end(inode) if stop > FILE_BYTES_MAX else extent_key(inode, stop)
    while True:
        records = source.scan(extent_key(inode, position), end_key, SCAN_PIECE)
        found += [decode_extent(extent_offset(key), value) for key, value in records]
        if len(records) < SCAN_PIECE:
            _check_order(found)
            return found
        position = found[-1].offset + 1


def _check_order(extents: list[Extent]) -> None:
    """Raises Integrity unless each ends before the next begins, and the last within a file's limits."""
    end = 0
    for extent in extents:
        if extent.offset < end:
            raise Integrity("two extents of a file overlap")
        end = extent.end
    if end > FILE_BYTES_MAX:
        raise Integrity("an extent reaches beyond the largest file")


def extent_before(source: WorkingMap, inode: InodeNumber, offset: int) -> Extent | None:
    """The last extent that starts below ``offset``. Raises NodeMissing."""
    if not offset:
        return None
    records = source.scan_back(extent_key(inode, 0), extent_key(inode, offset), 1)
    if not records:
        return None
    key, value = records[0]
    return decode_extent(extent_offset(key), value)


def extents_under(source: WorkingMap, live: LiveFile, inode: Inode, start: int, stop: int) -> list[Extent]:
    """The extents that hold any of the bytes that new ones take the place of.

    Raises NodeMissing, Integrity.
    """
    if live.extents_end is None:
        last = extent_before(source, live.inode, FILE_BYTES_MAX) if inode.allocated else None
        live.extents_end = last.end if last is not None else 0
    return extents_between(source, live.inode, start, stop) if start < live.extents_end else []


def punch(
    changes: RecordChanges, old: list[Extent], inode: InodeNumber, start: int, stop: int
) -> list[Extent]:
    """Remove the bytes ``[start, stop)`` from the extents ``old`` that hold any of them.

    Returns what is kept of them, already put among the changes.
    """
    kept = []
    for extent in old:
        if extent.offset < start:
            kept.append(extent.cut(extent.offset, start))
        else:
            changes.delete(extent_key(inode, extent.offset))
        if extent.end > stop:
            kept.append(extent.cut(stop, extent.end))
    return kept


def total_length(extents: list[Extent]) -> int:
    return sum(extent.length for extent in extents)
