"""Changes since the last root: sorted, in memory, deletions kept as tombstones."""

from bisect import bisect_left, insort
from collections.abc import Iterable
from enum import Enum
from itertools import islice
from typing import Final

from sortedcontainers import SortedList

from cryptdrive.tree.node import KEY_BYTES_MAX, VALUE_BYTES_MAX

ENTRY_BYTES = 128
"""Memory that an entry takes beside its key's and value's own bytes (CPython 3.11: 112 to 127)."""
PLAIN_KEYS_MAX = 1000
"""So many keys are kept in a plain list: most memtables hold one group of a few records, for which
setting up anything better costs more than it saves."""


class Missing(Enum):
    """The type of :data:`MISSING`."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""What a memtable answers about a key it says nothing of: an older layer decides."""


class Memtable:
    """A layer of changes: key → value, or None for a deletion.

    Not thread-safe: the drive's lock guards it. Once frozen (while it is published) it is only read.
    """

    __slots__ = ("_byte_size", "_entries", "_keys")

    def __init__(self) -> None:
        self._entries: dict[bytes, bytes | None] = {}
        self._keys: list[bytes] | SortedList[bytes] = []
        """In order."""
        self._byte_size = 0

    def __len__(self) -> int:
        """Entries, tombstones included."""
        return len(self._entries)

    @property
    def byte_size(self) -> int:
        """Bytes of memory that the entries take, about."""
        return self._byte_size

    def put(self, key: bytes, value: bytes) -> None:
        """Raises ValueError for a key or value that no node can hold."""
        if not 0 < len(key) <= KEY_BYTES_MAX or len(value) > VALUE_BYTES_MAX:
            raise ValueError(f"a key of {len(key)} and a value of {len(value)} bytes do not fit a tree node")
        self._replace(key, value)

    def delete(self, key: bytes) -> None:
        """Hide the key in the older layers. Raises ValueError for a key that no node can hold."""
        if not 0 < len(key) <= KEY_BYTES_MAX:
            raise ValueError(f"a key of {len(key)} bytes does not fit a tree node")
        self._replace(key, None)

    def update(self, newer: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Take over entries of another memtable."""
        for key, value in newer:
            self._replace(key, value)

    def _replace(self, key: bytes, value: bytes | None) -> None:
        entries = self._entries
        value_bytes = len(value) if value is not None else 0
        old = entries.get(key, MISSING)
        entries[key] = value
        if old is not MISSING:
            self._byte_size += value_bytes - (len(old) if old is not None else 0)
            return
        self._byte_size += ENTRY_BYTES + len(key) + value_bytes
        keys = self._keys
        if keys.__class__ is not list:
            keys.add(key)  # type: ignore[union-attr]
            return
        insort(keys, key)
        if len(keys) > PLAIN_KEYS_MAX:
            self._keys = SortedList(keys)

    def get(self, key: bytes) -> bytes | Missing | None:
        """The key's value; None if it was deleted; MISSING if this layer says nothing."""
        return self._entries.get(key, MISSING)

    def keys(self) -> list[bytes]:
        """A copy of all keys, in order."""
        return list(self._keys)

    def items(self) -> list[tuple[bytes, bytes | None]]:
        """All entries in key order, tombstones as None: what ``apply`` takes."""
        entries = self._entries
        return [(key, entries[key]) for key in self._keys]

    def scan(self, start: bytes, stop: bytes | None, limit: int) -> list[tuple[bytes, bytes | None]]:
        """The first ``limit`` entries with ``start`` <= key < ``stop``, ascending, tombstones included."""
        entries, limit = self._entries, max(limit, 0)
        keys = self._keys
        if isinstance(keys, list):
            begin, end = _range_in(keys, start, stop)
            return [(key, entries[key]) for key in keys[begin : min(end, begin + limit)]]
        return [(key, entries[key]) for key in islice(keys.irange(start, stop, (True, False)), limit)]

    def scan_back(self, start: bytes, stop: bytes | None, limit: int) -> list[tuple[bytes, bytes | None]]:
        """The last ``limit`` entries with ``start`` <= key < ``stop``, descending, tombstones included."""
        entries, limit = self._entries, max(limit, 0)
        keys = self._keys
        if isinstance(keys, list):
            begin, end = _range_in(keys, start, stop)
            return [(key, entries[key]) for key in reversed(keys[max(begin, end - limit) : end])]
        found = islice(keys.irange(start, stop, (True, False), reverse=True), limit)
        return [(key, entries[key]) for key in found]


def _range_in(keys: list[bytes], start: bytes, stop: bytes | None) -> tuple[int, int]:
    begin = bisect_left(keys, start)
    return begin, len(keys) if stop is None else bisect_left(keys, stop, begin)
