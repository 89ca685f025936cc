"""Nothing grows without a limit, and one file's trouble is not another's."""

import os
import threading
from pathlib import Path

import pytest

from cryptdrive import waiting
from cryptdrive.clock import SystemClock
from cryptdrive.config import DriveSettings
from cryptdrive.errors import NoSpace, Unavailable
from cryptdrive.store.faults import Fault, FaultyStore, scripted
from cryptdrive.store.folder import FolderStore
from cryptdrive.store.memory import MemoryStore
from cryptdrive.types import InodeNumber, ObjectName
from cryptdrive.vfs.filesystem import VIRTUAL_BYTES, FileSystem
from cryptdrive.vfs.housekeeping import Housekeeper
from cryptdrive.vfs.values import Caller, SetAttr, XattrFlags
from tests.model.clock import ManualClock
from tests.support.disk import SimulatedDisk
from tests.support.vault import ListedCommits, SmallVault

CALLER = Caller()
MIB = 1 << 20


class AwayStore(MemoryStore):
    """``away`` makes every get fail."""

    away = False

    def get(self, name: ObjectName, offset: int = 0, length: int | None = None) -> bytes:
        if self.away:
            raise Unavailable("away")
        return super().get(name, offset, length)


def put(fs: FileSystem, name: bytes, data: bytes) -> InodeNumber:
    handle, attr = fs.create(fs.root, name, 0o644, os.O_WRONLY, CALLER)
    fs.write(handle, 0, data)
    fs.close(handle)
    return attr.inode


def test_whoever_waits_for_room_does_not_keep_others_from_making_it() -> None:
    vault = SmallVault(MemoryStore(), SystemClock(), DriveSettings(memtable_mib_max=8))
    fs = vault.open()
    for number in range(9000):
        fs.core.transact(lambda t: t.put(b"\xff" * 9 + number.to_bytes(4), b"v" * 900), internal=True)  # noqa: B023
    assert fs.backlog.memory_bytes > 8 * MIB
    value = os.urandom(5000)
    setter = threading.Thread(target=fs.setxattr, args=(fs.root, b"user.big", value, XattrFlags(0), CALLER))
    setter.start()
    publisher = threading.Thread(target=fs.sync)
    publisher.start()
    publisher.join(10)
    setter.join(10)
    assert not publisher.is_alive()
    assert not setter.is_alive()
    assert fs.getxattr(fs.root, b"user.big") == value


class SmallDisk(SimulatedDisk):
    """Has ``size`` bytes."""

    size = 1 << 40

    @property  # type: ignore[override]
    def free(self) -> int:
        names = (content for folder in self.folders.values() for content in folder.seen.values())
        return self.size - sum(len(content.seen) for content in names)

    @free.setter
    def free(self, value: int) -> None: ...


def test_changes_without_file_data_leave_the_reserve_alone() -> None:
    disk = SmallDisk()
    vault = SmallVault(MemoryStore(), ManualClock(), DriveSettings(disk_reserve_mib=16), disk=disk)
    fs = vault.open(forget=False)
    handle = fs.opendir(fs.root)
    fs.fsync(handle)
    fs._publisher.is_away(Unavailable("away"))
    disk.size += 24 * MIB - disk.free
    with pytest.raises(NoSpace):
        for _ in range(40_000):
            for name in (b"user.x", b"user.y"):
                fs.setxattr(fs.root, name, os.urandom(480), XattrFlags(0), CALLER)
            fs.fsync(handle)
            assert disk.free > 12 * MIB
    assert disk.free > 12 * MIB


def test_a_file_out_of_reach_does_not_keep_others_from_being_saved() -> None:
    store = AwayStore()
    vault = SmallVault(store, ManualClock())
    fs = vault.open()
    assert vault.storage is not None
    vault.storage.outbox.kept_bytes_max = 0
    for number in range(1500):
        put(fs, b"%04d" % number, b"x" * 400)
    fs.sync()
    fs = vault.open()
    inode, other = (fs.lookup(fs.root, name).inode for name in (b"0700", b"1499"))
    handle, other_handle = (fs.open(each, os.O_RDWR, CALLER) for each in (inode, other))
    vault.storage.nodes.drop_cache()
    store.away = True
    with pytest.raises(Unavailable):
        fs.write(handle, 10, b"y" * 20)
    fs.setattr(other, SetAttr(mode=0o600), CALLER)
    fs.fsync(other_handle)


def test_files_that_were_truncated_by_name_are_not_kept_in_memory() -> None:
    fs = SmallVault(MemoryStore(), ManualClock()).open()
    for number in range(300):
        fs.setattr(put(fs, b"%d" % number, b"x" * 900), SetAttr(size=0), CALLER)
    fs.sync()
    assert not fs.core.live
    assert not fs.core.unsealed


def test_the_event_loop_does_not_wait_for_packs_to_be_synced() -> None:
    vault = SmallVault(MemoryStore(), ManualClock())
    fs = vault.open()
    handle, _ = fs.create(fs.root, b"large", 0o644, os.O_RDWR, CALLER)
    fs.fsync(handle)
    fs.write(handle, 0, b"small")
    assert fs.save_quickly(fs.sync_point())
    for number in range(24):
        fs.write(handle, number * MIB, os.urandom(MIB))
        while fs.sealer.seal_oldest():
            pass
    slow: list[str] = []

    def before(operation: str, name: str) -> None:
        if operation == "sync" and name.startswith("outbox") and waiting._state.forbidden:
            slow.append(name)

    vault.disk.before = before  # type: ignore[attr-defined]
    fs.write(handle, 0, b"x")
    assert not fs.save_quickly(fs.sync_point())
    assert not slow
    fs.fsync(handle)


def test_a_publication_that_fails_again_and_again_takes_no_more_room() -> None:
    store = AwayStore()
    vault = SmallVault(store, ManualClock())
    fs = vault.open()
    assert vault.storage is not None
    vault.storage.outbox.kept_bytes_max = 0
    for number in range(300):
        put(fs, b"%03d" % number, b"x" * 400)
    fs.sync()
    handle, attr = fs.create(fs.root, b"large", 0o644, os.O_RDWR, CALLER)
    for number in range(12):
        fs.write(handle, number * MIB, os.urandom(MIB))
        fs.sealer.seal_oldest()
    fs.fsync(handle)
    fs.setattr(attr.inode, SetAttr(size=3 * MIB), CALLER)
    prepare = fs._publisher._prepare

    def truncated_meanwhile() -> object:
        # A newer change names the pack too, which the frozen ones leave half dead.
        if fs.getattr(attr.inode).size == 3 * MIB:
            fs.setattr(attr.inode, SetAttr(size=2 * MIB + 5), CALLER)
            vault.drop_caches(fs)
            store.away = True
        return prepare()

    fs._publisher._prepare = truncated_meanwhile  # type: ignore[method-assign, assignment]
    sizes = []
    for _ in range(5):
        with pytest.raises(Unavailable):
            fs.sync()
        sizes.append(fs.backlog.waiting_bytes)
    assert sizes[1:] == sizes[:1] * 4
    store.away = False
    fs.sync()
    fs = vault.open()
    assert fs.getattr(attr.inode).size == 2 * MIB + 5


class PlaceIsAway(ListedCommits):
    """A commit log whose store is away, when it is."""

    is_away = False

    def check_place(self) -> None:
        if self.is_away:
            raise Unavailable("away")


def test_removing_gives_room_back_while_the_store_is_away() -> None:
    commits, clock = PlaceIsAway(), ManualClock()
    settings = DriveSettings(outbox_mib_max=100)
    vault = SmallVault(MemoryStore(), clock, settings, commits)
    fs = vault.open(forget=False)
    fs.sync()
    housekeeper = Housekeeper(fs, clock, settings)
    commits.is_away = True
    kept = os.urandom(5 * MIB)
    put(fs, b"kept", kept)
    with pytest.raises(Unavailable):
        fs.sync()
    for turn in range(6):
        for number in range(3):
            put(fs, b"%d" % number, os.urandom(10 * MIB))
            while fs.sealer.seal_oldest():
                pass
        with pytest.raises(Unavailable):
            fs.sync()
        for number in range(3):
            fs.unlink(fs.root, b"%d" % number, CALLER)
        for _ in range(4):
            clock.advance(10**10)
            housekeeper.step()
        assert fs.backlog.waiting_bytes < 40 * MIB, turn
    fs = vault.open(forget=False)  # a crash
    handle = fs.open(fs.lookup(fs.root, b"kept").inode, os.O_RDONLY, CALLER)
    assert fs.read(handle, 0, 6 * MIB) == kept
    commits.is_away = False
    fs.sync()
    fs = vault.open()
    handle = fs.open(fs.lookup(fs.root, b"kept").inode, os.O_RDONLY, CALLER)
    assert fs.read(handle, 0, 6 * MIB) == kept


def test_numbers_of_a_disk_that_is_away_are_not_asked_for(tmp_path: Path) -> None:
    fs = SmallVault(FolderStore.create(tmp_path / "disk"), ManualClock()).open()
    assert fs.statfs().total_bytes < VIRTUAL_BYTES
    (tmp_path / "disk").rename(tmp_path / "unplugged")
    assert fs.statfs().total_bytes == VIRTUAL_BYTES


def test_what_waits_for_a_store_that_does_not_take_it_is_not_uploading() -> None:
    store = FaultyStore(MemoryStore(), scripted([]))
    fs = SmallVault(store, ManualClock()).open()
    fs.sync()
    inode = put(fs, b"file", b"f" * 3000)
    store.plan = scripted([Fault.BEFORE] * 4, operation="put")
    with pytest.raises(Unavailable):
        fs.sync()
    assert fs.getxattr(inode, b"user.cryptdrive.state") == b"local"
    store.plan = scripted([])
    fs.sync()
    assert fs.getxattr(inode, b"user.cryptdrive.state") == b"stored"
