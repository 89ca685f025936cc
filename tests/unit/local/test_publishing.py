"""Publishing over a store that fails now and then."""

import os

import pytest

from cryptdrive.clock import SystemClock
from cryptdrive.errors import CryptdriveError, StoreFull, Unavailable
from cryptdrive.store.faults import Fault, FaultyStore, scripted, seeded
from cryptdrive.store.memory import MemoryStore
from cryptdrive.types import ROOT_INODE
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.uploading import Uploader
from cryptdrive.vfs.values import Caller, SetAttr, XattrFlags
from tests.model.clock import ManualClock
from tests.support.lying_store import LyingStore
from tests.support.vault import SmallVault

CALLER = Caller()


def write_file(fs: FileSystem, name: bytes, data: bytes) -> None:
    handle, _ = fs.create(ROOT_INODE, name, 0o644, os.O_WRONLY | os.O_TRUNC, CALLER)
    for offset in range(0, len(data), 1 << 20):
        fs.write(handle, offset, data[offset : offset + (1 << 20)])
    fs.close(handle)


def read_file(fs: FileSystem, name: bytes) -> bytes:
    handle = fs.open(fs.lookup(ROOT_INODE, name).inode, os.O_RDONLY, CALLER)
    try:
        return fs.read(handle, 0, 1 << 26)
    finally:
        fs.close(handle)


@pytest.mark.parametrize("fault", list(Fault))
def test_a_failed_publication_is_told_and_goes_on_later(fault: Fault) -> None:
    store = FaultyStore(MemoryStore(), scripted([]))
    vault = SmallVault(store, SystemClock())
    fs = vault.open()
    fs.sync()
    texts = {b"small": b"s" * 3000, b"tiny": b"t", b"large": os.urandom(20 << 20)}
    for name, text in texts.items():
        write_file(fs, name, text)
    store.plan = scripted([fault] * 4, operation="put")
    handle = fs.open(fs.lookup(ROOT_INODE, b"small").inode, os.O_RDWR, CALLER)
    fs.fsync(handle)
    assert not store.failed, "fsync does not wait for the store"
    with pytest.raises(Unavailable):
        fs.sync()
    assert store.failed
    # Everything can be read, and more be written, while the store is away.
    assert {name: read_file(fs, name) for name in texts} == texts
    fs.write(handle, 0, b"later")
    fs.setattr(fs.lookup(ROOT_INODE, b"tiny").inode, SetAttr(size=0), CALLER)
    texts[b"small"] = b"later" + texts[b"small"][5:]
    texts[b"tiny"] = b""
    assert {name: read_file(fs, name) for name in texts} == texts
    store.plan = scripted([])
    fs.sync()
    fs.close(handle)
    assert {name: read_file(fs, name) for name in texts} == texts
    again = vault.open(read_only=True)
    assert {name: read_file(again, name) for name in texts} == texts


def test_what_was_synced_stays_when_the_process_dies() -> None:
    """A file system that is simply forgotten is a crash: only what the store has is left."""
    vault = SmallVault(MemoryStore(), SystemClock())
    fs = vault.open()
    write_file(fs, b"kept", b"k" * 100_000)
    fs.sync()
    write_file(fs, b"lost", b"l" * 100_000)
    again = vault.open()
    assert read_file(again, b"kept") == b"k" * 100_000
    assert [entry.name for entry in again.readdir(again.opendir(ROOT_INODE))] == [b"kept"]


def test_random_faults_never_mix_states() -> None:
    """Each publication that returned is there in full; a failed one is there in full or not at all."""
    for seed in range(15):
        store = FaultyStore(MemoryStore(), seeded(seed, 0.3, operations=frozenset({"put"})))
        vault = SmallVault(store, SystemClock())
        fs = vault.open()
        saved = -1
        for step in range(25):
            write_file(fs, b"a", b"%d" % step * 700)
            write_file(fs, b"b", b"%d" % step * 900)
            try:
                fs.sync()
                saved = step
            except CryptdriveError:
                pass
            if step % 6 == 5:
                roots = len(vault.commits.roots)
                fs = vault.open()
                if not roots:
                    continue
                try:
                    text = read_file(fs, b"a")
                except CryptdriveError as error:
                    assert saved < 0, error
                    continue
                seen = next(n for n in range(step + 1) if b"%d" % n * 700 == text)
                assert seen >= saved
                assert read_file(fs, b"b") == b"%d" % seen * 900


def test_a_full_store_is_named() -> None:
    store = FaultyStore(MemoryStore(), scripted([]), error=StoreFull)
    fs = SmallVault(store, SystemClock()).open()
    write_file(fs, b"file", b"x" * 5000)
    store.plan = seeded(1, 1.0, operations=frozenset({"put"}))
    with pytest.raises(StoreFull):
        fs.sync()
    store.plan = scripted([])
    fs.sync()


def test_nothing_changed_publishes_nothing() -> None:
    store = MemoryStore()
    vault = SmallVault(store, SystemClock())
    fs = vault.open()
    fs.sync()
    count = len(store.objects)
    fs.sync()
    handle = fs.open(write_and_find(fs), os.O_RDONLY, CALLER)
    fs.sync()
    count = len(store.objects)
    fs.read(handle, 0, 10)
    fs.close(handle)
    fs.sync()
    assert len(store.objects) == count


def write_and_find(fs: FileSystem) -> int:
    write_file(fs, b"f", b"text")
    return fs.lookup(ROOT_INODE, b"f").inode


def test_a_failure_while_sealing_early_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vault = SmallVault(MemoryStore(), SystemClock())
    fs = vault.open()
    for name in (b"a", b"b", b"c"):
        write_file(fs, name, name * 2000)
    original = fs.sealer._seal_run
    calls = 0

    def failing(inode: int, offset: int, data: bytes) -> object:
        nonlocal calls
        calls += 1
        if calls in (2, 3):
            raise Unavailable("away for a moment")
        return original(inode, offset, data)

    monkeypatch.setattr(fs.sealer, "_seal_run", failing)
    with pytest.raises(Unavailable):
        fs.sealer.seal_oldest()
    with pytest.raises(Unavailable):
        fs.sync()
    for name in (b"a", b"b", b"c"):
        assert read_file(fs, name) == name * 2000
    fs.sync()
    again = vault.open()
    for name in (b"a", b"b", b"c"):
        assert read_file(again, name) == name * 2000
    assert fs.core.unsealed_bytes == 0


def test_what_an_fsync_could_not_save_is_tried_again_by_itself() -> None:
    clock = ManualClock()
    store = FaultyStore(MemoryStore(), scripted([]))
    vault = SmallVault(store, clock)
    fs = vault.open()
    keeper = Uploader(fs, clock, vault.settings, os.urandom)
    fs.sync()
    write_file(fs, b"file", b"x" * 3000)
    store.plan = scripted([Fault.BEFORE] * 4, operation="put")
    with pytest.raises(Unavailable):
        fs.sync()
    assert isinstance(fs.last_error, Unavailable)
    store.plan = scripted([])
    clock.advance(6000000000)
    keeper.step()
    assert fs.last_error is None
    assert read_file(vault.open(read_only=True), b"file") == b"x" * 3000


def test_publications_come_after_quiet_or_an_interval() -> None:
    clock = ManualClock()
    vault = SmallVault(MemoryStore(), clock)
    fs = vault.open()
    keeper = Uploader(fs, clock, vault.settings, os.urandom)
    fs.sync()

    def published() -> int:
        return len(vault.commits.roots)

    before = published()
    write_file(fs, b"file", b"x")
    clock.advance(4000000000)
    keeper.step()
    assert published() == before
    clock.advance(1500000000)
    keeper.step()
    assert published() == before + 1
    # Work without a pause: once in 30 seconds, then in 60.
    times = []
    for second in range(100):
        write_file(fs, b"file", b"%d" % second)
        clock.advance(1000000000)
        count = published()
        keeper.step()
        if published() > count:
            times.append(second + 1)
    assert [round(each, -1) for each in times] == [30, 90]
    clock.advance(60000000000)
    keeper.step()
    keeper.step()
    quiet = published()
    clock.advance(60000000000)
    keeper.step()
    assert published() == quiet


def stored_data_bytes(vault: SmallVault) -> int:
    """Bytes of all packs in the store."""
    store = vault.store
    assert isinstance(store, MemoryStore)
    return sum(len(data) for name, data in store.objects.items() if name.startswith("packs/"))


def test_what_is_dead_is_not_sent() -> None:
    """Of files that were saved here and then removed or overwritten, what is alive goes to the store."""
    vault = SmallVault(MemoryStore(), SystemClock())
    fs = vault.open()
    fs.sync()
    before = stored_data_bytes(vault)
    texts = {}
    for number in range(20):
        texts[b"%d" % number] = os.urandom(100_000)
        write_file(fs, b"%d" % number, texts[b"%d" % number])
    fs.setxattr(fs.lookup(ROOT_INODE, b"3").inode, b"user.x", b"v" * 5000, XattrFlags.NONE, CALLER)
    fs.sync(remote=False)
    for number in range(20):
        if number not in (3, 7):
            fs.unlink(ROOT_INODE, b"%d" % number, CALLER)
            del texts[b"%d" % number]
    while fs.purge_some():
        pass
    fs.sync()
    assert stored_data_bytes(vault) - before < 400_000, "of 2,000,000 bytes that were sealed 200,000 live"
    again = vault.open(read_only=True)
    for name, text in texts.items():
        assert read_file(again, name) == text
    assert again.getxattr(again.lookup(ROOT_INODE, b"3").inode, b"user.x") == b"v" * 5000
    # All dead: not a byte of it.
    fs = vault.open()
    before = stored_data_bytes(vault)
    write_file(fs, b"short-lived", os.urandom(1_000_000))
    fs.sync(remote=False)
    fs.unlink(ROOT_INODE, b"short-lived", CALLER)
    while fs.purge_some():
        pass
    fs.sync()
    assert stored_data_bytes(vault) - before < 50_000


def test_a_pack_that_newer_changes_need_is_sent_as_it_is() -> None:
    """A copy made while a publication failed names the same blobs, so they stay where they are."""
    store = FaultyStore(MemoryStore(), scripted([]))
    vault = SmallVault(store, SystemClock())
    fs = vault.open()
    fs.sync()
    text = os.urandom(100_000)
    write_file(fs, b"dead", os.urandom(500_000))
    write_file(fs, b"kept", text)
    fs.sync(remote=False)
    fs.unlink(ROOT_INODE, b"dead", CALLER)
    store.plan = lambda operation, name: Fault.BEFORE if operation == "put" else None
    with pytest.raises(Unavailable):
        fs.sync()
    inode = fs.lookup(ROOT_INODE, b"kept").inode
    fs.clone(inode, ROOT_INODE, b"copy", False, CALLER)
    fs.unlink(ROOT_INODE, b"kept", CALLER)
    assert read_file(fs, b"copy") == text
    store.plan = scripted([])
    fs.sync()
    assert read_file(vault.open(), b"copy") == text


@pytest.mark.parametrize("kept", [0, 0.5])
def test_a_store_that_lies_about_success_gets_it_again(kept: float) -> None:
    store = LyingStore("packs/", kept)
    vault = SmallVault(store, SystemClock())
    fs = vault.open()
    fs.sync()
    text = os.urandom(5 << 20)
    write_file(fs, b"file", text)
    store.lies = 2
    commits = list(vault.commits.roots)
    with pytest.raises(Unavailable, match="says that it took"):
        fs.sync()
    assert store.told
    assert vault.commits.roots == commits
    assert isinstance(fs.publish_error, Unavailable)
    store.lies = 0
    fs.sync()
    fs = vault.open()
    assert read_file(fs, b"file") == text


def test_nodes_of_trees_that_were_are_not_kept_in_memory() -> None:
    vault = SmallVault(MemoryStore(), SystemClock())
    fs = vault.open()
    assert vault.storage is not None
    for number in range(500):
        write_file(fs, b"%03d" % number, b"x" * 20)
    fs.sync()
    before = vault.storage.nodes.cache_bytes
    for turn in range(20):
        for number in range(0, 500, 7):
            fs.setattr(fs.lookup(ROOT_INODE, b"%03d" % number).inode, SetAttr(mode=0o600 + turn), CALLER)
        fs.sync()
    assert vault.storage.nodes.cache_bytes < 2 * before
