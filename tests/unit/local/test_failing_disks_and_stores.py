"""What a failing disk, a lost folder, or a store that changes under our hands must not do."""

import copy
import os
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from cryptdrive.config import DriveSettings
from cryptdrive.crypto.sealing import Sealer
from cryptdrive.drive.creation import fill_vault
from cryptdrive.drive.opening import open_unlocked
from cryptdrive.drive.running import Drive
from cryptdrive.errors import CryptdriveError, DiskError, NoSpace, Rollback, Unavailable
from cryptdrive.local.device import state_folder
from cryptdrive.local.disk import RealFolder
from cryptdrive.local.journal_reading import read_journal
from cryptdrive.local.vault_copy import VaultCopy
from cryptdrive.store.base import Store
from cryptdrive.store.memory import MemoryStore
from cryptdrive.types import ROOT_INODE, ObjectName, VaultId
from cryptdrive.vault.header import HEADER_NAME
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.values import Caller
from tests.model.clock import ManualClock
from tests.simulation.machine import NoLock, new_vault, read_file
from tests.support.disk import SimulatedDisk

CALLER = Caller()


class Machine:
    """A vault in memory, and a device's simulated disk, which ``fail`` lets fail."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.unlocked, objects = new_vault()
        self.store = store or MemoryStore()
        self.store.objects.update(objects)  # type: ignore[arg-type]
        self.clock = ManualClock()
        self.fail: Callable[[str, str], None] = lambda operation, name: None
        self.disk = SimulatedDisk(lambda operation, name: self.fail(operation, name))
        self.drives: list[Drive] = []
        fill_vault(self.store, self.unlocked, self.disk.top(), self.clock, os.urandom)

    def open(
        self, disk: SimulatedDisk | None = None, tips_from: Store | None = None, *, read_only: bool = False
    ) -> Drive:
        settings = DriveSettings(parallel_uploads=1)
        top = (disk or self.disk).top()
        drive = open_unlocked(
            self.store, self.unlocked, settings, top, NoLock(), self.clock, os.urandom,
            tips_from=tips_from, read_only=read_only,
        )  # fmt: skip
        self.drives.append(drive)
        return drive

    def kill(self, disk: SimulatedDisk | None = None) -> None:
        (disk or self.disk).kill()
        for drive in self.drives:
            drive._storage.close()
        self.drives.clear()

    def names(self, folder: str) -> list[str]:
        return [name for name in self.disk.folders[folder].seen if not name.endswith(".kept")]


def put(fs: FileSystem, name: bytes, data: bytes) -> None:
    """A file that was fsynced."""
    handle, _ = fs.create(ROOT_INODE, name, 0o644, os.O_WRONLY, CALLER)
    fs.write(handle, 0, data)
    fs.fsync(handle)
    fs.close(handle)


def names(drive: Drive) -> list[bytes]:
    return [entry.name for entry in drive.fs.readdir(drive.fs.opendir(ROOT_INODE))]


def failing(operation: str, name: str, error: int = 5, times: int = 1 << 30) -> Callable[[str, str], None]:
    left = [times]

    def fail(called: str, which: str) -> None:
        if called == operation and which.startswith(name) and left[0]:
            left[0] -= 1
            raise OSError(error, os.strerror(error))

    return fail


def copy_of(disk: SimulatedDisk) -> SimulatedDisk:
    other = SimulatedDisk()
    other.folders = copy.deepcopy(disk.folders)
    return other


def test_what_a_failed_sync_left_in_memory_is_not_relied_on_by_the_next_process() -> None:
    machine = Machine()
    drive = machine.open()
    put(drive.fs, b"first", b"1" * 700)
    machine.fail = failing("sync", "journal/")
    with pytest.raises(DiskError):
        put(drive.fs, b"second", b"2" * 700)
    machine.fail = failing("", "")
    machine.kill()
    put(machine.open().fs, b"third", b"3" * 700)
    machine.kill()
    machine.disk.lose_power(random.Random(1))
    assert read_file(machine.open().fs, b"third") == b"3" * 700


def test_restored_state_that_went_on_without_its_store_is_recognised() -> None:
    machine = Machine()
    drive = machine.open()
    put(drive.fs, b"old", b"o" * 700)
    drive.close()
    backup = copy_of(machine.disk)
    drive = machine.open()
    for number in range(6):
        put(drive.fs, b"%d" % number, b"n" * 700)
    drive.close()
    away = VaultCopy(backup.top().folder("copy")).store()
    put(machine.open(backup, away).fs, b"precious", os.urandom(300_000))
    machine.kill(backup)
    before, files = dict(machine.store.objects), set(backup.folders["outbox"].seen)
    with pytest.raises(Rollback, match="restored from a backup"):
        machine.open(backup)
    assert machine.store.objects == before
    assert set(backup.folders["outbox"].seen) == files


def test_a_second_copy_that_runs_at_the_same_time_loses_nothing_in_silence() -> None:
    machine = Machine()
    drive = machine.open()
    put(drive.fs, b"old", b"o" * 700)
    drive.close()
    clone = copy_of(machine.disk)
    one, two = machine.open(), machine.open(clone)
    put(two.fs, b"precious", b"p" * 700)
    for number in range(6):
        put(one.fs, b"%d" % number, b"n" * 700)
    one.close()
    with pytest.raises(Rollback):
        two.flush()
    machine.kill(clone)
    with pytest.raises(Rollback, match="another copy of it is in use"):
        machine.open(clone)


def test_restored_state_without_anything_unsent_is_another_device() -> None:
    machine = Machine()
    drive = machine.open()
    put(drive.fs, b"old", b"o" * 700)
    tag = drive.status().device_tag
    drive.close()
    backup = copy_of(machine.disk)
    drive = machine.open()
    put(drive.fs, b"new", b"n" * 700)
    drive.close()
    drive = machine.open(backup)
    assert drive.status().device_tag != tag
    assert names(drive) == [b"new", b"old"]
    put(drive.fs, b"later", b"l" * 700)
    drive.close()
    assert names(machine.open(SimulatedDisk())) == [b"later", b"new", b"old"]


def test_a_crash_before_the_head_was_noted_and_then_another_device() -> None:
    machine = Machine()
    drive = machine.open()
    put(drive.fs, b"mine", b"m" * 700)
    machine.fail = failing("create", "head.new")
    with pytest.raises(DiskError):
        drive.flush()  # the commit is on the store, the head is not noted
    machine.fail = failing("", "")
    machine.kill()
    other = machine.open(SimulatedDisk())
    put(other.fs, b"other", b"x" * 700)
    other.close()
    drive = machine.open()
    assert names(drive) == [b"mine", b"other"]
    drive.close()


def test_one_failure_while_tidying_keeps_nothing_else() -> None:
    machine = Machine()
    drive = machine.open()
    for number in range(3):
        put(drive.fs, b"%d" % number, os.urandom(15 << 20))
    machine.fail = failing("remove", "outbox/", times=1)
    drive.flush()
    assert drive.fs.backlog.waiting_bytes == 0
    assert drive.fs.backlog.unsent_bytes == 0
    drive.close()
    machine.open().close()
    assert machine.names("outbox") == []


def test_a_full_disk_does_not_count_what_is_not_there() -> None:
    machine = Machine()
    drive = machine.open()
    machine.fail = failing("write", "journal/new", 28)
    before = drive.fs.backlog.kept_bytes
    handle, _ = drive.fs.create(ROOT_INODE, b"log", 0o644, os.O_WRONLY, CALLER)
    failures = 0
    for _ in range(2000):
        drive.fs.write(handle, 0, os.urandom(400))
        try:
            drive.fs.fsync(handle)
        except NoSpace:
            failures += 1
    assert failures > 100
    there = sum(len(content.seen) for content in machine.disk.folders["journal"].seen.values())
    assert drive.fs.backlog.kept_bytes - before <= there


def test_a_damaged_copy_of_what_the_store_has_is_let_go() -> None:
    machine = Machine()
    drive = machine.open()
    put(drive.fs, b"file", b"f" * 700)
    drive.close()
    kept = [content for name, content in machine.disk.folders["outbox"].seen.items() if "kept" in name]
    assert kept
    for content in kept:
        content.seen[40:200] = bytes(160)
    assert read_file(machine.open().fs, b"file") == b"f" * 700


def test_folders_above_the_state_are_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    sync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    folder = state_folder(tmp_path / "state", VaultId(b"v" * 32))
    (folder / "outbox").mkdir()  # whoever made it died before it was on disk
    RealFolder(folder).folder("outbox")
    assert synced == [str(path) for path in (folder.parent, folder.parents[1], folder.parents[2], folder)]


class HeaderGoes(MemoryStore):
    """Loses the header as soon as a pack is put, once it is armed."""

    is_armed = False

    def put(self, name: ObjectName, data: bytes | bytearray | memoryview, *, exclusive: bool = False) -> None:
        super().put(name, data, exclusive=exclusive)
        if self.is_armed and name.startswith("packs"):
            self.objects.pop(HEADER_NAME, None)


def test_no_commit_is_put_where_the_header_went_meanwhile() -> None:
    store = HeaderGoes()
    machine = Machine(store)
    drive = machine.open()
    put(drive.fs, b"file", os.urandom(1 << 20))
    store.is_armed = True
    before = [name for name in store.objects if name.startswith("commits")]
    with pytest.raises(Unavailable):
        drive.flush()
    assert [name for name in store.objects if name.startswith("commits")] == before


def test_a_lost_journal_is_told_and_nothing_is_removed(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    drive = machine.open()
    put(drive.fs, b"published", b"p" * 700)
    drive.flush()
    put(drive.fs, b"precious", os.urandom(1 << 20))
    machine.kill()
    journal = machine.disk.folders["journal"]
    journal.seen.clear()
    journal.durable.clear()
    before = machine.names("outbox")
    assert before
    drive = machine.open()
    assert names(drive) == [b"published"]
    assert "journal is gone" in caplog.text
    assert set(before) <= set(machine.names("outbox"))


def test_a_head_that_could_not_be_copied_is_not_noted() -> None:
    machine = Machine()
    drive = machine.open()
    put(drive.fs, b"file", b"f" * 700)
    machine.fail = failing("write", "copy/commit.new")
    with pytest.raises(CryptdriveError):
        drive.flush()
    machine.fail = failing("", "")
    machine.kill()
    away = VaultCopy(machine.disk.top().folder("copy")).store()
    assert names(machine.open(tips_from=away)) == [b"file"]


def test_reading_a_journal_takes_far_less_memory_than_it_is_long() -> None:
    machine = Machine()
    drive = machine.open()
    handle, _ = drive.fs.create(ROOT_INODE, b"database", 0o644, os.O_RDWR, CALLER)
    for _ in range(160):
        drive.fs.write(handle, 0, os.urandom(200_000))
        drive.fs.fsync(handle)
    last = drive.fs.read(handle, 0, 200_000)
    length = sum(len(content.seen) for content in machine.disk.folders["journal"].seen.values())
    machine.kill()
    assert length > 30 << 20
    tracemalloc.start()
    try:
        folder, sealer = machine.disk.top().folder("journal"), Sealer(machine.unlocked.keyring(), os.urandom)
        content = read_journal(folder, sealer, read_only=True)
        assert sum(1 for _ in content.groups) == content.last_sequence > 160
        assert tracemalloc.get_traced_memory()[1] < length / 5
    finally:
        tracemalloc.stop()
    assert read_file(machine.open().fs, b"database") == last
