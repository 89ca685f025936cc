"""Local state that is lost, damaged, restored or copied: nothing published is lost, nothing is used twice."""

import os
import shutil
from pathlib import Path

import pytest

from cryptdrive.config import LocalFolders
from cryptdrive.drive import Drive
from cryptdrive.errors import DriveInUse, Integrity, Rollback, UnsentData
from cryptdrive.store.memory import MemoryStore
from cryptdrive.types import ROOT_INODE
from cryptdrive.vfs.values import Caller
from tests.support.keys import create, local_folders, open_with_password

CALLER = Caller()


class Machine:
    """A vault in memory, and this machine's state of it."""

    def __init__(self, path: Path) -> None:
        self.store = MemoryStore()
        self.folders = local_folders(path / "here")
        create(self.store, self.folders)
        (self.state,) = (self.folders.state / "drives").iterdir()

    def open(self, folders: LocalFolders | None = None) -> Drive:
        drive = open_with_password(self.store, folders or self.folders)
        for loop in drive._loops:
            loop.stop()
        return drive

    def save_and_die(self, *names: bytes) -> None:
        """Leave changes that are saved here and not published."""
        drive = self.open()
        for name in names:
            write(drive, name)
        drive.fs.sync(remote=False)
        die(drive)


def write(drive: Drive, name: bytes) -> int:
    handle, attr = drive.fs.create(ROOT_INODE, name, 0o644, os.O_WRONLY | os.O_TRUNC, CALLER)
    drive.fs.write(handle, 0, name * 1000)
    drive.fs.close(handle)
    return attr.inode


def die(drive: Drive) -> None:
    assert drive._lock is not None
    drive._lock.release()


def names(drive: Drive) -> list[bytes]:
    handle = drive.fs.opendir(ROOT_INODE)
    try:
        return [entry.name for entry in drive.fs.readdir(handle)]
    finally:
        drive.fs.closedir(handle)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_was_saved_here_is_published_by_the_next_that_opens(machine: Machine, tmp_path: Path) -> None:
    machine.save_and_die(b"a")
    machine.save_and_die(b"b")
    elsewhere = local_folders(tmp_path / "elsewhere")
    drive = open_with_password(machine.store, elsewhere, read_only=True)
    assert names(drive) == []
    drive.close()
    drive = machine.open()
    assert names(drive) == [b"a", b"b"]
    drive.close()
    drive = open_with_password(machine.store, elsewhere, read_only=True)
    assert names(drive) == [b"a", b"b"]
    drive.close()


def test_closing_without_publishing_says_what_is_left(machine: Machine) -> None:
    drive = machine.open()
    write(drive, b"a")
    with pytest.raises(UnsentData, match="2 files"):
        drive.close(publish=False)
    drive = machine.open()
    drive.close()
    machine.open().close(publish=False)


@pytest.mark.parametrize("lost", ["journal", "outbox", "copy", "head"])
def test_lost_parts_lose_nothing_that_was_published(machine: Machine, lost: str) -> None:
    drive = machine.open()
    inode = write(drive, b"published")
    drive.flush()
    drive.close()
    place = machine.state / lost
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    drive = machine.open()
    assert names(drive) == [b"published"]
    assert write(drive, b"new") > inode
    drive.close()
    drive = machine.open()
    assert names(drive) == [b"new", b"published"]
    drive.close()


def test_a_lost_outbox_is_told_while_something_waits_in_it(machine: Machine) -> None:
    drive = machine.open()
    handle, _ = drive.fs.create(ROOT_INODE, b"large", 0o644, os.O_WRONLY, CALLER)
    drive.fs.write(handle, 0, os.urandom(1 << 20))
    drive.fs.sync(remote=False)
    die(drive)
    before = dict(machine.store.objects)
    for path in (machine.state / "outbox").iterdir():
        path.unlink()
    with pytest.raises(Exception, match="No such file"):
        machine.open()
    assert machine.store.objects == before


def test_a_damaged_journal_is_told_and_kept(machine: Machine) -> None:
    for name in (b"a", b"b", b"c"):
        machine.save_and_die(name)
    first = sorted((machine.state / "journal").iterdir())[-2]
    data = bytearray(first.read_bytes())
    data[300] ^= 1
    first.write_bytes(data)
    before = {path.name: path.read_bytes() for path in (machine.state / "journal").iterdir()}
    with pytest.raises(Integrity, match="journal is damaged"):
        machine.open()
    assert {path.name: path.read_bytes() for path in (machine.state / "journal").iterdir()} == before
    data[300] ^= 1
    first.write_bytes(data)
    drive = machine.open()
    assert names(drive) == [b"a", b"b", b"c"]
    drive.close()


def restore(machine: Machine, backup: Path) -> None:
    """In place: the folder is the same, as backup programs restore."""
    for path in machine.state.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(backup, machine.state, dirs_exist_ok=True)


def test_state_restored_from_a_backup(machine: Machine, tmp_path: Path) -> None:
    """Of changes that wait in it nobody can say whether they were published since, or made since."""
    machine.save_and_die(b"a")
    shutil.copytree(machine.state, tmp_path / "backup")
    drive = machine.open()
    inode = write(drive, b"b")
    drive.fs.unlink(ROOT_INODE, b"a", CALLER)
    drive.close()
    restore(machine, tmp_path / "backup")
    before = dict(machine.store.objects)
    with pytest.raises(Rollback, match="restored from a backup"):
        machine.open()
    reader = open_with_password(machine.store, machine.folders, read_only=True)
    assert names(reader) == [b"b"]
    reader.close()
    assert machine.store.objects == before
    machine.state.rename(tmp_path / "moved away")
    drive = machine.open()
    assert names(drive) == [b"b"]
    assert write(drive, b"c") != inode
    drive.close()
    drive = machine.open()
    assert names(drive) == [b"b", b"c"]
    drive.close()


def test_state_restored_from_a_backup_in_which_nothing_waits(machine: Machine, tmp_path: Path) -> None:
    drive = machine.open()
    tag = drive.status().device_tag
    write(drive, b"a")
    drive.close()
    shutil.copytree(machine.state, tmp_path / "backup")
    drive = machine.open()
    write(drive, b"b")
    drive.close()
    restore(machine, tmp_path / "backup")
    drive = machine.open()
    assert names(drive) == [b"a", b"b"]
    assert drive.status().device_tag != tag, "numbers that were given out since are not given once more"
    drive.close()


def test_a_copy_is_another_device(machine: Machine, tmp_path: Path) -> None:
    drive = machine.open()
    tag = drive.status().device_tag
    write(drive, b"published")
    drive.close()
    copy = local_folders(tmp_path / "copy")
    shutil.copytree(machine.folders.state, copy.state, dirs_exist_ok=True)
    drive = machine.open(copy)
    assert drive.status().device_tag != tag
    assert names(drive) == [b"published"]
    drive.close()


def test_changes_of_another_device_are_not_published_by_a_copy(machine: Machine, tmp_path: Path) -> None:
    machine.save_and_die(b"waiting")
    copy = local_folders(tmp_path / "copy")
    shutil.copytree(machine.folders.state, copy.state, dirs_exist_ok=True)
    before = dict(machine.store.objects)
    with pytest.raises(Rollback, match="was copied"):
        machine.open(copy)
    reader = open_with_password(machine.store, copy, read_only=True)
    assert names(reader) == [b"waiting"], "to be copied by hand"
    reader.close()
    assert machine.store.objects == before
    drive = machine.open()
    assert names(drive) == [b"waiting"]
    drive.close()


def test_a_second_process_is_told_who_has_it(machine: Machine) -> None:
    drive = machine.open()
    write(drive, b"a")
    with pytest.raises(DriveInUse, match=str(os.getpid())):
        machine.open()
    reader = open_with_password(machine.store, machine.folders, read_only=True)
    assert names(reader) == [], "what is not on the store is the other one's"
    reader.close()
    drive.close()
