"""Changes since the last root: sorted, in memory, deletions kept as tombstones."""

from collections.abc import ItemsView
from enum import Enum
from itertools import islice
from typing import Final

from sortedcontainers import SortedDict

from cryptdrive.tree.node import KEY_BYTES_MAX, VALUE_BYTES_MAX

ENTRY_BYTES = 128
"""Memory that an entry takes beside its key's and value's own bytes (CPython 3.11: 112 to 127)."""


class Missing(Enum):
    """The type of :data:`MISSING`."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""What a memtable answers about a key it says nothing of: an older layer decides."""


class Memtable:
    """A layer of changes: key → value, or None for a deletion.

    Not thread-safe: the drive's lock guards it. Once frozen (while it is published) it is only read.
    """

    def __init__(self) -> None:
        self._entries: SortedDict[bytes, bytes | None] = SortedDict()
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
        self._replace(key, value, len(value))

    def delete(self, key: bytes) -> None:
        """Hide the key in the older layers. Raises ValueError for a key that no node can hold."""
        if not 0 < len(key) <= KEY_BYTES_MAX:
            raise ValueError(f"a key of {len(key)} bytes does not fit a tree node")
        self._replace(key, None, 0)

    def _replace(self, key: bytes, value: bytes | None, value_bytes: int) -> None:
        old = self._entries.get(key, MISSING)
        if old is MISSING:
            self._byte_size += ENTRY_BYTES + len(key) + value_bytes
        else:
            self._byte_size += value_bytes - (len(old) if old is not None else 0)
        self._entries[key] = value

    def get(self, key: bytes) -> bytes | Missing | None:
        """The key's value; None if it was deleted; MISSING if this layer says nothing."""
        return self._entries.get(key, MISSING)

    def keys(self) -> list[bytes]:
        """A copy of all keys, in order."""
        return list(self._entries.keys())

    def items(self) -> ItemsView[bytes, bytes | None]:
        """All entries in key order, tombstones as None: what ``apply`` takes."""
        return self._entries.items()

    def scan(self, start: bytes, stop: bytes | None, limit: int) -> list[tuple[bytes, bytes | None]]:
        """The first ``limit`` entries with ``start`` <= key < ``stop``, ascending, tombstones included."""
        entries = self._entries
        keys = islice(entries.irange(start, stop, (True, False)), max(limit, 0))
        return [(key, entries[key]) for key in keys]

    def scan_back(self, start: bytes, stop: bytes | None, limit: int) -> list[tuple[bytes, bytes | None]]:
        """The last ``limit`` entries with ``start`` <= key < ``stop``, descending, tombstones included."""
        entries = self._entries
        keys = islice(entries.irange(start, stop, (True, False), reverse=True), max(limit, 0))
        return [(key, entries[key]) for key in keys]
