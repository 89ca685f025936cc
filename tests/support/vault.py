"""A file system over a memory store, with a commit log that is a list: for tests below the vault."""

import os
import stat
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Protocol, cast

from cryptdrive.clock import Clock
from cryptdrive.config import DriveSettings
from cryptdrive.crypto.keys import KeyRing
from cryptdrive.crypto.sealing import Sealer
from cryptdrive.local.disk import LocalFolder
from cryptdrive.local.journal import Journal
from cryptdrive.local.journal_reading import read_journal
from cryptdrive.local.recovery import not_on_store, recover
from cryptdrive.objects.ref import PackedRef
from cryptdrive.schema.counters import Counters
from cryptdrive.schema.inode import new_inode
from cryptdrive.schema.keys import device_key
from cryptdrive.schema.records import DeviceRecord, encode_device
from cryptdrive.store.base import Store
from cryptdrive.types import ROOT_INODE, Epoch, VaultId
from cryptdrive.vault.commits import CommitId
from cryptdrive.vfs.assembly import LocalChanges, Storage, open_filesystem, open_storage
from cryptdrive.vfs.core import Transaction
from cryptdrive.vfs.filesystem import FileSystem
from tests.support.disk import SimulatedDisk

TAG = 0x00AB01


@dataclass
class ListedCommits:
    """A commit log in memory."""

    roots: list[PackedRef | None] = field(default_factory=list)
    through: int = 0

    def seal(self, root: PackedRef | None, journal_sequence: int) -> tuple[CommitId, bytes]:
        data = root or b""
        return CommitId(len(self.roots) + 1, sha256(data).digest()), data

    def check_place(self) -> None:
        pass

    def put(self, commit: CommitId, data: bytes, journal_sequence: int) -> None:
        self.roots.append(PackedRef(data) if data else None)
        self.through = journal_sequence

    def ancestors_of_next(self) -> list[tuple[bytes, bytes]]:
        return []


class Disk(Protocol):
    """Where local state lies; ``kill`` ends what had it open."""

    def top(self) -> LocalFolder: ...

    def kill(self) -> None: ...


@dataclass
class SmallVault:
    """Everything that outlives a file system: the store, the keys, the commits."""

    store: Store
    clock: Clock
    settings: DriveSettings = field(default_factory=DriveSettings)
    commits: ListedCommits = field(default_factory=ListedCommits)
    sealer: Sealer = field(
        default_factory=lambda: Sealer(KeyRing(VaultId(b"v" * 32), {Epoch(1): os.urandom(32)}), os.urandom)
    )
    disk: Disk = field(default_factory=SimulatedDisk)
    storage: Storage | None = None

    def open(self, *, read_only: bool = False, forget: bool = True) -> FileSystem:
        """The file system at the last commit; makes the root directory in an empty vault.

        What was saved on this machine only is gone, unless it is not to be forgotten.
        """
        if self.storage is not None:
            self.storage.close()
        if forget:
            self.disk = SimulatedDisk()
        self.disk.kill()
        top = self.disk.top()
        self.storage = open_storage(
            self.store, self.sealer, os.urandom, self.clock, self.settings, top.folder("outbox")
        )
        self.storage.outbox.find_kept()
        content = read_journal(top.folder("journal"), self.sealer)
        journal = Journal(top.folder("journal"), self.sealer, os.urandom, content.end, file_bytes=1 << 20)
        groups, prepared = not_on_store(content, self.commits.through)
        unpublished = recover(
            top.folder("outbox"), self.storage.outbox, self.sealer, os.urandom, groups, prepared
        )
        local = LocalChanges(journal, max(content.last_sequence, self.commits.through), unpublished)
        root = self.commits.roots[-1] if self.commits.roots else None

        def device_records(counters: Counters) -> list[tuple[bytes, bytes]]:
            record = DeviceRecord(counters.next_inode, counters.next_change, b"")
            return [(device_key(TAG), encode_device(record))]

        files, _ = open_filesystem(
            self.storage, root, local, self.commits, TAG, device_records,
            self.settings, self.clock, read_only=read_only,
        )  # fmt: skip
        if root is None and not len(unpublished.saved) and unpublished.prepared is None:
            files.core.transact(_make_root)
        return files

    def drop_caches(self, files: FileSystem) -> None:
        """Let everything be read from the store again."""
        cast(Storage, self.storage).drop_caches()
        files.core.inode_cache.clear()


def _make_root(transaction: Transaction) -> None:
    root = new_inode(
        ROOT_INODE, stat.S_IFDIR | 0o755, os.getuid(), os.getgid(), transaction.now_ns,
        transaction.core.counters.change(),
    )  # fmt: skip
    root.nlink = 2
    transaction.edited[ROOT_INODE] = root
    transaction.usage[1] += 1


def folder_store(path: Path) -> Store:
    from cryptdrive.store.folder import FolderStore

    return FolderStore(path)
