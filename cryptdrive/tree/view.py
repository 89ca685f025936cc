"""Reading the tree with memtables laid over it, the newest first.

A tombstone hides the key in everything older. All of it raises what the source raises, NodeMissing
among it; the operation is then run again.
"""

from collections.abc import Sequence

from cryptdrive.objects.ref import PackedRef
from cryptdrive.tree import lookup
from cryptdrive.tree.memtable import MISSING, Memtable
from cryptdrive.tree.source import NodeSource

ROUND_ENTRIES_MAX = 1024
"""Entries that a later round of a scan asks of a layer, unless the caller wants more at once."""


def merged_get(
    layers: Sequence[Memtable], source: NodeSource, root: PackedRef | None, key: bytes
) -> bytes | None:
    """The key's value; None if it was deleted or never there."""
    for layer in layers:
        value = layer.get(key)
        if value is not MISSING:
            return value
    return lookup.get(source, root, key)


def merged_scan(
    layers: Sequence[Memtable],
    source: NodeSource,
    root: PackedRef | None,
    start: bytes,
    stop: bytes | None,
    limit: int,
) -> list[tuple[bytes, bytes]]:
    """The first ``limit`` live entries with ``start`` <= key < ``stop`` (None: no end), ascending.

    Fewer only if there are no more.
    """
    found: list[tuple[bytes, bytes]] = []
    asked = limit
    while limit > 0:
        changes = [layer.scan(start, stop, asked) for layer in layers]
        base = lookup.scan(source, root, start, stop, asked)
        if not any(changes):
            found += base
            break
        # Where a part was cut short nothing is known beyond its last key: the next round goes on there.
        ends = [part[-1][0] for part in changes if len(part) == asked]
        if len(base) == asked:
            ends.append(base[-1][0])
        end = min(ends, default=None)
        merged = _overlay(base, changes)
        for key in sorted(merged):
            if end is not None and key > end:
                break
            value = merged[key]
            if value is not None:
                found.append((key, value))
        if end is None or len(found) >= limit:
            break
        start = end + b"\0"
        asked = _next_round(asked)
    return found[:limit] if limit > 0 else []


def merged_scan_back(
    layers: Sequence[Memtable],
    source: NodeSource,
    root: PackedRef | None,
    start: bytes,
    stop: bytes | None,
    limit: int,
) -> list[tuple[bytes, bytes]]:
    """The last ``limit`` live entries with ``start`` <= key < ``stop`` (None: no end), descending.

    Fewer only if there are no more.
    """
    found: list[tuple[bytes, bytes]] = []
    asked = limit
    while limit > 0:
        changes = [layer.scan_back(start, stop, asked) for layer in layers]
        base = lookup.scan_back(source, root, start, stop, asked)
        if not any(changes):
            found += base
            break
        ends = [part[-1][0] for part in changes if len(part) == asked]
        if len(base) == asked:
            ends.append(base[-1][0])
        end = max(ends, default=None)
        merged = _overlay(base, changes)
        for key in sorted(merged, reverse=True):
            if end is not None and key < end:
                break
            value = merged[key]
            if value is not None:
                found.append((key, value))
        if end is None or len(found) >= limit:
            break
        stop = end
        asked = _next_round(asked)
    return found[:limit] if limit > 0 else []


def _overlay(
    base: list[tuple[bytes, bytes]], changes: list[list[tuple[bytes, bytes | None]]]
) -> dict[bytes, bytes | None]:
    """What the layers, newest first, make of the tree's entries; tombstones as None."""
    merged: dict[bytes, bytes | None] = dict(base)
    for part in reversed(changes):
        merged.update(part)
    return merged


def _next_round(asked: int) -> int:
    """Entries to ask for when a round was not enough: long runs of tombstones take few rounds."""
    return max(asked, min(4 * asked, ROUND_ENTRIES_MAX))
