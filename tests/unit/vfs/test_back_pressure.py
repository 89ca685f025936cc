"""Writers are slowed down, then stopped, before this machine is full; a store that answers frees them."""

import os
from dataclasses import dataclass
from itertools import pairwise

import pytest

from cryptdrive.config import DriveSettings
from cryptdrive.errors import CryptdriveError, DiskError, NoSpace, Unavailable
from cryptdrive.store.faults import Fault, FaultyStore, scripted
from cryptdrive.store.memory import MemoryStore
from cryptdrive.types import HandleId
from cryptdrive.vfs.admission import STALLED_S, Admission
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.housekeeping import Housekeeper
from cryptdrive.vfs.uploading import Uploader
from cryptdrive.vfs.values import Caller
from cryptdrive.waiting import WouldBlock, no_waiting
from tests.model.clock import ManualClock
from tests.support.disk import SimulatedDisk
from tests.support.vault import SmallVault

CALLER = Caller()
MIB = 1 << 20


@dataclass
class Numbers:
    """A backlog that a test sets."""

    kept_bytes: int = 0
    memory_bytes: int = 0
    sent_bytes: int = 0
    send_rate: float = 0.0
    failure: CryptdriveError | None = None
    free: int = 1 << 40

    def free_bytes(self) -> int:
        return self.free


class Gate:
    """An admission with a clock that sleeping moves."""

    def __init__(self) -> None:
        self.numbers = Numbers()
        self.clock = ManualClock()
        self.slept = 0.0
        self.confirm = 0
        self.admission = Admission(
            self.numbers, self.clock, self.sleep,
            outbox_bytes_max=100 * MIB, memory_bytes_max=10 * MIB, reserve_bytes=50 * MIB,
        )  # fmt: skip

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.clock.advance(int(seconds * 1e9))
        self.numbers.sent_bytes += self.confirm
        self.numbers.kept_bytes -= self.confirm

    def time_for(self, byte_count: int) -> float:
        before = self.slept
        self.admission.admit(byte_count)
        return self.slept - before


def test_it_is_smooth_from_half_on() -> None:
    gate = Gate()
    gate.numbers.send_rate = 10 * MIB
    times = []
    for used in (10, 49, 55, 70, 85, 97):
        gate.numbers.kept_bytes = used * MIB
        times.append(gate.time_for(MIB))
    assert times[:2] == [0, 0]
    assert 0 < times[2] < times[3] < times[4] < times[5]
    assert times[2] == pytest.approx(0.1 / 4, rel=0.2)
    assert times[5] == pytest.approx(0.1, rel=0.2)
    assert gate.admission.is_pressed


def test_nothing_waits_in_an_event_loop() -> None:
    gate = Gate()
    gate.numbers.kept_bytes = 60 * MIB
    with no_waiting(), pytest.raises(WouldBlock):
        gate.admission.admit(100)


def test_at_the_limit_writers_wait_for_progress() -> None:
    gate = Gate()
    gate.numbers.kept_bytes, gate.confirm = 102 * MIB, 64 * 1024
    assert gate.time_for(0) > 1
    assert gate.numbers.kept_bytes <= 100 * MIB
    gate.numbers.kept_bytes, gate.confirm = 102 * MIB, 0
    with pytest.raises(NoSpace, match="100 MiB of changes wait"):
        gate.admission.admit(0)
    assert gate.slept > STALLED_S
    gate.numbers.failure = Unavailable("no answer")
    before = gate.slept
    with pytest.raises(NoSpace, match="no answer"):
        gate.admission.admit(0)
    assert gate.slept == before


def test_memory_and_the_disks_reserve_are_limits_too() -> None:
    gate = Gate()
    gate.numbers.failure = Unavailable("no answer")
    gate.numbers.memory_bytes = 11 * MIB
    with pytest.raises(NoSpace, match="memory"):
        gate.admission.admit(0)
    gate.numbers.memory_bytes = 0
    gate.admission.admit(0)
    gate.numbers.free = 49 * MIB
    with pytest.raises(NoSpace, match="less than 50 MiB left"):
        gate.admission.admit(8 * MIB)
    assert "refused, for the disk" in str(gate.admission.pressure)
    gate.numbers.failure = None
    slept = gate.slept
    with pytest.raises(NoSpace, match="disk_reserve_mib"):
        gate.admission.admit(8 * MIB)
    assert gate.slept == slept, "nothing waits that would make room when it is sent"
    gate.numbers.free = 200 * MIB
    gate.admission.admit(1)
    assert gate.admission.pressure is None
    gate.numbers.memory_bytes = 6 * MIB
    assert "slowed down" in str(gate.admission.pressure)
    gate.numbers.memory_bytes = 0


def test_a_store_that_is_away_stops_writing_and_frees_it_again() -> None:
    store = FaultyStore(MemoryStore(), scripted([]))
    settings = DriveSettings(outbox_mib_max=64, dirty_mib_max=8, sealing_starts_mib=1)
    vault = SmallVault(store, ManualClock(), settings)
    fs = vault.open()
    fs.sync()
    uploader = Uploader(fs, vault.clock, settings, os.urandom)
    store.plan = lambda operation, name: Fault.BEFORE if operation == "put" else None
    handle, _ = fs.create(fs.root, b"large", 0o644, os.O_RDWR, CALLER)
    piece, written = os.urandom(MIB), 0
    with pytest.raises(NoSpace):
        for _ in range(200):
            fs.write(handle, written, piece)
            written += MIB
            uploader.step()
    assert 40 * MIB < written < 80 * MIB
    with pytest.raises(NoSpace):
        fs.mkdir(fs.root, b"folder", 0o755, CALLER)
    fs.fsync(handle)
    assert fs.read(handle, written - 10, 10) == piece[-10:]
    assert vault.open(forget=False).resolve(b"large").size == written
    fs = vault.open(forget=False)
    store.plan = scripted([])
    fs.sync()
    fs.mkdir(fs.root, b"folder", 0o755, CALLER)


def test_removing_works_however_full_it_is() -> None:
    fs = SmallVault(MemoryStore(), ManualClock()).open()
    fs.mkdir(fs.root, b"folder", 0o755, CALLER)
    fs.close(fs.create(fs.root, b"file", 0o644, os.O_RDWR, CALLER)[0])

    def full(byte_count: int) -> None:
        raise NoSpace("full")

    fs.core.admit = full
    with pytest.raises(NoSpace):
        fs.mkdir(fs.root, b"other", 0o755, CALLER)
    fs.unlink(fs.root, b"file", CALLER)
    fs.rmdir(fs.root, b"folder", CALLER)


def test_a_failing_store_is_asked_less_and_less_often() -> None:
    store, clock = FaultyStore(MemoryStore(), scripted([])), ManualClock()
    vault = SmallVault(store, clock, DriveSettings(retry_interval_max_s=20.0))
    fs = vault.open()
    fs.sync()
    uploader = Uploader(fs, clock, vault.settings, os.urandom)
    fs.mkdir(fs.root, b"folder", 0o755, CALLER)
    store.plan = lambda operation, name: Fault.BEFORE if operation == "put" else None
    asked = []
    for tenth in range(3000):
        before = len(store.failed)
        uploader.step()
        if len(store.failed) > before:
            asked.append(tenth / 10)
        clock.advance(100_000_000)
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    assert pauses[0] <= 1.1
    assert pauses[3] > 3
    assert all(9.9 <= pause <= 20.2 for pause in pauses[6:])
    assert len(set(pauses[6:])) > 3, "chance moves them"
    assert uploader.retry_in_s is not None
    store.plan = scripted([])
    clock.advance(20_000_000_000)
    uploader.step()
    assert uploader.retry_in_s is None
    assert fs.publish_error is None


class BadDisk(SimulatedDisk):
    """Takes nothing as long as it is told so."""

    def __init__(self) -> None:
        self.is_bad = False
        super().__init__(self._fail)

    def _fail(self, operation: str, name: str) -> None:
        if self.is_bad and operation in ("write", "sync"):
            raise OSError(5, "failed on purpose")


def told(fs: FileSystem, handle: HandleId) -> bool:
    """Whether closing a descriptor of it reports a failure."""
    try:
        fs.flush(handle)
    except DiskError:
        return True
    return False


def test_a_failure_in_the_background_reaches_each_handle_once() -> None:
    clock, disk = ManualClock(), BadDisk()
    vault = SmallVault(MemoryStore(), clock, disk=disk)
    fs = vault.open(forget=False)
    keeper = Housekeeper(fs, clock, vault.settings)
    first, attr = fs.create(fs.root, b"file", 0o644, os.O_RDWR, CALLER)
    second = fs.open(attr.inode, os.O_RDWR, CALLER)
    other, _ = fs.create(fs.root, b"other", 0o644, os.O_RDWR, CALLER)
    fs.sync()
    fs.write(first, 0, b"text" * 1000)
    disk.is_bad = True
    clock.advance(6_000_000_000)
    keeper.step()
    assert isinstance(fs.last_error, DiskError)
    late = fs.open(attr.inode, os.O_RDWR, CALLER)
    assert (told(fs, first), told(fs, first)) == (True, False)
    assert not told(fs, other)
    assert not told(fs, late)
    with pytest.raises(DiskError):
        fs.write(second, 0, b"more")
    fs.write(second, 0, b"more")
    with pytest.raises(DiskError):
        fs.fsync(second)
    disk.is_bad = False
    clock.advance(6_000_000_000)
    keeper.step()
    assert fs.last_error is None
    fs.fsync(second)
    assert fs.read(first, 0, 8) == b"moretext"
