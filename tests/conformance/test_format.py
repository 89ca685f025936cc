"""docs/format.md against the code: a reader that knows only the document, and a vault that never changes."""

import contextlib
import json
import os
import shutil
import stat
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag

from cryptdrive.config import DriveSettings
from cryptdrive.crypto.padding import size_class
from cryptdrive.crypto.recovery import format_key
from cryptdrive.crypto.sealing import sealed_length
from cryptdrive.drive import Drive, change_password, open_drive
from cryptdrive.errors import CryptdriveError
from cryptdrive.store.folder import FolderStore
from cryptdrive.types import ROOT_INODE
from cryptdrive.vault.unlocking import Credentials
from cryptdrive.vfs.values import Caller, RenameFlags
from tests.support.keys import PASSWORD, create, local_folders, open_with_password
from tests.vectors import reader
from tests.vectors.make_vault import described
from tests.vectors.reader import BadVaultError, Vault

VECTORS = Path(__file__).parents[1] / "vectors"
FIXTURE = VECTORS / "vault-1"
EXPECTED: dict[str, Any] = json.loads(Path(f"{FIXTURE}.json").read_text())
CALLER = Caller()


def found_by_the_document(vault: Vault) -> dict[str, dict[str, object]]:
    """The same as ``described``, by the independent reader."""
    found: dict[str, dict[str, object]] = {}
    for path, _, file in vault.walk():
        entry: dict[str, object] = {
            "mode": oct(file.mode), "uid": file.uid, "gid": file.gid, "links": file.links, "size": file.size,
            "atime": file.times[0], "mtime": file.times[1], "ctime": file.times[2], "change": file.change,
            "attributes": {
                name.decode(): sha256(value).hexdigest() for name, value in file.attributes.items()
            },
        }  # fmt: skip
        if file.target is not None:
            entry["target"] = sha256(file.target).hexdigest()
        elif stat.S_ISREG(file.mode):
            ends = part(file, 0, min(200_000, file.size)), part(file, max(0, file.size - 1000), file.size)
            entry["content"] = [sha256(each).hexdigest() for each in ends]
        elif stat.S_ISDIR(file.mode):
            entry["size"] = 0
        found[path.decode("ascii", "backslashreplace")] = entry
    return found


def part(file: reader.File, start: int, stop: int) -> bytes:
    found = bytearray(stop - start)
    for offset, data in file.extents:
        begin, end = max(offset, start), min(offset + len(data), stop)
        if begin < end:
            found[begin - start : end - start] = data[begin - offset : end - offset]
    return bytes(found)


@pytest.mark.parametrize("how", ["password", "recovery"])
def test_the_document_reads_the_fixture(how: str) -> None:
    secret = (
        {"password": EXPECTED["password"]} if how == "password" else {"recovery": EXPECTED["recovery_key"]}
    )
    assert found_by_the_document(Vault(FIXTURE, **secret)) == EXPECTED["files"]


@pytest.mark.parametrize("how", ["password", "recovery_key"])
def test_the_code_reads_the_fixture(tmp_path: Path, how: str) -> None:
    shutil.copytree(FIXTURE, tmp_path / "vault")
    store = FolderStore(tmp_path / "vault")
    credentials = Credentials(**{how: EXPECTED[how]})
    drive = open_drive(store, credentials, DriveSettings(), local_folders(tmp_path), read_only=True)
    assert described(drive) == EXPECTED["files"]
    drive.close()


def test_the_code_goes_on_with_the_fixture(tmp_path: Path) -> None:
    """An old vault is opened for writing, by a device that it does not know, and is still as documented."""
    place = tmp_path / "vault"
    shutil.copytree(FIXTURE, place)
    folders = local_folders(tmp_path)
    drive = open_with_password(FolderStore(place), folders, EXPECTED["password"])
    write(drive, b"new", os.urandom(5000))
    drive.close()
    vault = Vault(place, EXPECTED["password"])
    files = found_by_the_document(vault)
    assert len(files.pop("/new")) > 5
    del files["/"], (expected := dict(EXPECTED["files"]))["/"]
    assert files == expected


def write(drive: Drive, name: bytes, data: bytes) -> None:
    handle, _ = drive.fs.create(ROOT_INODE, name, 0o644, os.O_WRONLY, CALLER)
    for offset in range(0, len(data), 1 << 20):
        drive.fs.write(handle, offset, data[offset : offset + (1 << 20)])
    drive.fs.close(handle)


def test_the_document_reads_what_the_code_writes(tmp_path: Path) -> None:
    place, folders = tmp_path / "vault", local_folders(tmp_path)
    place.mkdir()
    recovery = create(FolderStore(place), folders)
    assert list(found_by_the_document(Vault(place, PASSWORD))) == ["/"]
    drive = open_with_password(FolderStore(place), folders)
    data = os.urandom(18 << 20)
    write(drive, b"large", data)
    for number in range(1000):
        write(drive, b"%d" % number, b"%d" % number * number)
    drive.fs.sync()
    for number in range(0, 1000, 3):
        drive.fs.unlink(ROOT_INODE, b"%d" % number, CALLER)
    for number in range(1, 1000, 3):
        drive.fs.rename(
            ROOT_INODE, b"%d" % number, ROOT_INODE, b"moved %d" % number, RenameFlags.NONE, CALLER
        )
    drive.close()
    change_password(FolderStore(place), Credentials(password=PASSWORD), "another", folders)
    drive = open_with_password(FolderStore(place), folders, "another")
    expected = described(drive)
    drive.close()
    for vault in (Vault(place, "another"), Vault(place, recovery=recovery)):
        assert found_by_the_document(vault) == expected
        assert vault.files[vault.files[1].entries[b"large"][0]].content() == data
        used = struct_of(vault.records[bytes(8) + b"\x10"])
        assert used == (sum(file.allocated for file in vault.files.values()), len(vault.files))
    with pytest.raises(BadVaultError):
        Vault(place, PASSWORD)


def struct_of(usage: bytes) -> tuple[int, int]:
    return int.from_bytes(usage[1:9], "big"), int.from_bytes(usage[9:], "big")


def test_small_things_agree() -> None:
    for length in (0, 1, 65_535, 65_536, 65_537, 131_072, 200_000, 4 << 20):
        assert reader.sealed_length(length) == sealed_length(length)
    for length in (1, 4096, 4097, 5120, 5121, 65_536, 65_537, 10**7):
        assert reader.is_size_class(size_class(length))
        assert not any(
            reader.is_size_class(each) for each in range(length, size_class(length)) if each % 1024
        )
    key = bytes(range(20))
    assert reader.recovery_key(format_key(key)) == key


def test_no_changed_byte_of_the_fixture_is_read_as_something_else(tmp_path: Path) -> None:
    """A sample of bytes of every object: an error, or the same files. Never others."""
    place = tmp_path / "vault"
    shutil.copytree(FIXTURE, place)
    objects = sorted(path for path in place.rglob("*") if path.is_file())
    secret = Credentials(recovery_key=EXPECTED["recovery_key"])
    refused = 0
    for turn, path in enumerate(objects * 3):
        data = path.read_bytes()
        position = int.from_bytes(sha256(b"%d" % turn).digest()[:4], "big") % len(data)
        path.write_bytes(data[:position] + bytes([data[position] ^ 1 + turn % 255]) + data[position + 1 :])
        folders = local_folders(tmp_path / f"machine {turn}")
        try:
            drive = open_drive(FolderStore(place), secret, DriveSettings(), folders, read_only=True)
            try:
                assert described(drive) == EXPECTED["files"]
            finally:
                drive.close()
        except CryptdriveError:
            refused += 1
        with contextlib.suppress(BadVaultError, InvalidTag, ValueError, KeyError):
            assert found_by_the_document(Vault(place, recovery=EXPECTED["recovery_key"])) == EXPECTED["files"]
        path.write_bytes(data)
    assert refused > len(objects)
