"""Publishing: from the memtable and the unsealed bytes to a commit on the store."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cryptdrive.errors import CryptdriveError
from cryptdrive.local.nodes import NodeStore, WaitingNodeSource
from cryptdrive.local.outbox import Outbox
from cryptdrive.local.packing import PackAppender
from cryptdrive.local.working_map import WorkingMap
from cryptdrive.objects.ref import PackedRef
from cryptdrive.tree.apply import apply
from cryptdrive.tree.memtable import Memtable
from cryptdrive.waiting import before_waiting


class UnsealedContents(Protocol):
    """The bytes that the file system has taken and not sealed."""

    def has_changes(self) -> bool:
        """Whether there is anything unsealed; under the map's lock."""

    def finish_early(self) -> None:
        """Finish what an early sealing began and did not end; under the seal lock."""

    def cut(self) -> None:
        """Set aside all unsealed bytes as of this moment; under the map's lock, right before it is frozen."""

    def seal_cut(self, frozen: Memtable) -> None:
        """Seal what was set aside, and record it in ``frozen``. Goes on where an earlier try failed."""


class CommitLog(Protocol):
    """Where a root becomes the vault's next state."""

    def append(self, root: PackedRef | None) -> None:
        """Returns when the store holds the commit. A second try with the same root sends the same bytes."""

    def ancestors_of_next(self) -> list[tuple[bytes, bytes]]:
        """The records that the next commit's tree must hold of its parents."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A root whose nodes are in the outbox."""

    root: PackedRef | None
    through: int


class Publisher:
    """Publishes the drive's changes. One publication runs at a time; each is of one moment.

    ``seal_lock`` guards the open data pack's order: whoever seals file data holds it, so that a
    cut and an early sealing never run at once.
    """

    def __init__(
        self,
        working_map: WorkingMap,
        nodes: NodeStore,
        appenders: tuple[PackAppender, PackAppender],
        outbox: Outbox,
        commits: CommitLog,
    ) -> None:
        self.seal_lock = threading.Lock()
        self.publications = 0
        self.last_error: CryptdriveError | None = None
        """Why the last publication failed; None after one that did not."""
        self.published_through = 0
        """The transactions up to this sequence are on the store."""
        self._map = working_map
        self._nodes = nodes
        self._appenders = appenders
        self._outbox = outbox
        self._commits = commits
        self._lock = threading.Lock()
        self._through = 0
        self._cut_pending = False
        self._prepared: _Prepared | None = None
        self._contents: UnsealedContents | None = None
        self._final_records: Callable[[], list[tuple[bytes, bytes]]] = list

    def attach(
        self, contents: UnsealedContents, final_records: Callable[[], list[tuple[bytes, bytes]]]
    ) -> None:
        """Say where unsealed bytes are, and what records (totals, counters) every publication adds."""
        self._contents = contents
        self._final_records = final_records

    def publish(self) -> None:
        """Everything that was done before this call is on the store when it returns.

        Callers that wait at the same time share a publication. Raises StoreError, Integrity,
        Rollback; the changes stay here, and the next call goes on with the same bytes.
        """
        with self._map.lock:
            wanted = self._map.sequence
            if self.published_through >= wanted and not self._pending():
                return
        before_waiting()
        with self._lock:
            while self.published_through < wanted or self._pending():
                try:
                    self._publish_once()
                except CryptdriveError as error:
                    self.last_error = error
                    raise
                self.last_error = None
                if self.published_through >= wanted:
                    return

    def _pending(self) -> bool:
        contents = self._contents
        return self._map.frozen is not None or (contents is not None and contents.has_changes())

    def _publish_once(self) -> None:
        if self._map.frozen is None:
            self._freeze()
        frozen = self._map.frozen
        assert frozen is not None
        if self._cut_pending:
            with self.seal_lock:
                if self._contents is not None:
                    self._contents.seal_cut(frozen)
            for key, value in self._final_records():
                frozen.put(key, value)
            self._cut_pending = False
        if self._prepared is None:
            self._prepare(frozen)
        prepared = self._prepared
        assert prepared is not None
        self._outbox.settle()
        self._commits.append(prepared.root)
        with self._map.lock:
            self._map.adopt(prepared.root)
            self.published_through = prepared.through
        self._prepared = None
        self.publications += 1

    def _freeze(self) -> None:
        with self.seal_lock:
            if self._contents is not None:
                self._contents.finish_early()
            with self._map.lock:
                if self._contents is not None:
                    self._contents.cut()
                self._map.freeze()
                self._through = self._map.sequence
                self._cut_pending = True

    def _prepare(self, frozen: Memtable) -> None:
        for key, value in self._commits.ancestors_of_next():
            frozen.put(key, value)
        data, nodes = self._appenders
        data.rotate()
        changes = list(frozen.items())
        root = apply(WaitingNodeSource(self._nodes), self._nodes, self._map.root, changes)
        nodes.rotate()
        self._prepared = _Prepared(root, self._through)
