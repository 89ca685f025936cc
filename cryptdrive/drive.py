"""A drive: an open vault with its local state. The only place that puts the parts together."""

import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptdrive.clock import Clock, Randomness, SystemClock, system_randomness
from cryptdrive.config import DriveSettings, LocalFolders
from cryptdrive.crypto.passwords import Argon2Costs
from cryptdrive.crypto.sealing import Sealer
from cryptdrive.errors import CryptdriveError, Rollback
from cryptdrive.local.commit_log import DeviceCommits
from cryptdrive.local.device import Device, DeviceState, Head, state_folder
from cryptdrive.local.drive_lock import DriveLock
from cryptdrive.local.enrolment import (
    CounterReserve,
    check_descent,
    device_records,
    enrol,
    only_tip,
    taken_tags,
)
from cryptdrive.local.known_stores import KnownStores
from cryptdrive.local.publisher import Publisher
from cryptdrive.local.sealed_file import SealedFile
from cryptdrive.local.working_map import WorkingMap
from cryptdrive.schema.inode import new_inode
from cryptdrive.store.base import Store
from cryptdrive.types import ROOT_INODE
from cryptdrive.vault import unlocking
from cryptdrive.vault.creation import begin_vault, finish_vault
from cryptdrive.vault.heads import Tip, find_tips
from cryptdrive.vault.slot_tables import SlotTableId, delete_older
from cryptdrive.vault.unlocking import Credentials, UnlockedVault, unlock_vault
from cryptdrive.vfs.assembly import Storage, open_filesystem, open_storage
from cryptdrive.vfs.core import Transaction
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.housekeeping import Housekeeper

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DriveStatus:
    """What a running drive can say of itself; plain values, for people and for JSON."""

    store: str
    vault_id: str
    read_only: bool
    head_number: int
    head_hash: str
    device_tag: int
    unsealed_bytes: int
    changed_records: int
    outbox_bytes: int
    publications: int
    open_handles: int
    block_cache_bytes: int
    node_cache_bytes: int
    used_bytes: int
    inodes: int
    last_error: str | None


class Drive:
    """An open vault. Everything about files goes through ``fs``."""

    def __init__(
        self,
        store: Store,
        unlocked: UnlockedVault,
        storage: Storage,
        fs: FileSystem,
        publisher: Publisher,
        commits: DeviceCommits,
        housekeeper: Housekeeper,
        folder: Path,
        sealer: Sealer,
        lock: DriveLock | None,
        state: CounterReserve,
    ) -> None:
        self.store = store
        self.fs = fs
        self.vault_id = unlocked.vault_id
        self.read_only = lock is None
        self.folder = folder
        """This drive's local state."""
        self._storage = storage
        self._publisher = publisher
        self._commits = commits
        self._housekeeper = housekeeper
        self._sealer = sealer
        self._lock = lock
        self._reserve = state
        self._closed = False

    def sealed_file(self, label: str) -> SealedFile:
        """A small local file that only this vault's keys open, for a front end's own state."""
        return SealedFile(self.folder / label, self._sealer, label)

    def flush(self) -> None:
        """Everything done before is on the store when it returns."""
        self.fs.sync()

    def status(self) -> DriveStatus:
        core, head = self.fs.core, self._commits.head
        error = self.fs.last_error
        return DriveStatus(
            store=self.store.url,
            vault_id=self.vault_id.hex(),
            read_only=self.read_only,
            head_number=head.number if head is not None else 0,
            head_hash=head.hash.hex() if head is not None else "",
            device_tag=core.counters.tag,
            unsealed_bytes=core.unsealed_bytes,
            changed_records=core.map.change_count,
            outbox_bytes=self._storage.outbox.waiting_bytes,
            publications=self._publisher.publications,
            open_handles=self.fs.open_handles(),
            block_cache_bytes=self._storage.reader.cache_bytes,
            node_cache_bytes=self._storage.nodes.cache_bytes,
            used_bytes=core.usage.allocated,
            inodes=core.usage.inodes,
            last_error=str(error) if error is not None else None,
        )

    def close(self) -> None:
        """Save everything and let go of the drive. Raises what saving raised; what can be let go of is."""
        if self._closed:
            return
        self._closed = True
        self._housekeeper.stop()
        try:
            if not self.read_only:
                self._purge()
                self._reserve.count = 0
                self.fs.sync()
        finally:
            self._storage.outbox.close()
            if self._lock is not None:
                self._lock.release()
            self.store.close()

    def _purge(self) -> None:
        try:
            while self.fs.purge_some():
                pass
        except CryptdriveError as error:
            _log.warning("what nothing names any more is freed by the next mount: %s", error)


def create_drive(
    store: Store,
    password: str,
    folders: LocalFolders,
    *,
    costs: Argon2Costs | None = None,
    clock: Clock | None = None,
    randomness: Randomness = system_randomness,
) -> str:
    """Create a vault with an empty root directory, and enrol this machine as its first device.

    Returns the recovery key's text, which is shown once and kept nowhere.
    Raises VaultExists, StoreRefused, Invalid, StoreError; OSError where local state cannot be kept.
    """
    clock = clock or SystemClock()
    vault = begin_vault(store, password, costs or Argon2Costs(), randomness)
    unlocked = vault.unlocked
    sealer = Sealer(unlocked.keyring(), randomness)
    state = DeviceState(state_folder(folders.state, unlocked.vault_id), sealer)
    device = enrol(unlocked, taken=set(), clock=clock, randomness=randomness)
    settings = DriveSettings()
    storage = open_storage(store, sealer, randomness, settings)
    try:
        commits = DeviceCommits(store, sealer, device, unlocked.table_id, clock, None, state.save_head)
        commits.message = "vault created"
        reserve = CounterReserve(0)
        fs, _ = open_filesystem(
            storage, store, None, commits, device.tag, device_records(device, reserve), settings, clock,
            read_only=False,
        )  # fmt: skip
        fs.core.transact(_make_root)
        fs.sync()
    finally:
        storage.outbox.close()
    state.save_device(device)
    known = KnownStores(folders.state)
    known.replace(store.url, unlocked.vault_id)
    # Last: once the vault is there, nothing may keep the recovery key from being shown.
    try:
        finish_vault(store, vault)
    except BaseException:
        known.forget(store.url)
        raise
    return vault.recovery_key


def open_drive(
    store: Store,
    credentials: Credentials,
    settings: DriveSettings,
    folders: LocalFolders,
    *,
    read_only: bool = False,
    clock: Clock | None = None,
    randomness: Randomness = system_randomness,
) -> Drive:
    """Open the vault in a store, and start the drive's housekeeping.

    A device that has no state here (a new machine, lost or copied state) is enrolled, in a commit
    of its own, before it publishes anything.

    Raises WrongKey, NoVault, OtherVault, FormatTooNew, Integrity, Rollback, DriveInUse, StoreError.
    """
    clock = clock or SystemClock()
    known = KnownStores(folders.state)
    unlocked = unlock_vault(store, credentials, known.vault_at(store.url))
    sealer = Sealer(unlocked.keyring(), randomness)
    folder = state_folder(folders.state, unlocked.vault_id)
    lock = None if read_only else DriveLock(folder)
    if lock is not None:
        lock.acquire()
    storage = open_storage(store, sealer, randomness, settings)
    try:
        known.remember(store.url, unlocked.vault_id)
        state = DeviceState(folder, sealer)
        tip = only_tip(find_tips(store, sealer, unlocked.header.owner_key))
        working_map = WorkingMap(storage.nodes, tip.commit.root)
        check_descent(working_map, tip, state.load_head())
        device = state.load_device()
        new_device = device is None
        if device is None:
            device = enrol(unlocked, taken_tags(working_map), clock, randomness, temporary=read_only)
        commits = DeviceCommits(store, sealer, device, unlocked.table_id, clock, tip.id, state.save_head)
        reserve = CounterReserve()
        fs, publisher = open_filesystem(
            storage, store, tip.commit.root, commits, device.tag, device_records(device, reserve),
            settings, clock, read_only=read_only,
        )  # fmt: skip
        if not read_only:
            if new_device:
                _publish_enrolment(fs, commits, device, reserve)
                state.save_device(device)
            _name_slot_table(store, fs, commits, tip, device, reserve, unlocked.table_id)
            state.save_head(Head(commits.head.number, commits.head.hash) if commits.head else Head(0, b""))
    except BaseException:
        storage.outbox.close()
        if lock is not None:
            lock.release()
        raise
    housekeeper = Housekeeper(fs, clock, settings)
    drive = Drive(
        store, unlocked, storage, fs, publisher, commits, housekeeper, folder, sealer, lock, reserve
    )
    if not read_only:
        housekeeper.start()
    return drive


def change_password(
    store: Store,
    credentials: Credentials,
    new_password: str,
    folders: LocalFolders,
    *,
    costs: Argon2Costs | None = None,
    randomness: Randomness = system_randomness,
) -> None:
    """Let ``new_password`` open the vault instead of the old one.

    It is in force when this returns; the old slot table is deleted by the next mount that publishes.
    Raises WrongKey, Invalid, StoreError.
    """
    expected = KnownStores(folders.state).vault_at(store.url)
    unlocking.change_password(store, credentials, new_password, randomness, costs, expected)


# --- parts of opening --------------------------------------------------------------------------


def _publish_enrolment(
    fs: FileSystem, commits: DeviceCommits, device: Device, reserve: CounterReserve
) -> None:
    commits.message = f"device {device.tag:06x} enrolled"
    _touch_device(fs, device, reserve)
    fs.sync()


def _touch_device(fs: FileSystem, device: Device, reserve: CounterReserve) -> None:
    def operation(transaction: Transaction) -> None:
        for key, value in device_records(device, reserve)(fs.core.counters):
            transaction.put(key, value)

    fs.core.transact(operation, internal=True)


def _name_slot_table(
    store: Store,
    fs: FileSystem,
    commits: DeviceCommits,
    tip: Tip,
    device: Device,
    reserve: CounterReserve,
    table: SlotTableId,
) -> None:
    """After a change of slots: name the new table in a commit, and only then delete the old ones."""
    if tip.commit.slot_table == table:
        return
    if table.number < tip.commit.slot_table.number:
        raise Rollback("the store shows older key slots than the newest commit names")
    if commits.head == tip.id:
        commits.message = "key slots changed"
        _touch_device(fs, device, reserve)
        fs.sync()
    delete_older(store, table)


def _make_root(transaction: Transaction) -> None:
    root = new_inode(
        ROOT_INODE,
        stat.S_IFDIR | 0o755,
        os.getuid(),
        os.getgid(),
        transaction.now_ns,
        transaction.core.counters.change(),
    )
    root.nlink = 2
    transaction.edited[ROOT_INODE] = root
    transaction.usage[1] += 1
