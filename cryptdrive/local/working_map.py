"""The drive's map as it is now: the last root, and the changes since."""

import threading
from collections.abc import Callable
from typing import TypeVar

from cryptdrive.local.nodes import NodeStore
from cryptdrive.objects.ref import PackedRef
from cryptdrive.tree.memtable import Memtable
from cryptdrive.tree.source import NodeMissing
from cryptdrive.tree.view import merged_get, merged_scan, merged_scan_back

T = TypeVar("T")


class WorkingMap:
    """Root and memtables, guarded by the drive's lock.

    ``lock`` is never held over I/O, hashing or AEAD. Methods marked "under the lock" expect the
    caller to hold it and may raise NodeMissing; :meth:`run` is the driver that takes care of both.
    """

    def __init__(self, nodes: NodeStore, root: PackedRef | None) -> None:
        self.lock = threading.Lock()
        self.nodes = nodes
        self.root = root
        self.active = Memtable()
        self.frozen: Memtable | None = None
        self._layers: tuple[Memtable, ...] = (self.active,)
        self.sequence = 0
        """Counts the transactions applied so far."""

    def run(self, operation: Callable[[], T]) -> T:
        """Run ``operation`` under the lock, again from its start after each node it misses is fetched.

        It must change nothing before it has read all that it reads. Raises what it raises, and
        StoreError or Integrity where a node cannot be had.
        """
        while True:
            with self.lock:
                try:
                    return operation()
                except NodeMissing as missing:
                    ref = missing.ref
            self.fetch(ref)

    def fetch(self, ref: PackedRef) -> None:
        """Bring a missing node into memory; not under the lock."""
        self.nodes.fetch(ref)

    def get(self, key: bytes) -> bytes | None:
        """Under the lock."""
        return merged_get(self._layers, self.nodes, self.root, key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """At most ``limit`` records of ``[start, stop)`` in order; under the lock."""
        return merged_scan(self._layers, self.nodes, self.root, start, stop, limit)

    def scan_back(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """The last ``limit`` records of ``[start, stop)``, last first; under the lock."""
        return merged_scan_back(self._layers, self.nodes, self.root, start, stop, limit)

    def apply(self, changes: dict[bytes, bytes | None]) -> None:
        """Make one transaction's changes, all at once; under the lock. ``None`` deletes."""
        active = self.active
        for key, value in changes.items():
            if value is None:
                active.delete(key)
            else:
                active.put(key, value)
        self.sequence += 1

    def freeze(self) -> None:
        """Set the changes so far aside for publication; under the lock, with nothing frozen."""
        if self.frozen is not None:
            raise RuntimeError("there is a frozen memtable already")
        self.frozen = self.active
        self.active = Memtable()
        self._layers = (self.active, self.frozen)

    def adopt(self, root: PackedRef | None) -> None:
        """The frozen changes are in the tree of ``root`` now; under the lock."""
        self.root = root
        self.frozen = None
        self._layers = (self.active,)

    @property
    def change_count(self) -> int:
        """Records that are changed and not published."""
        frozen = self.frozen
        return len(self.active) + (len(frozen) if frozen is not None else 0)
