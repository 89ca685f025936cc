"""Opening a vault as a drive: which state it is in, on the store and here, and who this device is."""

import logging
from pathlib import Path

from cryptdrive.clock import Clock, Randomness, SystemClock, system_randomness
from cryptdrive.config import DriveSettings, LocalFolders
from cryptdrive.crypto.passwords import Argon2Costs
from cryptdrive.crypto.sealing import Sealer
from cryptdrive.drive.running import Drive
from cryptdrive.errors import CryptdriveError, DriveInUse, NoVault, OtherVault, Rollback, Unavailable
from cryptdrive.local.commit_log import DeviceCommits
from cryptdrive.local.device import Device, DeviceState, Head, state_folder
from cryptdrive.local.disk import LocalFolder, RealFolder, disk_errors
from cryptdrive.local.drive_lock import DriveLock
from cryptdrive.local.enrolment import (
    CounterReserve,
    check_descent,
    device_records,
    enrol,
    only_tip,
    taken_tags,
)
from cryptdrive.local.frames import Prepared
from cryptdrive.local.journal import Journal
from cryptdrive.local.journal_reading import JournalContent, read_journal
from cryptdrive.local.known_stores import KnownStores
from cryptdrive.local.recovery import not_on_store, recover
from cryptdrive.local.vault_copy import VaultCopy
from cryptdrive.local.working_map import WorkingMap
from cryptdrive.schema.keys import history_key
from cryptdrive.store.base import Store
from cryptdrive.types import VaultId
from cryptdrive.vault import unlocking
from cryptdrive.vault.commits import CommitId
from cryptdrive.vault.heads import Tip, find_tips
from cryptdrive.vault.slot_tables import SlotTableId, delete_older
from cryptdrive.vault.unlocking import Credentials, UnlockedVault, unlock_vault
from cryptdrive.vfs.assembly import LocalChanges, open_filesystem, open_storage
from cryptdrive.vfs.core import Transaction
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.housekeeping import Housekeeper
from cryptdrive.vfs.uploading import Uploader

_log = logging.getLogger(__name__)


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
    vault_id = known.vault_at(store.url)
    away: CryptdriveError | None = None
    try:
        unlocked = unlock_vault(store, credentials, vault_id)
        tips_from = store
    except (Unavailable, NoVault) as error:
        copy = local_copy(folders, vault_id)
        if copy is None or isinstance(error, OtherVault):
            raise
        away, tips_from = error, copy
        _log.warning("the store is away, and the drive works with what is here: %s", error)
        unlocked = unlock_vault(copy, credentials, vault_id)
    path = state_folder(folders.state, unlocked.vault_id)
    lock = _lock(path, required=not read_only)
    try:
        known.remember(store.url, unlocked.vault_id)
        drive = open_unlocked(
            store, unlocked, settings, RealFolder(path), lock, clock, randomness,
            tips_from=tips_from, read_only=read_only,
        )  # fmt: skip
        if away is not None:
            drive.note_absence(away)
    except BaseException:
        if lock is not None:
            lock.release()
        raise
    if read_only and lock is not None:
        lock.release()  # what was found is open, and stays readable
    drive.start()
    return drive


def local_copy(folders: LocalFolders, vault_id: VaultId | None) -> Store | None:
    """What opens a known vault while its store is away; None where this machine has not got it.

    Raises Integrity, DiskError.
    """
    if vault_id is None:
        return None
    return VaultCopy(RealFolder(state_folder(folders.state, vault_id)).folder("copy")).store()


def _lock(folder: Path, *, required: bool) -> DriveLock | None:
    """Raises DriveInUse where it is ``required``."""
    lock = DriveLock(folder)
    try:
        lock.acquire()
    except DriveInUse:
        if required:
            raise
        # Whoever has it may change at any moment what is not on the store.
        _log.info("the drive is in use: what is not on the store yet is not shown")
        return None
    return lock


def open_unlocked(
    store: Store,
    unlocked: UnlockedVault,
    settings: DriveSettings,
    folder: LocalFolder,
    lock: "DriveLock | None",
    clock: Clock,
    randomness: Randomness,
    *,
    tips_from: Store | None = None,
    read_only: bool = False,
) -> Drive:
    """The drive in a local folder that ``lock`` guards; without one only the store is looked at.

    ``tips_from`` is where the newest commit is found, if not in the store, which is away then.
    Nothing runs by itself until its ``start``. Raises Integrity, Rollback, StoreError, DiskError, NoSpace.
    """
    sealer = Sealer(unlocked.keyring(), randomness)
    state = DeviceState(folder, sealer)
    head, device = state.load_head(), state.load_device()
    with disk_errors(folder, "reading the drive's state"):
        if not read_only:
            folder.sync()  # a head that is seen is relied on, and who put it there may have died before
        journal_folder, outbox_folder = folder.folder("journal"), folder.folder("outbox")
        content = JournalContent()
        if lock is not None:
            content = read_journal(journal_folder, sealer, read_only=read_only)
    storage = open_storage(store, sealer, randomness, clock, settings, outbox_folder)
    try:
        storage.outbox.find_kept()  # the first look-ups may be without the store
        owner_key = unlocked.header.owner_key
        copy = VaultCopy(folder.folder("copy"))
        tip = only_tip(find_tips(tips_from or store, sealer, owner_key, known=_known_commits(head, content)))
        working_map = WorkingMap(storage.nodes, tip.commit.root)
        check_descent(working_map, tip, head)
        if _is_own(tip, device) and tip.id not in _known_commits(head, content):
            # A commit is in the journal before it is on the store: another copy of this state made that one.
            if _waits(content, head) and not read_only:
                raise _is_of_the_past(folder)
            device = None
        through = _stored_through(working_map, head, tip, device, content.prepared)
        groups, prepared = not_on_store(content, through)
        waiting = max(content.last_sequence - through, 0)
        if (waiting or prepared is not None) and not _may_go_on(tip, head, device):
            if not read_only:
                raise _cannot_go_on(folder, device)
            if tip.id != _commit_of(head):
                groups, prepared = iter(()), None
                _log.warning(
                    "changes that wait in %s are not shown: they were made on another state", folder.path
                )
        new_device = device is None
        if device is None:
            device = enrol(unlocked, taken_tags(working_map), clock, randomness, temporary=read_only)
        journal = Journal(journal_folder, sealer, randomness, content.end)
        unpublished = recover(
            outbox_folder, storage.outbox, sealer, randomness, groups, prepared,
            read_only=read_only, keep_unknown=_has_lost_its_journal(folder, head, content),
        )  # fmt: skip
        local = LocalChanges(journal, max(content.last_sequence, through), unpublished)
        commits = DeviceCommits(
            store, sealer, device, unlocked.table_id, clock, tip.id, state.save_head, copy
        )
        reserve = CounterReserve()
        fs, publisher = open_filesystem(
            storage, tip.commit.root, local, commits, device.tag, device_records(device, reserve),
            settings, clock, read_only=read_only,
        )  # fmt: skip
        if not read_only:
            # Both before anything is published: a restart goes on with what they and the journal say.
            if new_device:
                state.save_device(device)
            if tip.id != _commit_of(head):
                state.save_head(Head(tip.id.number, tip.id.hash, through))
            if new_device:
                _publish_enrolment(fs, commits, device, reserve)
            if tips_from in (None, store):
                _name_slot_table(store, fs, commits, tip, device, reserve, unlocked.table_id)
                copy.update(store, unlocked.table_id, commits.head or tip.id)
    except BaseException:
        storage.close()
        raise
    housekeeper = Housekeeper(fs, clock, settings)
    uploader = Uploader(fs, clock, settings, randomness)
    return Drive(
        store,
        unlocked,
        storage,
        fs,
        publisher,
        commits,
        housekeeper,
        uploader,
        folder,
        sealer,
        None if read_only else lock,
        reserve,
    )


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


def _commit_of(head: Head | None) -> CommitId | None:
    return CommitId(head.number, head.hash) if head is not None and head.number else None


def _known_commits(head: Head | None, content: JournalContent) -> list[CommitId]:
    """What this device knows of, whatever a listing shows."""
    known = _commit_of(head)
    prepared = content.prepared.commit if content.prepared is not None else None
    return [commit for commit in (prepared, known) if commit is not None]


def _is_own(tip: Tip, device: Device | None) -> bool:
    return device is not None and tip.commit.certificate == device.certificate


def _may_go_on(tip: Tip, head: Head | None, device: Device | None) -> bool:
    """Whether changes that wait here were made on the state that the store has."""
    return device is not None and (tip.id == _commit_of(head) or _is_own(tip, device))


def _stored_through(
    working_map: WorkingMap, head: Head | None, tip: Tip, device: Device | None, prepared: Prepared | None
) -> int:
    """The last group of this device's journal that is on the store."""
    through = head.journal_sequence if head is not None else 0
    if _is_own(tip, device):
        return max(through, tip.commit.journal_sequence)
    if device is not None and prepared is not None and prepared.through > through:
        # It was put, and others went on from it before this device noted it as its head.
        key = history_key(prepared.commit.number, prepared.commit.hash)
        if working_map.run(lambda: working_map.get(key)) is not None:
            return prepared.through
    return through


def _waits(content: JournalContent, head: Head | None) -> bool:
    """Whether the journal holds changes that were not on the store when this state was last used."""
    return content.last_sequence > (head.journal_sequence if head is not None else 0)


def _has_lost_its_journal(folder: LocalFolder, head: Head | None, content: JournalContent) -> bool:
    """Whether a journal that there was is gone; a drive that is in use has it, only not for us."""
    if head is None or not head.journal_sequence or content.end.number_max:
        return False
    _log.warning(
        "%s/journal is gone, and with it what was changed on this machine and not on the store yet; "
        "nothing in %s/outbox was removed",
        folder.path,
        folder.path,
    )
    return True


def _is_of_the_past(folder: LocalFolder) -> Rollback:
    return Rollback(
        f"{folder.path} was restored from a backup, or another copy of it is in use: this device has "
        "published what this folder does not know of, and changes wait in it. Nothing was changed. If they "
        "are not wanted, move the folder away and open the drive again"
    )


def _cannot_go_on(folder: LocalFolder, device: Device | None) -> Rollback:
    if device is None:
        return Rollback(
            f"{folder.path} holds changes that another device made and did not publish: the folder was "
            "copied or is incomplete. Nothing was changed. Open the drive with --read-only to copy what "
            "you need; then move the folder away and open the drive again"
        )
    return Rollback(
        f"another device has published, and changes made here wait in "
        f"{folder.path}: this version cannot merge them. Nothing was changed"
    )
