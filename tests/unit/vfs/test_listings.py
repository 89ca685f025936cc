"""Listings of large directories while they change."""

import stat

import pytest

from cryptdrive.store.memory import MemoryStore
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.values import Caller, RenameFlags
from tests.model.clock import ManualClock
from tests.support.vault import SmallVault

ROOT = Caller()
COUNT = 1000


@pytest.fixture
def fs() -> FileSystem:
    fs = SmallVault(MemoryStore(), ManualClock()).open()
    for number in range(COUNT):
        fs.mknod(fs.root, b"%04d" % number, stat.S_IFREG | 0o644, 0, ROOT)
        if number == COUNT // 2:
            fs.sync()
    return fs


@pytest.mark.parametrize("taken", [1, 7, 255, 256])
def test_what_stays_is_listed_once_though_others_come_and_go(fs: FileSystem, taken: int) -> None:
    """The kernel may take a few entries of a reply, and asks for the rest again."""
    handle, cookie, turn = fs.opendir(fs.root), 0, 0
    seen: list[bytes] = []
    changed: set[bytes] = set()
    while entries := fs.readdir(handle, cookie)[:taken]:
        seen += [entry.name for entry in entries]
        cookie = entries[-1].cookie
        behind, ahead = b"%04d" % (turn * 13 % COUNT), b"%04d" % (COUNT - 1 - turn * 17 % COUNT)
        for name in {behind, ahead} - changed:
            fs.rename(fs.root, name, fs.root, name + b"moved", RenameFlags.NONE, ROOT)
        changed |= {behind, ahead}
        turn += 1
    stayed = {b"%04d" % number for number in range(COUNT)} - changed
    assert stayed <= set(seen)
    assert len(seen) == len(set(seen))


def test_starting_again_shows_what_is_there_now(fs: FileSystem) -> None:
    handle = fs.opendir(fs.root)
    first = fs.readdir(handle, 0)
    fs.unlink(fs.root, b"0000", ROOT)
    assert fs.readdir(handle, first[-1].cookie)[0].name == b"0256"
    assert [entry.name for entry in fs.readdir(handle, 0)][:2] == [b"0001", b"0002"]


def test_going_back_finds_the_same_place_though_names_before_it_went(fs: FileSystem) -> None:
    handle = fs.opendir(fs.root)
    first = fs.readdir(handle, 0)
    second = fs.readdir(handle, first[-1].cookie)
    for name in (b"0001", b"0003", b"0005"):
        fs.unlink(fs.root, name, ROOT)
    fs.mknod(fs.root, b"0005new", stat.S_IFREG | 0o644, 0, ROOT)
    assert fs.readdir(handle, first[9].cookie)[0].name == b"0010"
    again = fs.readdir(handle, 0)
    names = [entry.name for entry in again]
    assert names[:5] == [b"0000", b"0002", b"0004", b"0005new", b"0006"]
    # Whatever was given a place keeps it, and what is new has one of its own.
    kept = {entry.name: entry.cookie for entry in (*first, *second)}
    assert all(kept[entry.name] == entry.cookie for entry in again if entry.name in kept)
    new = again[3].cookie
    assert new not in kept.values()
    assert fs.readdir(handle, new)[0].name == b"0006"
    assert fs.readdir(handle, second[-1].cookie)[0].name == b"0512"
    rest, cookie = [], second[-1].cookie
    while entries := fs.readdir(handle, cookie):
        rest += [entry.name for entry in entries]
        cookie = entries[-1].cookie
    assert rest == [b"%04d" % number for number in range(512, COUNT)]


def test_the_last_names_of_a_listing_without_end_are_known(
    fs: FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryptdrive.vfs.live.DirectoryHandle.COOKIES_MAX", 300)
    handle, cookie, cookies = fs.opendir(fs.root), 0, {}
    while entries := fs.readdir(handle, cookie):
        cookies.update({entry.name: entry.cookie for entry in entries})
        cookie = entries[-1].cookie
    assert len(cookies) == COUNT
    for number in (5, 300, 700, 998):
        assert fs.readdir(handle, cookies[b"%04d" % number])[0].name == b"%04d" % (number + 1)
