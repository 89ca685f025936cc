"""Publishing: from what is saved here to a commit on the store."""

import logging
import threading
from typing import Protocol

from cryptdrive.errors import CryptdriveError, FileError
from cryptdrive.local.compaction import blobs_named_by, copy_half_dead, name_copies
from cryptdrive.local.frames import FrameKind, Prepared, encode_prepared
from cryptdrive.local.journal import Journal
from cryptdrive.local.nodes import NodeStore, WaitingNodeSource
from cryptdrive.local.outbox import Outbox
from cryptdrive.local.packing import PackAppender
from cryptdrive.local.saving import ChangeSaver
from cryptdrive.local.sending import PackSender
from cryptdrive.local.working_map import WorkingMap
from cryptdrive.objects.ref import PackedRef
from cryptdrive.tree.apply import apply
from cryptdrive.tree.memtable import Memtable
from cryptdrive.types import PackId
from cryptdrive.vault.commits import CommitId
from cryptdrive.waiting import before_waiting

_log = logging.getLogger(__name__)


class CommitLog(Protocol):
    """Where a root becomes the vault's next state."""

    def ancestors_of_next(self) -> list[tuple[bytes, bytes]]:
        """The records that the next commit's tree must hold of its parents."""

    def seal(self, root: PackedRef | None, journal_sequence: int) -> tuple[CommitId, bytes]:
        """The commit that makes ``root`` the next state; nobody knows it yet."""

    def check_place(self) -> None:
        """Raises Unavailable: the store is away, or is not the vault's any more."""

    def put(self, commit: CommitId, data: bytes, journal_sequence: int) -> None:
        """Returns when the store holds the commit, and this device knows it as its head."""


class Publisher:
    """Publishes what was saved. One publication runs at a time; each is of one moment.

    Freeze, leave out what is dead, apply to the tree, journal the sealed commit, put the packs,
    then the commit. From ``prepared`` on a later try, also of a later process, sends the same bytes.
    """

    def __init__(
        self,
        working_map: WorkingMap,
        nodes: NodeStore,
        appenders: tuple[PackAppender, PackAppender, PackAppender],
        outbox: Outbox,
        saver: ChangeSaver,
        journal: Journal,
        sender: PackSender,
        commits: CommitLog,
    ) -> None:
        self.publications = 0
        self.last_error: CryptdriveError | None = None
        """Why the last publication failed; None after one that did not."""
        self.published_through = 0
        """The transactions up to this number are on the store."""
        self._map = working_map
        self._nodes = nodes
        self._data, self._node_appender, self._copies = appenders
        self._outbox = outbox
        self._saver = saver
        self._journal = journal
        self._sender = sender
        self._commits = commits
        self._lock = threading.Lock()
        self._packs: dict[PackId, int] = {}
        """Complete data packs of the groups that are frozen."""
        self._waiting_packs: dict[PackId, int] = {}
        """Others that are complete, of an earlier process too; they are frozen next."""
        self._through = (0, 0)
        """The transaction and the group up to which changes are frozen."""
        self._prepared: Prepared | None = None
        self._copied: set[PackId] = set()
        """Packs whose live blobs were copied for the publication under way: not once more."""
        self._is_prepared = False
        """The journal holds ``_prepared`` for certain."""
        self._replaced: set[PackedRef] = set()
        """Nodes that are not in the tree any more once it is published."""

    def recover(self, prepared: Prepared | None, packs: dict[PackId, int]) -> None:
        """Go on where an earlier process stopped: a commit that may be on the store; packs to be sent."""
        self._prepared = prepared
        self._is_prepared = prepared is not None
        self._waiting_packs.update(packs)

    def publish(self) -> None:
        """Everything that was done before this call is on the store when it returns.

        Callers that wait at the same time share a publication. Raises StoreError, Integrity,
        Rollback, DiskError, NoSpace; the changes stay here, and the next call goes on with the
        same bytes.
        """
        with self._map.lock:
            wanted = self._map.sequence
            if not self._is_pending() and self.last_error is None:
                return
        before_waiting()
        with self._lock:
            if not self._is_pending():
                self._look_again()
            while self._is_pending():
                try:
                    self._publish_once()
                except CryptdriveError as error:
                    self.last_error = error
                    raise
                except Exception as error:
                    _log.exception("publishing failed unexpectedly")
                    self.last_error = CryptdriveError(f"publishing failed: {type(error).__name__}")
                    raise self.last_error from error
                self.last_error = None
                if self.published_through >= wanted:
                    return

    def _look_again(self) -> None:
        """Nothing is to be sent; is what failed the last time well again?"""
        try:
            self._commits.check_place()
        except CryptdriveError as error:
            self.last_error = error
            raise
        self.last_error = None

    def is_away(self, error: CryptdriveError) -> None:
        """The store did not answer when the drive was opened."""
        self.last_error = error

    def _is_pending(self) -> bool:
        return self._prepared is not None or self._map.has_unpublished

    def _publish_once(self) -> None:
        prepared = self._prepared
        if prepared is None:
            if self._map.frozen is None:
                self._look_before_freezing()
                self._saver.save_and(self._freeze, rotate=True)
            prepared = self._prepare()
        if not self._is_prepared:
            # Again, if that failed: the disk may hold it all the same, so it must stay what it is.
            self._journal.append(FrameKind.PREPARED, [encode_prepared(prepared)], prepared.through)
            self._is_prepared = True
        self._commits.check_place()
        self._sender.send(prepared.packs)
        self._commits.check_place()  # sending took a while
        self._commits.put(prepared.commit, prepared.data, prepared.through)
        self._finish(prepared)

    def _look_before_freezing(self) -> None:
        """While the store is away nothing is frozen: what is removed then gives room back."""
        try:
            self._commits.check_place()
        except CryptdriveError:
            self._saver.save()  # at least on this machine
            raise

    def free_dead(self) -> None:
        """Let packs go that nothing names any more before they were sent. Raises DiskError, NoSpace.

        Those of a publication under way stay: it goes on with the same bytes.
        """
        with self._lock:
            if self._prepared is None and self._map.frozen is None:
                # Saved first: what made them dead must not be lost after they are gone.
                self._saver.save_and(self._drop_dead, rotate=False)

    def _drop_dead(self) -> None:
        """Under the saver's locks."""
        self._waiting_packs.update(self._data.take_completed())
        for pack in self._waiting_packs.keys() - self._live_packs():
            del self._waiting_packs[pack]
            self._outbox.drop(pack)

    def _freeze(self) -> None:
        """Under the saver's locks."""
        with self._map.lock:
            self._map.freeze()
            self._saver.froze()
        self._through = self._saver.saved_through, self._saver.sequence
        self._packs.update(self._waiting_packs)
        self._packs.update(self._data.take_completed())
        self._waiting_packs.clear()

    def _prepare(self) -> Prepared:
        frozen = self._map.frozen
        assert frozen is not None
        for pack, _ in self._node_appender.take_completed():
            self._outbox.drop(pack)  # of a try that failed before anything named them
        self._copy_half_dead(frozen)
        ancestors = self._commits.ancestors_of_next()
        with self._map.lock:
            for key, value in ancestors:
                frozen.put(key, value)
        live = self._live_packs()
        source, changes = WaitingNodeSource(self._nodes), frozen.items()
        self._replaced.clear()
        root = apply(source, self._nodes, self._map.root, changes, self._replaced)
        self._node_appender.rotate()
        self._outbox.sync()
        packs = [(pack, length) for pack, length in self._packs.items() if pack in live]
        packs += self._node_appender.take_completed()
        through = self._through[1]
        commit, data = self._commits.seal(root, through)
        self._prepared = Prepared(through, commit, root, tuple(packs), data)
        self._is_prepared = False
        return self._prepared

    def _copy_half_dead(self, frozen: Memtable) -> None:
        packs = {pack: length for pack, length in self._packs.items() if pack not in self._copied}
        copies = copy_half_dead(frozen, packs, self._map.lock, self._outbox, self._copies)
        if not copies:
            return
        self._copied |= copies.keys()
        self._copies.rotate()
        completed = self._copies.take_completed()
        self._packs.update(completed)
        # As soon as a record names a copy a newer one may do so too: its group must know the pack.
        self._data.tell_of_copies(completed)
        with self._map.lock:
            name_copies(frozen, [layer for layer in self._map.layers if layer is not frozen], copies)

    def _live_packs(self) -> set[PackId]:
        """The packs that anything unpublished names: the others need not be sent."""
        with self._map.lock:
            layers = self._map.layers
        live: set[PackId] = set()
        for layer in layers:
            with self._map.lock:
                live |= blobs_named_by(layer).keys()
        return live

    def _finish(self, prepared: Prepared) -> None:
        """The store has it."""
        with self._map.lock:
            self._map.adopt(prepared.root)
            self.published_through = max(self.published_through, self._through[0])
        self._prepared, self._is_prepared = None, False
        self._nodes.forget(self._replaced)
        self._replaced.clear()
        self.publications += 1
        self._sender.forget(prepared.packs)
        nodes = {pack for pack, _ in prepared.packs} - self._packs.keys()
        done = {pack for pack, _ in prepared.packs} | self._packs.keys()
        self._packs.clear()
        self._copied.clear()
        for pack in done:
            try:
                if pack in nodes:
                    self._outbox.keep(pack)
                else:
                    self._outbox.drop(pack)
            except FileError as error:
                _log.warning("%s", error)  # what is left is removed by the next mount
        try:
            self._journal.trim(prepared.through)
        except FileError as error:
            _log.warning("%s", error)

    @property
    def journal_syncs(self) -> int:
        """How often the local disk was asked to keep what the journal got."""
        return self._journal.syncs

    @property
    def pending_packs(self) -> tuple[tuple[PackId, int], ...]:
        """What the publication under way has to send: (id, length)."""
        prepared = self._prepared
        return prepared.packs if prepared is not None else ()
