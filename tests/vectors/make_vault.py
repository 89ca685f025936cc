"""Makes the fixture vault: ``python -m tests.vectors.make_vault FOLDER``.

``tests/vectors/vault-1`` was made by it. It is never made anew as long as the format is the same: it
stands for the vaults that people have.
"""

import json
import os
import stat
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from unittest import mock

from cryptdrive.config import DriveSettings, LocalFolders
from cryptdrive.crypto.passwords import Argon2Costs
from cryptdrive.drive import Drive, change_password, create_drive, open_drive
from cryptdrive.store.folder import FolderStore
from cryptdrive.types import ROOT_INODE
from cryptdrive.vault.unlocking import Credentials
from cryptdrive.vfs.values import Caller, RenameFlags, SetAttr, XattrFlags
from tests.model.clock import ManualClock

FIRST_PASSWORD, PASSWORD = "the first one", "pässword"
CHEAP = Argon2Costs(64 * 1024, 1, 1)
OWNER = Caller(1000, 1000)


class Stream:
    """Bytes that look random and are the same every time."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, count: int, /) -> bytes:
        found = b""
        while len(found) < count:
            found += sha256(b"fixture %d" % self._count).digest()
            self._count += 1
        return found[:count]


def text(size: int) -> bytes:
    return b"".join(b"line %06d\n" % number for number in range(size // 12 + 1))[:size]


def write(drive: Drive, name: bytes, *pieces: tuple[int, bytes], parent: int = ROOT_INODE) -> int:
    handle, attr = drive.fs.create(parent, name, 0o640, os.O_RDWR, OWNER)  # type: ignore[arg-type]
    for offset, data in pieces:
        drive.fs.write(handle, offset, data)
    drive.fs.close(handle)
    return attr.inode


def fill(drive: Drive) -> None:
    fs = drive.fs
    write(drive, b"empty")
    inline = write(drive, b"inline", (0, b"a few bytes"))
    write(drive, b"large", (0, text(150_000)), (1 << 33, b"far away"))
    write(drive, b"to be removed", (0, text(5000)))
    folder = fs.mkdir(ROOT_INODE, b"folder", 0o2751, OWNER).inode
    write(drive, b"page", (0, text(3000)), parent=folder)
    for name in ("ünïcode".encode(), b"not \xff UTF-8\n", b"n" * 255):
        fs.mkdir(folder, name, 0o700, OWNER)
    fs.link(inline, folder, b"second name", OWNER)
    fs.symlink(folder, b"short", b"../inline", OWNER)
    fs.symlink(folder, b"long", b"/".join([b"x" * 99] * 10), OWNER)
    fs.mknod(folder, b"fifo", stat.S_IFIFO | 0o600, 0, OWNER)
    fs.mknod(folder, b"device", stat.S_IFCHR | 0o600, os.makedev(1, 3), Caller())
    fs.setxattr(inline, b"user.short", b"value", XattrFlags.NONE, OWNER)
    fs.setxattr(inline, b"user.long", text(2000), XattrFlags.NONE, OWNER)
    fs.setattr(inline, SetAttr(mtime_ns=-1_000_000_001, atime_ns=2**62), OWNER)
    fs.sync()
    for number in range(80):  # more than a leaf holds
        write(drive, b"many %04d" % number, (0, b"%d" % number), parent=folder)


def change(drive: Drive) -> None:
    fs = drive.fs
    fs.unlink(ROOT_INODE, b"to be removed", OWNER)
    fs.rename(ROOT_INODE, b"empty", ROOT_INODE, b"renamed", RenameFlags.NONE, OWNER)
    handle = fs.open(fs.lookup(ROOT_INODE, b"large").inode, os.O_RDWR, OWNER)
    fs.write(handle, 70_000, b"OVERWRITTEN" * 100)
    fs.close(handle)


def make(folder: Path) -> str:
    """Gives the recovery key."""
    stream, clock = Stream(), ManualClock()
    with tempfile.TemporaryDirectory() as place:
        folders = LocalFolders(*(Path(place) / name for name in ("state", "cache", "config", "run")))
        folders.create()
        with mock.patch("os.getuid", return_value=1000), mock.patch("os.getgid", return_value=1000):
            recovery = create_drive(
                FolderStore.create(folder),
                FIRST_PASSWORD,
                folders,
                costs=CHEAP,
                clock=clock,
                randomness=stream,
            )
        for password, work in ((FIRST_PASSWORD, fill), (PASSWORD, change)):
            drive = open_drive(
                FolderStore(folder), Credentials(password=password), DriveSettings(), folders,
                clock=clock, randomness=stream,
            )  # fmt: skip
            work(drive)
            drive.close()
            if work is fill:
                old = Credentials(password=FIRST_PASSWORD)
                change_password(FolderStore(folder), old, PASSWORD, folders, randomness=stream)
            clock.advance(10)
    return recovery


def described(drive: Drive) -> dict[str, dict[str, object]]:
    """What a reader must find, by path (backslash escapes for what is not ASCII)."""
    found: dict[str, dict[str, object]] = {}

    def visit(number: int, path: bytes) -> None:
        fs, attr = drive.fs, drive.fs.getattr(number)  # type: ignore[arg-type]
        entry: dict[str, object] = {
            "mode": oct(attr.mode), "uid": attr.uid, "gid": attr.gid, "links": attr.nlink, "size": attr.size,
            "mtime": attr.mtime_ns, "atime": attr.atime_ns, "ctime": attr.ctime_ns, "change": attr.change,
        }  # fmt: skip
        entry["attributes"] = {
            name.decode(): sha256(fs.getxattr(attr.inode, name)).hexdigest()
            for name in fs.listxattr(attr.inode)
        }
        found[path.decode("ascii", "backslashreplace") or "/"] = entry
        if stat.S_ISLNK(attr.mode):
            entry["target"] = sha256(fs.readlink(attr.inode)).hexdigest()
        elif stat.S_ISREG(attr.mode):
            handle = fs.open(attr.inode, os.O_RDONLY | os.O_NOATIME, OWNER)
            # A hole of gigabytes is not hashed: start and end are.
            ends = fs.read(handle, 0, 200_000), fs.read(handle, max(0, attr.size - 1000), 1000)
            entry["content"] = [sha256(each).hexdigest() for each in ends]
            fs.close(handle)
        elif stat.S_ISDIR(attr.mode):
            handle, cookie = fs.opendir(attr.inode), 0
            while entries := fs.readdir(handle, cookie):
                for each in entries:
                    visit(each.attr.inode, path + b"/" + each.name)
                cookie = entries[-1].cookie
            fs.closedir(handle)

    visit(ROOT_INODE, b"")
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    recovery = make(folder)
    with tempfile.TemporaryDirectory() as place:
        folders = LocalFolders(*(Path(place) / name for name in ("state", "cache", "config", "run")))
        folders.create()
        drive = open_drive(
            FolderStore(folder), Credentials(password=PASSWORD), DriveSettings(), folders, read_only=True
        )
        expected = {"password": PASSWORD, "recovery_key": recovery, "files": described(drive)}
        drive.close()
    Path(f"{folder}.json").write_text(json.dumps(expected, indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
