"""A file system over a memory store, with a commit log that is a list: for tests below the vault."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from cryptdrive.clock import Clock
from cryptdrive.config import DriveSettings
from cryptdrive.crypto.keys import KeyRing
from cryptdrive.crypto.sealing import Sealer
from cryptdrive.objects.ref import PackedRef
from cryptdrive.schema.counters import Counters
from cryptdrive.schema.inode import new_inode
from cryptdrive.schema.keys import device_key
from cryptdrive.schema.records import DeviceRecord, encode_device
from cryptdrive.store.base import Store
from cryptdrive.types import ROOT_INODE, Epoch, VaultId
from cryptdrive.vfs.assembly import Storage, open_filesystem, open_storage
from cryptdrive.vfs.core import Transaction
from cryptdrive.vfs.filesystem import FileSystem

TAG = 0x00AB01


@dataclass
class ListedCommits:
    """A commit log in memory."""

    roots: list[PackedRef | None] = field(default_factory=list)

    def append(self, root: PackedRef | None) -> None:
        self.roots.append(root)

    def ancestors_of_next(self) -> list[tuple[bytes, bytes]]:
        return []


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
    storage: Storage | None = None

    def open(self, *, read_only: bool = False) -> FileSystem:
        """The file system at the last commit; makes the root directory in an empty vault."""
        if self.storage is not None:
            self.storage.outbox.close()
        self.storage = open_storage(self.store, self.sealer, os.urandom, self.settings)
        root = self.commits.roots[-1] if self.commits.roots else None

        def device_records(counters: Counters) -> list[tuple[bytes, bytes]]:
            record = DeviceRecord(counters.next_inode, counters.next_change, b"")
            return [(device_key(TAG), encode_device(record))]

        files, _ = open_filesystem(
            self.storage, self.store, root, self.commits, TAG, device_records,
            self.settings, self.clock, read_only=read_only,
        )  # fmt: skip
        if root is None:
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
