"""The outbox, and the real disk below it."""

import os
import random
import stat
from pathlib import Path

import pytest

from cryptdrive.errors import DiskError, NoSpace
from cryptdrive.local.disk import RealFolder, replace_durably
from cryptdrive.local.outbox import Outbox
from cryptdrive.types import PackId
from tests.support.disk import SimulatedDisk

PACK = PackId(b"p" * 16)


class FailingDisk(SimulatedDisk):
    def __init__(self) -> None:
        self.failures: list[tuple[str, int]] = []
        super().__init__(self._fail)

    def _fail(self, operation: str, name: str) -> None:
        for failure in self.failures:
            if failure[0] == operation:
                self.failures.remove(failure)
                raise OSError(failure[1], os.strerror(failure[1]))


def test_a_synced_pack_outlives_the_power(tmp_path: Path) -> None:
    disk = SimulatedDisk()
    outbox = Outbox(disk.top().folder("outbox"))
    outbox.complete(PACK, memoryview(b"content"), bytearray())
    assert outbox.read(PACK, 3, 99) == b"tent"
    outbox.sync()
    assert outbox.read(PACK, 0, 4) == b"cont"
    disk.lose_power(random.Random(1))
    again = Outbox(disk.top().folder("outbox"))
    assert again.read(PACK, 0, 1) is None
    again.adopt(PACK, 7)
    assert (again.read(PACK, 0, 7), again.waiting_bytes) == (b"content", 7)
    with pytest.raises(DiskError):
        again.adopt(PackId(b"q" * 16), 7)
    with pytest.raises(DiskError):
        again.adopt(PACK, 8)
    again.drop(PACK)
    assert again.read(PACK, 0, 1) is None
    assert not again.waiting_bytes


@pytest.mark.parametrize("operation", ["create", "write", "sync", "sync_folder"])
def test_a_pack_that_the_disk_did_not_take_is_written_again(operation: str) -> None:
    disk = FailingDisk()
    outbox = Outbox(disk.top().folder("outbox"))
    disk.failures = [(operation, 28)] * (2 if operation in ("create", "write") else 1)
    outbox.complete(PACK, memoryview(b"content"), bytearray())
    with pytest.raises(NoSpace):
        outbox.sync()
    assert outbox.read(PACK, 0, 7) == b"content"
    outbox.sync()
    disk.lose_power(random.Random(2))
    again = Outbox(disk.top().folder("outbox"))
    again.adopt(PACK, 7)
    assert again.read(PACK, 0, 7) == b"content"


def test_what_lies_in_the_file_of_an_open_pack_stays() -> None:
    for seed in range(20):
        disk = FailingDisk()
        outbox = Outbox(disk.top().folder("outbox"))
        outbox.write_open(PACK, memoryview(b"a" * 1000))
        disk.failures = [("sync", 5)]
        with pytest.raises(DiskError):
            outbox.write_open(PACK, memoryview(b"a" * 1000 + b"b" * 1000))
        disk.lose_power(random.Random(seed))
        content = disk.top().folder("outbox").open(PACK.hex()).read(0, 1000)
        assert content == b"a" * 1000


def test_what_nothing_needs_is_removed() -> None:
    folder = SimulatedDisk().top().folder("outbox")
    folder.create("junk")
    outbox = Outbox(folder)
    outbox.complete(PACK, memoryview(b"content"), bytearray())
    outbox.remove_unknown()
    assert folder.names() == [PACK.hex()]


def test_real_files(tmp_path: Path) -> None:
    folder = RealFolder(tmp_path).folder("inner")
    assert stat.S_IMODE((tmp_path / "inner").stat().st_mode) == 0o700
    file = folder.create("file")
    assert stat.S_IMODE((tmp_path / "inner/file").stat().st_mode) == 0o600
    file.write(5, b"hello")
    file.sync()
    assert (file.size(), file.read(0, 100), file.read(6, 2)) == (10, bytes(5) + b"hello", b"el")
    os.link(tmp_path / "inner/file", tmp_path / "inner/other")
    folder.create("file").write(0, b"new")
    assert folder.open("other").read(0, 10) == bytes(5) + b"hello", "another name's file is not cut"
    folder.rename("other", "file")
    folder.sync()
    assert folder.names() == ["file"]
    folder.remove("file")
    folder.remove("file")
    with pytest.raises(FileNotFoundError):
        folder.open("file")
    replace_durably(folder, "value", b"1")
    replace_durably(folder, "value", b"2")
    assert (tmp_path / "inner/value").read_bytes() == b"2"
    assert folder.free_bytes() > 0


def test_real_files_are_closed(tmp_path: Path) -> None:
    folder = RealFolder(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        folder.create("file").write(0, b"x")
    assert len(os.listdir("/proc/self/fd")) == before


def test_packs_without_number_need_few_open_files(tmp_path: Path) -> None:
    outbox = Outbox(RealFolder(tmp_path))
    packs = [PackId(n.to_bytes(16)) for n in range(300)]
    before = len(os.listdir("/proc/self/fd"))
    for pack in packs:
        outbox.complete(pack, memoryview(b"content %d" % pack[-1]), bytearray())
        outbox.sync()
    for pack in packs[:150]:
        outbox.keep(pack)
    for pack in packs:
        assert outbox.read(pack, 0, 99) == b"content %d" % pack[-1]
    assert len(os.listdir("/proc/self/fd")) < before + 40
    again = Outbox(RealFolder(tmp_path))
    again.find_kept()
    assert len(os.listdir("/proc/self/fd")) < before + 40
    assert again.read(packs[7], 0, 99) == b"content 7"
    assert again.read(packs[200], 0, 99) is None
    again.remove_unknown()
    assert len(os.listdir(tmp_path)) == 150
