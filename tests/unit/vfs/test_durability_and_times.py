"""What fsync takes, and which times are kept."""

import os
import random

import pytest

from cryptdrive.errors import BadHandle
from cryptdrive.store.memory import MemoryStore
from cryptdrive.vfs.values import NOW, Caller, SetAttr
from tests.model.clock import ManualClock
from tests.support.vault import SmallVault

TIME_MAX = (1 << 63) - 1


@pytest.fixture
def vault() -> SmallVault:
    return SmallVault(MemoryStore(), ManualClock())


def test_fsync_of_a_directory_makes_its_names_durable(vault: SmallVault) -> None:
    fs = vault.open()
    fs.mkdir(fs.root, b"folder", 0o755, Caller())
    handle = fs.opendir(fs.root)
    before = len(vault.commits.roots)
    fs.fsync(handle)
    assert len(vault.commits.roots) == before, "the store is not waited for"
    fs.closedir(handle)
    vault.disk.lose_power(random.Random(1))
    assert vault.open(forget=False).resolve(b"folder").nlink == 2
    with pytest.raises(BadHandle):
        fs.fsync(handle)


def test_fsync_of_a_file_makes_it_durable(vault: SmallVault) -> None:
    fs = vault.open()
    handle, _ = fs.create(fs.root, b"file", 0o644, os.O_RDWR, Caller())
    fs.write(handle, 0, b"content")
    fs.fsync(handle)
    fs.close(handle)
    vault.disk.lose_power(random.Random(1))
    reopened = vault.open(forget=False)
    assert reopened.resolve(b"file").size == 7
    with pytest.raises(BadHandle):
        fs.fsync(handle)


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [(0, 0), (-1, -1), (TIME_MAX, TIME_MAX), (1 << 64, TIME_MAX), (-1 << 64, -TIME_MAX)],
)
def test_a_time_that_cannot_be_kept_becomes_the_nearest(vault: SmallVault, wanted: int, kept: int) -> None:
    fs = vault.open()
    attr = fs.setattr(fs.root, SetAttr(atime_ns=wanted, mtime_ns=wanted), Caller())
    assert (attr.atime_ns, attr.mtime_ns) == (kept, kept)
    fs.sync()
    assert vault.open().getattr(fs.root).mtime_ns == kept


def test_now_is_the_drives_clock(vault: SmallVault) -> None:
    fs = vault.open()
    attr = fs.setattr(fs.root, SetAttr(atime_ns=NOW, mtime_ns=NOW), Caller())
    assert attr.atime_ns == attr.mtime_ns == attr.ctime_ns


def test_removing_what_was_just_fsynced_is_durable(vault: SmallVault) -> None:
    """As databases commit that do not sync the folder."""
    fs = vault.open()
    for name in (b"journal", b"other"):
        handle, _ = fs.create(fs.root, name, 0o644, os.O_RDWR, Caller())
        fs.write(handle, 0, b"content")
        if name == b"journal":
            fs.fsync(handle)
        fs.close(handle)
    fs.sync()
    fs.unlink(fs.root, b"journal", Caller())
    vault.disk.lose_power(random.Random(1))
    fs = vault.open(forget=False)
    assert [entry.name for entry in fs.readdir(fs.opendir(fs.root))] == [b"other"]
    fs.unlink(fs.root, b"other", Caller())
    vault.disk.lose_power(random.Random(1))
    fs = vault.open(forget=False)
    assert [entry.name for entry in fs.readdir(fs.opendir(fs.root))] == [b"other"]
