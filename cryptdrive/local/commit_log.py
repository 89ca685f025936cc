"""The vault's commits as this device appends them."""

from collections.abc import Callable

from cryptdrive.clock import Clock
from cryptdrive.crypto.sealing import Sealer
from cryptdrive.errors import Rollback
from cryptdrive.local.device import Device, Head
from cryptdrive.local.vault_copy import VaultCopy
from cryptdrive.objects.ref import PackedRef
from cryptdrive.schema.keys import history_key
from cryptdrive.store.base import Store
from cryptdrive.vault.commits import Commit, CommitId, commit_name, seal_commit
from cryptdrive.vault.guarded import check_place
from cryptdrive.vault.heads import commits_from
from cryptdrive.vault.putting import put_once
from cryptdrive.vault.slot_tables import SlotTableId


class DeviceCommits:
    """Appends commits to the history that ends at ``head``: one device, one process.

    A commit is put under a name that no other commit can have. One whose put failed is tried again
    with the same bytes.
    """

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        device: Device,
        slot_table: SlotTableId,
        clock: Clock,
        head: CommitId | None,
        save_head: Callable[[Head], None],
        copy: VaultCopy,
    ) -> None:
        self.head = head
        self.slot_table = slot_table
        self.message = ""
        """What the next commit says it did, in one line."""
        self._store = store
        self._sealer = sealer
        self._device = device
        self._clock = clock
        self._save_head = save_head
        self._copy = copy
        self._sealed: CommitId | None = None
        """A commit that was sealed here, and that no put was tried of."""

    def ancestors_of_next(self) -> list[tuple[bytes, bytes]]:
        """The history record of the head, which is the next commit's parent."""
        if self.head is None:
            return []
        return [(history_key(self.head.number, self.head.hash), b"")]

    def seal(self, root: PackedRef | None, journal_sequence: int) -> tuple[CommitId, bytes]:
        """The commit that follows the head; nobody knows it yet."""
        parents = (self.head,) if self.head is not None else ()
        commit = Commit(
            number=self.head.number + 1 if self.head is not None else 1,
            parents=parents,
            root=root,
            epoch=self._sealer.epoch,
            slot_table=self.slot_table,
            certificate=self._device.certificate,
            journal_sequence=journal_sequence,
            pruned_below=0,
            time_ns=self._clock.now_ns(),
            message=self.message,
        )
        sealed = seal_commit(self._sealer, self._device.seed, commit)
        self._sealed = sealed[0]
        return sealed

    def check_place(self) -> None:
        """Raises Unavailable: the store is away, or holds another vault; nothing may be written there."""
        if self.head is None:
            return  # the vault is being created: its header comes last
        check_place(self._store, self._sealer.keyring.vault_id)

    def put(self, commit: CommitId, data: bytes, journal_sequence: int) -> None:
        """Returns when the store holds a commit of :meth:`seal`, and this device knows it as its head.

        ``journal_sequence`` is the last group in it.

        May be called again with the same bytes, also by a later process. Raises Rollback: another
        device has published meanwhile, and nothing was written; StoreError, DiskError, NoSpace.
        """
        self._refuse_others(commit)
        again, self._sealed = self._sealed != commit, None
        put_once(self._store, commit_name(commit), data, again=again)
        self._copy.save_commit(commit, data)  # first: it may be newer than the head, never older
        self._save_head(Head(commit.number, commit.hash, journal_sequence))
        self.head = commit
        self.message = ""

    def _refuse_others(self, commit: CommitId) -> None:
        """Two commits of one number would be a fork, which this version cannot merge."""
        for other in commits_from(self._store, commit.number):
            if other != commit:
                raise Rollback(
                    f"another device has published commit {other.number} since this one looked; "
                    "changes made here stay here. Unmount, keep what you need, and mount again"
                )
