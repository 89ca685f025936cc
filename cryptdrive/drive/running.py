"""An open drive: what front ends talk to, and what closing it means."""

import logging
from dataclasses import dataclass
from pathlib import Path

from cryptdrive.crypto.sealing import Sealer
from cryptdrive.errors import CryptdriveError, UnsentData
from cryptdrive.local.commit_log import DeviceCommits
from cryptdrive.local.disk import LocalFolder
from cryptdrive.local.drive_lock import DriveLock
from cryptdrive.local.enrolment import CounterReserve
from cryptdrive.local.publisher import Publisher
from cryptdrive.local.sealed_file import SealedFile
from cryptdrive.store.base import Store
from cryptdrive.vault.unlocking import UnlockedVault
from cryptdrive.vfs.assembly import Storage
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.housekeeping import Housekeeper, Loop
from cryptdrive.vfs.uploading import Uploader

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
    waiting_bytes: int
    """Bytes of file data that are not on the store, those in memory included."""
    waiting_files: int
    changed_records: int
    bytes_per_s: float
    """How fast the store takes data, of late."""
    seconds_left: float | None
    """How long it takes to send what waits, by that."""
    retry_in_s: float | None
    """When a store that failed is asked again."""
    publications: int
    journal_syncs: int
    open_handles: int
    block_cache_bytes: int
    node_cache_bytes: int
    used_bytes: int
    inodes: int
    pressure: str | None
    """What writers meet while much waits: they are slowed down, or refused, and why."""
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
        uploader: Uploader,
        folder: LocalFolder,
        sealer: Sealer,
        lock: DriveLock | None,
        state: CounterReserve,
    ) -> None:
        self.store = store
        self.fs = fs
        self.vault_id = unlocked.vault_id
        self.read_only = lock is None
        self._folder = folder
        self._storage = storage
        self._publisher = publisher
        self._commits = commits
        self._housekeeper = housekeeper
        self._uploader = uploader
        self._loops = (
            Loop("housekeeper", housekeeper.step, housekeeper.pause_s),
            Loop("uploader", uploader.step, uploader.pause_s),
        )
        self._sealer = sealer
        self._lock = lock
        self._reserve = state
        self._closed = False

    @property
    def state_path(self) -> Path:
        """The folder of this drive's local state."""
        assert self._folder.path is not None
        return self._folder.path

    def start(self) -> None:
        """Let the drive save, publish and tidy by itself."""
        if not self.read_only:
            for loop in self._loops:
                loop.start()

    def step(self) -> None:
        """Do once what :meth:`start` lets threads do; never raises."""
        self._housekeeper.step()
        self._uploader.step()

    def note_absence(self, error: CryptdriveError) -> None:
        """The store was away when the drive was opened: it is looked for again and again."""
        self._publisher.is_away(error)

    def sealed_file(self, label: str) -> SealedFile:
        """A small local file that only this vault's keys open, for a front end's own state."""
        return SealedFile(self._folder, label, self._sealer, label)

    def flush(self) -> None:
        """Everything done before is on the store when it returns."""
        self.fs.sync()

    def status(self) -> DriveStatus:
        core, head = self.fs.core, self._commits.head
        backlog, error = self.fs.backlog, self.fs.last_error
        waiting = core.unsealed_bytes + backlog.waiting_bytes
        rate = backlog.send_rate
        return DriveStatus(
            store=self.store.url,
            vault_id=self.vault_id.hex(),
            read_only=self.read_only,
            head_number=head.number if head is not None else 0,
            head_hash=head.hash.hex() if head is not None else "",
            device_tag=core.counters.tag,
            unsealed_bytes=core.unsealed_bytes,
            waiting_bytes=waiting,
            waiting_files=backlog.waiting_files,
            changed_records=core.map.change_count,
            bytes_per_s=rate,
            seconds_left=waiting / rate if waiting and rate else None,
            retry_in_s=self._uploader.retry_in_s,
            publications=self._publisher.publications,
            journal_syncs=self._publisher.journal_syncs,
            open_handles=self.fs.open_handles(),
            block_cache_bytes=self._storage.reader.cache_bytes,
            node_cache_bytes=self._storage.nodes.cache_bytes,
            used_bytes=core.usage.allocated,
            inodes=core.usage.inodes,
            pressure=None if self.read_only else self.fs.pressure,
            last_error=str(error) if error is not None else None,
        )

    def close(self, *, publish: bool = True) -> None:
        """Save everything and let go of the drive; without ``publish`` on this machine only.

        Raises UnsentData where the store has not got everything: it is safe on this machine, and the
        next time that the drive is opened sends it. Raises what kept changes from being saved here.
        """
        if self._closed:
            return
        self._closed = True
        if not publish:
            self.stop_sending()
        for loop in self._loops:
            loop.stop()
        try:
            if not self.read_only:
                self._purge()
                self._reserve.count = 0
                self.fs.sync(remote=False)
                self._publish_last(wanted=publish)
        finally:
            self._storage.close()
            if self._lock is not None:
                self._lock.release()
            self.store.close()

    def stop_sending(self) -> None:
        """Whoever waits for the store gets Unavailable soon; nothing more is sent."""
        self._storage.sender.stop()

    def _publish_last(self, *, wanted: bool) -> None:
        reason = ""
        if wanted:
            try:
                self.fs.sync()
                return
            except CryptdriveError as error:
                reason = f": {error}"
        if not self.fs.core.map.has_unpublished:
            return
        backlog = self.fs.backlog
        size = backlog.waiting_bytes / (1 << 20)
        data = f" ({size:.1f} MiB)" if size >= 0.1 else ""
        raise UnsentData(
            f"changes of {backlog.waiting_files} files and folders{data} are not on the store yet{reason}\n"
            f"they are safe on this machine, in {self._folder.path}; "
            "the next mount of this drive, here, sends them"
        )

    def _purge(self) -> None:
        try:
            while self.fs.purge_some():
                pass
        except CryptdriveError as error:
            _log.warning("what nothing names any more is freed by the next mount: %s", error)
