"""The drive's map as it is now: the last root, and the changes since.

Changes pass through four layers: ``active`` takes those that are made now; ``cut`` holds a group
while it is written to the journal; ``saved`` what the journal has; ``frozen`` what is being
published. Each is of one moment, and newer than the next.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

from cryptdrive.local.nodes import NodeStore
from cryptdrive.objects.ref import PackedRef
from cryptdrive.tree.memtable import Memtable
from cryptdrive.tree.source import NodeMissing
from cryptdrive.tree.view import merged_get, merged_scan, merged_scan_back

T = TypeVar("T")

_PIECE = 1024


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
        self.cut: Memtable | None = None
        self.saved = Memtable()
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

    def cut_off(self) -> Memtable:
        """Set the changes so far aside as a group; under the lock, with no other one cut."""
        if self.cut is not None:
            raise RuntimeError("there is a group already")
        self.cut = self.active
        self.active = Memtable()
        self._arrange()
        return self.cut

    def keep_cut(self) -> None:
        """The journal has the group that was cut; not under the lock.

        Joined piece by piece: all layers stay to be read meanwhile.
        """
        cut = self.cut
        if cut is None:
            return
        if not len(self.saved):
            with self.lock:
                self.saved, self.cut = cut, None
                self._arrange()
            return
        items = cut.items()
        for start in range(0, max(len(items), 1), _PIECE):
            with self.lock:
                self.saved.update(items[start : start + _PIECE])
                if start + _PIECE >= len(items):
                    self.cut = None
                    self._arrange()

    def freeze(self) -> Memtable:
        """Set what is saved aside for publication; under the lock, with nothing cut or frozen."""
        if self.frozen is not None or self.cut is not None:
            raise RuntimeError("there is a frozen memtable already")
        self.frozen = self.saved
        self.saved = Memtable()
        self._arrange()
        return self.frozen

    def adopt(self, root: PackedRef | None) -> None:
        """The frozen changes are in the tree of ``root`` now; under the lock."""
        self.root = root
        self.frozen = None
        self._arrange()

    def recover(self, saved: Memtable, frozen: Memtable | None) -> None:
        """Go on with what an earlier process saved and did not publish; before anything else."""
        self.saved, self.frozen = saved, frozen
        self._arrange()

    def _arrange(self) -> None:
        older = (self.cut, self.saved if len(self.saved) else None, self.frozen)
        self._layers = (self.active, *(layer for layer in older if layer is not None))

    @property
    def layers(self) -> tuple[Memtable, ...]:
        """The newest first; under the lock."""
        return self._layers

    @property
    def has_unpublished(self) -> bool:
        """Whether there is anything that is not in the root."""
        return any(len(layer) for layer in self._layers)

    @property
    def change_count(self) -> int:
        """Records that are changed and not published; one in several layers counts in each."""
        return sum(len(layer) for layer in self._layers)
