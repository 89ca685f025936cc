"""Creating a vault, with this machine as its first device."""

import os
import stat

from cryptdrive.clock import Clock, Randomness, SystemClock, system_randomness
from cryptdrive.config import DriveSettings, LocalFolders
from cryptdrive.crypto.passwords import Argon2Costs
from cryptdrive.crypto.sealing import Sealer
from cryptdrive.local.commit_log import DeviceCommits
from cryptdrive.local.device import DeviceState, state_folder
from cryptdrive.local.disk import LocalFolder, RealFolder
from cryptdrive.local.enrolment import CounterReserve, device_records, enrol
from cryptdrive.local.journal import Journal, JournalEnd
from cryptdrive.local.known_stores import KnownStores
from cryptdrive.local.recovery import Unpublished
from cryptdrive.local.vault_copy import VaultCopy
from cryptdrive.schema.inode import new_inode
from cryptdrive.store.base import Store
from cryptdrive.types import ROOT_INODE
from cryptdrive.vault.creation import begin_vault, finish_vault
from cryptdrive.vault.unlocking import UnlockedVault
from cryptdrive.vfs.assembly import LocalChanges, open_filesystem, open_storage
from cryptdrive.vfs.core import Transaction


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
    folder = RealFolder(state_folder(folders.state, vault.unlocked.vault_id))
    fill_vault(store, vault.unlocked, folder, clock, randomness)
    known = KnownStores(folders.state)
    known.replace(store.url, vault.unlocked.vault_id)
    # Last: once the vault is there, nothing may keep the recovery key from being shown.
    try:
        finish_vault(store, vault)
    except BaseException:
        known.forget(store.url)
        raise
    return vault.recovery_key


def fill_vault(
    store: Store, unlocked: UnlockedVault, folder: LocalFolder, clock: Clock, randomness: Randomness
) -> None:
    """The vault's first commit: an empty root directory, and this device."""
    sealer = Sealer(unlocked.keyring(), randomness)
    state = DeviceState(folder, sealer)
    device = enrol(unlocked, taken=set(), clock=clock, randomness=randomness)
    settings = DriveSettings(disk_reserve_mib=0)  # it takes next to nothing
    storage = open_storage(store, sealer, randomness, clock, settings, folder.folder("outbox"))
    try:
        commits = DeviceCommits(
            store,
            sealer,
            device,
            unlocked.table_id,
            clock,
            None,
            state.save_head,
            VaultCopy(folder.folder("copy")),
        )
        commits.message = "vault created"
        journal = Journal(folder.folder("journal"), sealer, randomness, JournalEnd())
        fs, _ = open_filesystem(
            storage, None, LocalChanges(journal, 0, Unpublished()), commits, device.tag,
            device_records(device, CounterReserve(0)), settings, clock, read_only=False,
        )  # fmt: skip
        fs.core.transact(_make_root)
        fs.sync()
    finally:
        storage.close()
    state.save_device(device)


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
