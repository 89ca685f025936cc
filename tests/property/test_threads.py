"""Threads on one file system, each with files of its own, while all is sealed, published and purged."""

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable

import pytest

from cryptdrive.config import DriveSettings
from cryptdrive.errors import NotFound
from cryptdrive.types import HandleId
from cryptdrive.vfs.values import Caller, RenameFlags, SetAttr
from tests.model.clock import ManualClock
from tests.model.content import SparseContent
from tests.property.filesystem_values import pattern
from tests.property.vault_drive import VaultDrive

CALLER = Caller()
LENGTHS = [10, 600, 5000, 70_000]
NAMES = [b"f0", b"f1", b"f2", b"f3"]
READ_ALL = 1 << 22


class Worker:
    """One thread's folder, and what it must hold."""

    def __init__(self, drive: VaultDrive, seed: int) -> None:
        self._fs = drive.fs
        self._random = random.Random(seed)
        self.name = b"folder%d" % seed
        self._copy = b"copy%d" % seed
        self._folder = self._fs.mkdir(self._fs.root, self.name, 0o755, CALLER).inode
        self.files: dict[bytes, tuple[HandleId, SparseContent]] = {}
        self._steps: list[Callable[[bytes, HandleId, SparseContent], None]] = [
            *([self._write] * 4), *([self._read] * 2), self._truncate, self._rename, self._unlink,
            self._clone, self._copy_folder, self._fsync,
        ]  # fmt: skip

    def step(self) -> None:
        name = self._random.choice(NAMES)
        if name not in self.files:
            handle, _ = self._fs.create(self._folder, name, 0o644, os.O_RDWR, CALLER)
            self.files[name] = (handle, SparseContent())
            return
        self._random.choice(self._steps)(name, *self.files[name])

    def _write(self, name: bytes, handle: HandleId, content: SparseContent) -> None:
        choose = self._random
        offset = choose.choice([content.size, choose.randrange(200_000), max(0, content.size - 2000)])
        data = pattern(choose.randrange(99), choose.choice(LENGTHS))
        self._fs.write(handle, offset, data)
        content.write(offset, data)

    def _read(self, name: bytes, handle: HandleId, content: SparseContent) -> None:
        offset, size = self._random.randrange(250_000), self._random.randrange(1, 50_000)
        assert self._fs.read(handle, offset, size) == content.read(offset, size)

    def _truncate(self, name: bytes, handle: HandleId, content: SparseContent) -> None:
        size = self._random.randrange(content.size + 1000)
        self._fs.setattr(self._fs.lookup(self._folder, name).inode, SetAttr(size=size), CALLER)
        content.truncate(size)

    def _rename(self, name: bytes, handle: HandleId, content: SparseContent) -> None:
        new_name = self._random.choice(NAMES)
        if new_name not in self.files:
            self._fs.rename(self._folder, name, self._folder, new_name, RenameFlags.NONE, CALLER)
            self.files[new_name] = self.files.pop(name)

    def _unlink(self, name: bytes, handle: HandleId, content: SparseContent) -> None:
        self._fs.unlink(self._folder, name, CALLER)
        assert self._fs.read(handle, 0, READ_ALL) == content.read(0, READ_ALL)
        self._fs.close(handle)
        del self.files[name]

    def _clone(self, name: bytes, handle: HandleId, content: SparseContent) -> None:
        onto = self._random.choice(NAMES)
        if onto == name:
            return
        if onto in self.files:
            self._fs.close(self.files.pop(onto)[0])
        source = self._fs.lookup(self._folder, name).inode
        attr = self._fs.clone(source, self._folder, onto, True, CALLER)
        self.files[onto] = (self._fs.open(attr.inode, os.O_RDWR, CALLER), content.copy())

    def _copy_folder(self, name: bytes, handle: HandleId, content: SparseContent) -> None:
        if self._random.random() < 0.5:
            self._fs.clone(self._folder, self._fs.root, self._copy, True, CALLER)
            return
        with contextlib.suppress(NotFound):
            self._fs.remove_tree(self._fs.root, self._copy, CALLER)

    def _fsync(self, name: bytes, handle: HandleId, content: SparseContent) -> None:
        if self._random.random() < 0.2:
            self._fs.fsync(handle)


def _housekeeping(drive: VaultDrive) -> Callable[[], None]:
    choose = random.Random(0)
    deeds = [drive.fs.sealer.seal_oldest, drive.fs.purge_some, drive.fs.sync, drive.drop_caches]

    def step() -> None:
        choose.choice(deeds)()
        time.sleep(0.001)

    return step


def _run(drive: VaultDrive, seconds: float) -> list[Worker]:
    """Let all threads go on for a while. Raises what the first of them raised."""
    workers = [Worker(drive, seed) for seed in range(3)]
    end = time.monotonic() + seconds
    failures: list[BaseException] = []

    def loop(step: Callable[[], None]) -> None:
        try:
            while time.monotonic() < end and not failures:
                step()
        except BaseException as failure:
            failures.append(failure)

    steps = [*(worker.step for worker in workers), _housekeeping(drive)]
    threads = [threading.Thread(target=loop, args=(step,), daemon=True) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        raise failure
    return workers


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seconds", [3.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_each_thread_finds_what_it_wrote(seconds: float) -> None:
    drive = VaultDrive(ManualClock(), DriveSettings(dirty_mib_max=2, sealing_starts_mib=1))
    workers = _run(drive, seconds)
    drive.reopen()
    for worker in workers:
        for name, (_, content) in worker.files.items():
            inode = drive.fs.resolve(worker.name + b"/" + name).inode
            handle = drive.fs.open(inode, os.O_RDONLY, CALLER)
            assert drive.fs.read(handle, 0, READ_ALL) == content.read(0, READ_ALL)
    drive.close()
