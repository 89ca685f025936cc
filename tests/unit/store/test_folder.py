"""What only a folder on a disk does: durability, odd files in it, and the system's refusals."""

import errno
import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cryptdrive.errors import (
    ObjectExists,
    ObjectNotFound,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreRefused,
    Unavailable,
)
from cryptdrive.store import folder as folder_module
from cryptdrive.store.base import Capabilities, Listing
from cryptdrive.store.folder import FolderStore
from cryptdrive.types import ObjectName

NAME = ObjectName("packs/3f/3f9c")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(top: Path) -> FolderStore:
    return FolderStore.create(top)


def files_below(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir()}


def fail(number: int) -> Callable[..., None]:
    def call(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


class Recorder:
    """Notes what is synced, and in which order with naming."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, top: Path) -> None:
        self.calls: list[tuple[str, str]] = []
        self._top = top
        for name in ("fsync", "rename", "link", "mkdir"):
            monkeypatch.setattr(os, name, self._recording(name, getattr(os, name)))

    def _recording(self, name: str, original: Callable[..., None]) -> Callable[..., None]:
        def call(*args: object, **kwargs: object) -> None:
            original(*args, **kwargs)
            if name == "fsync":
                path = os.readlink(f"/proc/self/fd/{args[0]}")
                kind = "folder" if os.path.isdir(path) else "file"
                self.calls.append(
                    (f"sync {kind}", os.path.relpath(path, self._top) if kind == "folder" else "")
                )
            else:
                self.calls.append((name, str(args[0]) if name == "mkdir" else ""))

        return call


# --- durability ----------------------------------------------------------------------------


@pytest.mark.parametrize(("exclusive", "naming"), [(False, "rename"), (True, "link")])
def test_the_file_is_synced_before_it_has_its_name_and_the_folders_after(
    store: FolderStore, top: Path, monkeypatch: pytest.MonkeyPatch, exclusive: bool, naming: str
) -> None:
    recorder = Recorder(monkeypatch, top)
    store.put(NAME, b"content", exclusive=exclusive)
    assert recorder.calls == [
        ("mkdir", "packs"),
        ("mkdir", "3f"),
        ("sync file", ""),
        (naming, ""),
        ("sync folder", "packs/3f"),
        ("sync folder", "packs"),
        ("sync folder", "."),
    ]


def test_a_second_put_syncs_the_file_and_one_folder(
    store: FolderStore, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(NAME, b"content")
    recorder = Recorder(monkeypatch, top)
    store.put(ObjectName("packs/3f/40"), b"content")
    assert recorder.calls == [("sync file", ""), ("rename", ""), ("sync folder", "packs/3f")]


def test_a_folder_that_was_there_already_is_made_durable_once(
    store: FolderStore, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(NAME, b"content")
    store.put(ObjectName("packs/40/1"), b"content")
    again = FolderStore(top)
    recorder = Recorder(monkeypatch, top)
    again.put(ObjectName("packs/3f/2"), b"content")
    again.put(ObjectName("packs/40/2"), b"content")
    synced = [path for kind, path in recorder.calls if kind == "sync folder"]
    assert synced == ["packs/3f", "packs", ".", "packs/40"]


def test_a_folder_that_was_removed_and_made_again_is_synced_again(
    store: FolderStore, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(NAME, b"content")
    shutil.rmtree(top / "packs" / "3f")
    recorder = Recorder(monkeypatch, top)
    store.put(NAME, b"content")
    assert ("sync folder", "packs") in recorder.calls


def test_nobody_relies_on_a_folder_before_it_is_on_disk(
    store: FolderStore, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one put is about to sync the parents, a second into the same folder syncs them itself."""
    original, reached, go_on = os.fsync, threading.Event(), threading.Event()
    slow_thread: list[threading.Thread] = []

    def fsync(file: int) -> None:
        if threading.current_thread() in slow_thread and os.readlink(f"/proc/self/fd/{file}") == str(top):
            reached.set()
            assert go_on.wait(30)
        original(file)

    monkeypatch.setattr(os, "fsync", fsync)
    slow_thread.append(threading.Thread(target=store.put, args=(NAME, b"content")))
    slow_thread[0].start()
    assert reached.wait(30)
    recorder = Recorder(monkeypatch, top)
    store.put(ObjectName("packs/3f/40"), b"content")
    go_on.set()
    slow_thread[0].join()
    assert {("sync folder", "packs/3f"), ("sync folder", "packs"), ("sync folder", ".")} <= set(
        recorder.calls
    )


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_folders_is_used_all_the_same(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    original = os.fsync

    def fsync(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(number, "cannot")
        original(file)

    monkeypatch.setattr(os, "fsync", fsync)
    store.put(NAME, b"content")
    assert store.get(NAME) == b"content"


# --- naming --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_without_links_an_exclusive_rename_serves(
    store: FolderStore, top: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", fail(number))
    store.put(NAME, b"first", exclusive=True)
    with pytest.raises(ObjectExists):
        store.put(NAME, b"second", exclusive=True)
    assert store.get(NAME) == b"first"
    assert files_below(top) == {NAME}


def test_without_links_and_exclusive_rename_nothing_is_promised(
    store: FolderStore, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", fail(errno.EPERM))
    monkeypatch.setattr(folder_module, "rename_without_replacing", fail(errno.EINVAL))
    with pytest.raises(StoreRefused, match="exclusively"):  # it was declared: so it must not be done halfway
        store.put(NAME, b"first", exclusive=True)
    assert files_below(top) == set()

    monkeypatch.setattr(store, "_capabilities", Capabilities(create_if_absent=False))
    store.put(NAME, b"first", exclusive=True)
    with pytest.raises(ObjectExists):
        store.put(NAME, b"second", exclusive=True)
    assert store.get(NAME) == b"first"
    assert files_below(top) == {NAME}


def test_a_link_whose_answer_was_lost_has_won(
    store: FolderStore, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.link

    def link(*args: str, **kwargs: int) -> None:
        original(*args, **kwargs)
        raise FileExistsError(errno.EEXIST, "as NFS says when it repeats a request")

    monkeypatch.setattr(os, "link", link)
    store.put(NAME, b"first", exclusive=True)
    assert store.get(NAME) == b"first"
    assert files_below(top) == {NAME}
    with pytest.raises(ObjectExists):
        store.put(NAME, b"second", exclusive=True)


# --- what the system refuses ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EROFS, StoreReadOnly),
        (errno.EACCES, StoreRefused),
        (errno.EPERM, StoreRefused),
        (errno.EIO, Unavailable),
        (errno.ESTALE, Unavailable),
        (errno.ENOENT, Unavailable),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_put_that_fails_says_why_and_leaves_nothing(
    store: FolderStore,
    top: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    kind: type[StoreError],
) -> None:
    store.put(NAME, b"before")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail(number))
        with pytest.raises(StoreError) as caught:
            store.put(NAME, b"after")
    assert type(caught.value) is kind
    assert str(top / NAME) in str(caught.value)
    assert store.get(NAME) == b"before"
    assert files_below(top) == {NAME}


def test_a_write_in_pieces_is_whole(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.write
    monkeypatch.setattr(os, "write", lambda file, data: original(file, data[:7]))
    store.put(NAME, bytes(range(100)))
    monkeypatch.undo()
    assert store.get(NAME) == bytes(range(100))


def test_a_read_in_pieces_is_whole(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.pread
    monkeypatch.setattr(os, "pread", lambda file, length, offset: original(file, min(length, 7), offset))
    store.put(NAME, bytes(range(100)))
    assert store.get(NAME) == bytes(range(100))
    assert store.get(NAME, 50, 30) == bytes(range(50, 80))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_a_folder_without_rights_refuses(store: FolderStore, top: Path) -> None:
    top.chmod(0o500)
    with pytest.raises(StoreRefused):
        store.put(NAME, b"content")
    top.chmod(0o700)


def test_a_vanished_top_folder_is_not_a_missing_object(store: FolderStore, top: Path) -> None:
    store.put(NAME, b"content")
    shutil.rmtree(top)
    for call in (
        lambda: store.get(NAME),
        lambda: store.stat(NAME),
        lambda: store.list(""),
        lambda: store.list("packs"),
        lambda: store.put(NAME, b"content"),
        lambda: store.put(ObjectName("cryptdrive.json"), b"content", exclusive=True),
        lambda: store.delete(NAME),
    ):
        with pytest.raises(Unavailable, match="gone"):
            call()
    top.mkdir()  # the empty folder that a disk was mounted on: nothing may be put there
    with pytest.raises(Unavailable, match="gone"):
        store.put(NAME, b"content")
    assert files_below(top) == set()


def test_a_missing_folder_is_not_made_unasked(top: Path) -> None:
    with pytest.raises(Unavailable, match=str(top)):
        FolderStore(top)
    assert not top.exists()


def test_a_file_is_not_a_store(top: Path) -> None:
    top.write_bytes(b"")
    for make in (FolderStore, FolderStore.create):
        with pytest.raises(Unavailable, match="Not a directory"):
            make(top)


def test_a_closed_store_is_unavailable(store: FolderStore) -> None:
    store.put(NAME, b"content")
    store.close()
    store.close()
    with pytest.raises(Unavailable):
        store.get(NAME)


def test_no_descriptor_is_left_open(store: FolderStore) -> None:
    def everything() -> None:
        store.put(NAME, b"content")
        for attempt in (
            lambda: store.get(ObjectName("packs/none")),
            lambda: store.put(NAME, b"", exclusive=True),
        ):
            with pytest.raises(StoreError):
                attempt()
        store.get(NAME)
        store.list("packs/3f")
        store.stat(NAME)
        store.delete(NAME)

    everything()
    before = len(os.listdir("/proc/self/fd"))
    everything()
    assert len(os.listdir("/proc/self/fd")) == before


# --- what else can lie in the folder -------------------------------------------------------


def test_only_the_owner_may_look(top: Path) -> None:
    before = os.umask(0)
    try:
        FolderStore.create(top / "deeper").put(NAME, b"content")
    finally:
        os.umask(before)
    for path in [top, *top.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_an_object_is_never_read_through_a_symbolic_link(
    store: FolderStore, top: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (top / "link").symlink_to(tmp_path / "secret")
    (top / "linked").symlink_to(tmp_path)
    for name in (ObjectName("link"), ObjectName("linked/secret")):
        with pytest.raises(StoreError):
            store.get(name)
        with pytest.raises(StoreError):
            store.stat(name)
    with pytest.raises(StoreError):
        store.put(ObjectName("linked/new"), b"content")
    assert not (tmp_path / "new").exists()
    assert store.list("") == Listing((), ())


def test_a_put_over_a_symbolic_link_takes_its_place(store: FolderStore, top: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"other")
    (top / "link").symlink_to(tmp_path / "other")
    store.put(ObjectName("link"), b"content")
    assert (tmp_path / "other").read_bytes() == b"other"
    assert store.get(ObjectName("link")) == b"content"


def test_a_fifo_does_not_block(store: FolderStore, top: Path) -> None:
    os.mkfifo(top / "fifo")
    with pytest.raises(Unavailable, match="not a regular file"):
        store.get(ObjectName("fifo"))
    assert store.list("") == Listing((), ())


def test_foreign_files_are_not_listed(store: FolderStore, top: Path) -> None:
    store.put(ObjectName("a"), b"content")
    for name in (".DS_Store", "Thumbs.db", "a copy", "ä", ".tmp-0123"):
        (top / name).write_bytes(b"")
    (top / ".Trash").mkdir()
    assert [info.name for info in store.list("").objects] == ["a"]
    assert store.list("").folders == ()


def test_old_temporary_files_are_swept_and_fresh_ones_kept(store: FolderStore, top: Path) -> None:
    store.put(NAME, b"content")
    leftover = [folder / ".tmp-left" for folder in (top, top / "packs" / "3f")]
    fresh = [folder / ".tmp-fresh" for folder in (top, top / "packs" / "3f")]
    for path in leftover + fresh:
        path.write_bytes(b"half")
    for path in leftover:
        os.utime(path, (1, 1))
    FolderStore(top).put(ObjectName("packs/3f/40"), b"content")
    assert not any(path.exists() for path in leftover)
    assert all(path.exists() for path in fresh)


def test_an_object_that_vanishes_while_listing(
    store: FolderStore, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(NAME, b"content")
    original = os.scandir

    def scandir(folder: int) -> object:
        entries = original(folder)
        os.unlink(top / NAME)
        return entries

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ObjectNotFound):
        list(store.list("packs/3f").objects) or store.get(NAME)


def test_a_finished_file_is_taken_over_without_a_copy(tmp_path: Path) -> None:
    store = FolderStore.create(tmp_path / "store")
    source = tmp_path / "source"
    source.write_bytes(b"content")
    name = ObjectName("packs/3f/3f9c")
    (tmp_path / "store/packs/3f").mkdir(parents=True)
    (tmp_path / "store/packs/3f/3f9c").write_bytes(b"con")  # a put that broke off
    for _ in range(2):
        assert store.take_file(name, str(source))
    assert (tmp_path / "store/packs/3f/3f9c").samefile(source)
    assert os.listdir(tmp_path / "store/packs/3f") == ["3f9c"]
    source.unlink()
    assert store.get(name) == b"content"
    with pytest.raises(StoreError):
        store.take_file(name, str(source))


def test_a_file_of_another_file_system_is_not_taken(tmp_path: Path) -> None:
    store = FolderStore.create(tmp_path / "store")
    elsewhere = Path("/dev/shm") / f"cryptdrive-{os.getpid()}"
    elsewhere.write_bytes(b"content")
    try:
        assert elsewhere.stat().st_dev != tmp_path.stat().st_dev
        assert not store.take_file(ObjectName("packs/3f/3f9c"), str(elsewhere))
    finally:
        elsewhere.unlink()
    assert not store.list("packs/3f").objects


def test_a_folder_that_was_moved_away_is_not_written_to_any_more(tmp_path: Path) -> None:
    store = FolderStore.create(tmp_path / "store")
    store.put(ObjectName("packs/3f/before"), b"before")
    (tmp_path / "store").rename(tmp_path / "moved")
    for replaced in (False, True):
        if replaced:
            (tmp_path / "store").mkdir()
        with pytest.raises(Unavailable, match="gone"):
            store.put(ObjectName("packs/3f/after"), b"after")
        with pytest.raises(Unavailable, match="gone"):
            store.get(ObjectName("packs/3f/before"))
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["before"]
    (tmp_path / "store").rmdir()
    (tmp_path / "moved").rename(tmp_path / "store")
    assert store.get(ObjectName("packs/3f/before")) == b"before"
