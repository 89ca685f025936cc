"""Creating and opening drives: passwords, devices, history."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from cryptdrive.config import DriveSettings
from cryptdrive.crypto import slots
from cryptdrive.crypto.padding import is_size_class
from cryptdrive.drive import Drive, change_password, create_drive, open_drive
from cryptdrive.errors import (
    CryptdriveError,
    DriveInUse,
    FormatTooNew,
    Integrity,
    NoVault,
    OtherVault,
    ReadOnly,
    Rollback,
    StoreRefused,
    Unavailable,
    VaultExists,
    WrongKey,
)
from cryptdrive.store.faults import Fault, FaultyStore, scripted
from cryptdrive.store.folder import FolderStore
from cryptdrive.store.memory import MemoryStore
from cryptdrive.types import ROOT_INODE, ObjectName
from cryptdrive.vault.header import HEADER_NAME
from cryptdrive.vault.unlocking import Credentials
from cryptdrive.vfs.values import Caller
from tests.support.keys import CHEAP, PASSWORD, create, local_folders, open_with_password

CALLER = Caller()


def write(drive: Drive, name: bytes, data: bytes) -> None:
    handle, _ = drive.fs.create(ROOT_INODE, name, 0o644, os.O_WRONLY | os.O_TRUNC, CALLER)
    drive.fs.write(handle, 0, data)
    drive.fs.close(handle)


def read(drive: Drive, name: bytes) -> bytes:
    handle = drive.fs.open(drive.fs.lookup(ROOT_INODE, name).inode, os.O_RDONLY, CALLER)
    try:
        return drive.fs.read(handle, 0, 1 << 20)
    finally:
        drive.fs.close(handle)


def test_everything_is_found_again(tmp_path: Path) -> None:
    store, folders = MemoryStore(), local_folders(tmp_path)
    recovery = create(store, folders)
    drive = open_with_password(store, folders)
    write(drive, b"file", b"content")
    drive.close()
    for credentials in (Credentials(password=PASSWORD), Credentials(recovery_key=recovery)):
        drive = open_drive(store, credentials, DriveSettings(), folders)
        assert read(drive, b"file") == b"content"
        drive.close()


def test_wrong_passwords_and_tampered_slots_look_alike(tmp_path: Path) -> None:
    store, folders = MemoryStore(), local_folders(tmp_path)
    create(store, folders)
    before = dict(store.objects)
    (name,) = [name for name in store.objects if name.startswith("keys/")]
    messages = set()
    for place in (None, 5, 20, 60, 100, 200, 4000):
        store.objects.clear()
        store.objects.update(before)
        if place is not None:
            damaged = bytearray(before[name])
            damaged[place] ^= 1
            store.objects[name] = bytes(damaged)
        with pytest.raises(WrongKey) as caught:
            open_with_password(store, folders, "wrong" if place is None else PASSWORD)
        messages.add(str(caught.value))
        assert len(store.objects) == len(before)
    assert len(messages) == 1


def test_one_derivation_a_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, folders = MemoryStore(), local_folders(tmp_path)
    create(store, folders)
    calls = []
    original = slots.stretch
    monkeypatch.setattr(slots, "stretch", lambda *given: (calls.append(1), original(*given))[1])
    with pytest.raises(WrongKey):
        open_with_password(store, folders, "wrong")
    assert len(calls) == 1


def test_a_changed_password(tmp_path: Path) -> None:
    store, folders = MemoryStore(), local_folders(tmp_path)
    recovery = create(store, folders)
    change_password(store, Credentials(password=PASSWORD), "new", folders)
    with pytest.raises(WrongKey):
        open_with_password(store, folders)
    open_with_password(store, folders, "new").close()
    assert len([name for name in store.objects if name.startswith("keys/")]) == 1
    open_drive(store, Credentials(recovery_key=recovery), DriveSettings(), folders).close()
    with pytest.raises(WrongKey):
        change_password(store, Credentials(password=PASSWORD), "newer", folders)


@pytest.mark.parametrize("fault", list(Fault))
def test_an_interrupted_password_change_leaves_one_that_works(tmp_path: Path, fault: Fault) -> None:
    inner, folders = MemoryStore(), local_folders(tmp_path)
    create(inner, folders)
    store = FaultyStore(inner, scripted([fault], operation="put"))
    with pytest.raises(Unavailable):
        change_password(store, Credentials(password=PASSWORD), "new", folders)
    working = 0
    for password in (PASSWORD, "new"):
        try:
            open_with_password(inner, folders, password).close()
            working += 1
        except WrongKey:
            continue
    assert working == 1
    # And it can be tried again.
    current = "new" if fault is Fault.AFTER else PASSWORD
    change_password(inner, Credentials(password=current), "newest", folders)
    open_with_password(inner, folders, "newest").close()


@pytest.mark.parametrize("failing", range(4))
@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])
def test_an_interrupted_creation_is_no_vault_or_a_whole_one(
    tmp_path: Path, failing: int, fault: Fault
) -> None:
    inner, folders = MemoryStore(), local_folders(tmp_path)
    store = FaultyStore(inner, scripted([None] * failing + [fault], operation="put"))
    with contextlib.suppress(Unavailable):
        create_drive(store, PASSWORD, folders, costs=CHEAP)
    assert store.failed
    try:
        open_with_password(inner, folders).close()
    except NoVault:
        # Nothing was promised yet; what is left is named, and not taken for a vault.
        if inner.objects:
            with pytest.raises(StoreRefused):
                create(inner, folders)
        else:
            create(inner, folders)


def test_places_that_are_taken(tmp_path: Path) -> None:
    store, folders = MemoryStore(), local_folders(tmp_path)
    create(store, folders)
    before = dict(store.objects)
    with pytest.raises(VaultExists):
        create(store, folders)
    assert store.objects == before
    other = MemoryStore()
    other.put(ObjectName("holiday.jpg"), b"x")
    with pytest.raises(StoreRefused, match="holiday"):
        create(other, folders)
    assert len(other.objects) == 1
    with pytest.raises(NoVault):
        open_with_password(MemoryStore(), folders)


def test_another_vault_in_the_same_place_is_noticed(tmp_path: Path) -> None:
    folders = local_folders(tmp_path)
    place = tmp_path / "vault"
    create(FolderStore.create(place), folders)
    shutil.rmtree(place)
    create_elsewhere = local_folders(tmp_path / "other machine")
    create(FolderStore.create(place), create_elsewhere)
    with pytest.raises(OtherVault):
        open_with_password(FolderStore(place), folders)


def test_a_vault_that_is_created_takes_the_place_of_a_known_one(tmp_path: Path) -> None:
    """The folder was emptied, and a new vault made in it: nobody is asked to repair anything."""
    folders, place = local_folders(tmp_path), tmp_path / "vault"
    place.mkdir()
    create(FolderStore(place), folders)
    (state,) = (folders.state / "drives").iterdir()
    shutil.rmtree(place)
    place.mkdir()
    recovery = create(FolderStore(place), folders)
    drive = open_drive(FolderStore(place), Credentials(recovery_key=recovery), DriveSettings(), folders)
    write(drive, b"file", b"content")
    drive.close()
    assert state.exists()  # what the other vault may have left here is not ours to remove


def test_no_vault_comes_to_be_whose_recovery_key_would_not_be_shown(tmp_path: Path) -> None:
    folders, store = local_folders(tmp_path), MemoryStore()
    folders.state.mkdir(parents=True, exist_ok=True)
    (folders.state / "stores").write_text("in the way")
    with pytest.raises(OSError, match="stores"):
        create(store, folders)
    with pytest.raises(NoVault):
        open_with_password(store, local_folders(tmp_path / "elsewhere"))


def test_a_vault_that_could_not_be_finished_is_not_known(tmp_path: Path) -> None:
    folders = local_folders(tmp_path)
    store = FaultyStore(MemoryStore(), lambda operation, name: Fault.BEFORE if name == HEADER_NAME else None)
    with pytest.raises(Unavailable):
        create(store, folders)
    assert list((folders.state / "stores").iterdir()) == []


def test_a_second_machine_becomes_a_device_of_its_own(tmp_path: Path) -> None:
    store = MemoryStore()
    first, second = local_folders(tmp_path / "a"), local_folders(tmp_path / "b")
    create(store, first)
    drive = open_with_password(store, first)
    write(drive, b"from a", b"a")
    tag = drive.status().device_tag
    drive.close()
    drive = open_with_password(store, second)
    assert read(drive, b"from a") == b"a"
    assert drive.status().device_tag != tag
    write(drive, b"from b", b"b")
    drive.close()
    drive = open_with_password(store, first)
    assert drive.status().device_tag == tag
    assert read(drive, b"from b") == b"b"
    drive.close()


def test_copied_state_is_not_used(tmp_path: Path) -> None:
    store, folders = MemoryStore(), local_folders(tmp_path / "a")
    create(store, folders)
    tag = open_and_close(store, tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    assert open_and_close(store, tmp_path / "copy") != tag
    assert open_and_close(store, tmp_path / "a") == tag


def open_and_close(store: MemoryStore, path: Path) -> int:
    drive = open_with_password(store, local_folders(path))
    tag = drive.status().device_tag
    drive.close()
    return tag


def test_numbers_are_not_used_again_after_a_crash(tmp_path: Path) -> None:
    store, folders = MemoryStore(), local_folders(tmp_path)
    create(store, folders)
    drive = open_with_password(store, folders)
    write(drive, b"kept", b"x")
    drive.flush()
    write(drive, b"lost", b"x")
    lost = drive.fs.lookup(ROOT_INODE, b"lost")
    crash(drive)
    drive = open_with_password(store, folders)
    write(drive, b"next", b"x")
    following = drive.fs.lookup(ROOT_INODE, b"next")
    assert following.inode != lost.inode
    assert following.change > lost.change
    drive.close()


def crash(drive: Drive) -> None:
    """What the end of a process does: threads stop, the lock goes, nothing is saved."""
    for loop in drive._loops:
        loop.stop()
    assert drive._lock is not None
    drive._lock.release()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    store, folders = MemoryStore(), local_folders(tmp_path)
    create(store, folders)
    drive = open_with_password(store, folders)
    with pytest.raises(DriveInUse, match=str(os.getpid())):
        open_with_password(store, folders)
    open_with_password(store, folders, read_only=True).close()
    drive.close()
    open_with_password(store, folders).close()


def test_a_rollback_is_refused(tmp_path: Path) -> None:
    store, folders = MemoryStore(), local_folders(tmp_path)
    create(store, folders)
    old = dict(store.objects)
    drive = open_with_password(store, folders)
    write(drive, b"file", b"x")
    drive.close()
    new = dict(store.objects)
    store.objects.clear()
    store.objects.update(old)
    for read_only in (False, True):
        with pytest.raises(Rollback, match="older"):
            open_with_password(store, folders, read_only=read_only)
    assert store.objects == old
    store.objects.update(new)
    open_with_password(store, folders).close()


def test_another_history_is_refused(tmp_path: Path) -> None:
    """The store shows this device a branch that was made from before the head it has verified."""
    store, folders = MemoryStore(), local_folders(tmp_path / "a")
    create(store, folders)
    old = dict(store.objects)
    drive = open_with_password(store, folders)
    write(drive, b"mine", b"x")
    drive.close()
    branch = MemoryStore()
    branch.objects.update(old)
    other = local_folders(tmp_path / "b")
    for name in (b"1", b"2", b"3"):
        drive = open_with_password(branch, other)
        write(drive, name, b"x")
        drive.close()
    with pytest.raises(Rollback, match="another history"):
        open_with_password(branch, folders)


def test_a_missing_or_damaged_pack_is_an_error_not_other_data(tmp_path: Path) -> None:
    store, folders = MemoryStore(), local_folders(tmp_path)
    create(store, folders)
    drive = open_with_password(store, folders)
    write(drive, b"file", b"content" * 1000)
    drive.close()
    before = dict(store.objects)
    for name in [name for name in before if name.startswith("packs/")]:
        for change in ("drop", "flip"):
            store.objects.clear()
            store.objects.update(before)
            if change == "drop":
                del store.objects[name]
            else:
                damaged = bytearray(before[name])
                for place in range(40, len(damaged), 50):
                    damaged[place] ^= 1
                store.objects[name] = bytes(damaged)
            try:
                drive = open_with_password(store, folders, read_only=True)
                assert read(drive, b"file") == b"content" * 1000
                drive.close()
            except Integrity:
                continue


def test_reading_only_writes_nothing(tmp_path: Path) -> None:
    store, folders = MemoryStore(), local_folders(tmp_path / "a")
    create(store, folders)
    drive = open_with_password(store, folders)
    write(drive, b"file", b"x")
    drive.close()
    before = dict(store.objects)
    for folder in ("a", "new machine"):
        drive = open_with_password(store, local_folders(tmp_path / folder), read_only=True)
        assert read(drive, b"file") == b"x"
        with pytest.raises(ReadOnly):
            write(drive, b"file", b"y")
        with pytest.raises(ReadOnly):
            drive.fs.mkdir(ROOT_INODE, b"d", 0o755, CALLER)
        drive.close()
    assert store.objects == before


def test_a_newer_format_is_named(tmp_path: Path) -> None:
    store, folders = MemoryStore(), local_folders(tmp_path)
    create(store, folders)
    header = ObjectName("cryptdrive.json")
    store.objects[header] = store.objects[header].replace(b'"version": 1', b'"version": 2')
    with pytest.raises(FormatTooNew, match="2"):
        open_with_password(store, folders)


def test_nothing_in_clear(tmp_path: Path) -> None:
    """No name and no content, neither in the store nor in the local state."""
    folders = local_folders(tmp_path / "local")
    place = tmp_path / "vault"
    create(FolderStore.create(place), folders)
    drive = open_with_password(FolderStore(place), folders)
    secret = b"extraordinary-secret-"
    write(drive, secret + b"name", secret + b"small content")
    write(drive, secret + b"name2", secret * 5000)
    drive.fs.symlink(ROOT_INODE, b"l", secret + b"target", CALLER)
    drive.fs.setxattr(ROOT_INODE, b"user.x", secret + b"value", 0, CALLER)  # type: ignore[arg-type]
    drive.sealed_file("test").save(secret)
    drive.close()
    seen = 0
    for path in tmp_path.rglob("*"):
        assert secret.decode() not in path.name
        if path.is_file():
            seen += 1
            content = path.read_bytes()
            assert secret not in content
            assert PASSWORD.encode() not in content
            assert path.stat().st_mode & 0o077 == 0
    assert seen > 6
    for path in place.rglob("*"):
        if path.is_file() and path.name != "cryptdrive.json":
            assert is_size_class(path.stat().st_size), path


def test_closing_reports_what_could_not_be_saved(tmp_path: Path) -> None:
    inner, folders = MemoryStore(), local_folders(tmp_path)
    create(inner, folders)
    store = FaultyStore(inner, scripted([]))
    drive = open_with_password(store, folders)
    write(drive, b"file", b"x")
    store.plan = scripted([Fault.BEFORE] * 100, operation="put")
    with pytest.raises(CryptdriveError):
        drive.close()
    # The lock is gone all the same.
    open_with_password(inner, folders).close()
