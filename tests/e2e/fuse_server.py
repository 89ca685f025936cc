"""The program under test: mounts one file system and obeys lines of JSON on its standard input.

    python -m tests.e2e.fuse_server drive|model|trouble MOUNTPOINT FOLDER [OPTION_TEXT]

``{"call": NAME, "arguments": [...]}`` makes a change as another front end would make it, and is
answered on standard output; bytes are written as text in both directions. The end of standard input
unmounts, so that no mount outlives its test.
"""

import json
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptdrive.clock import SystemClock
from cryptdrive.config import DriveSettings, LocalFolders
from cryptdrive.crypto.passwords import Argon2Costs
from cryptdrive.drive import create_drive, open_drive
from cryptdrive.errors import CryptdriveError, Integrity, StoreTimeout
from cryptdrive.fuse.mount import MountOptions, serve, stop, with_option_text
from cryptdrive.store.opening import open_store
from cryptdrive.types import HandleId
from cryptdrive.vault.unlocking import Credentials
from cryptdrive.vfs.values import Caller, RenameFlags, SetAttr
from cryptdrive.waiting import before_waiting
from tests.model.posix import PosixModel

PASSWORD = "correct horse battery staple"
ELSEWHERE = Caller(0, 0, "webdav")


class Elsewhere:
    """Changes by paths, marked as another front end's."""

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    def put(self, path: str, content: str) -> None:
        """Replace a file as an upload does: a new inode takes the name."""
        parent, name = self._fs.parent_of(path.encode())
        handle = self._fs.stage(0o644, ELSEWHERE)
        self._fs.write(handle, 0, content.encode())
        self._fs.publish(handle, parent.inode, name, True, ELSEWHERE)

    def overwrite(self, path: str, offset: int, content: str) -> None:
        """Change the bytes of a file in place."""
        attr = self._fs.resolve(path.encode())
        handle = self._fs.open(attr.inode, 1, ELSEWHERE)
        self._fs.write(handle, offset, content.encode())
        self._fs.close(handle)

    def truncate(self, path: str, size: int) -> None:
        attr = self._fs.resolve(path.encode())
        self._fs.setattr(attr.inode, SetAttr(size=size), ELSEWHERE)

    def chmod(self, path: str, mode: int) -> None:
        attr = self._fs.resolve(path.encode())
        self._fs.setattr(attr.inode, SetAttr(mode=mode), ELSEWHERE)

    def mkdir(self, path: str) -> None:
        parent, name = self._fs.parent_of(path.encode())
        self._fs.mkdir(parent.inode, name, 0o755, ELSEWHERE)

    def unlink(self, path: str) -> None:
        parent, name = self._fs.parent_of(path.encode())
        self._fs.unlink(parent.inode, name, ELSEWHERE)

    def link(self, path: str, new_path: str) -> None:
        attr = self._fs.resolve(path.encode())
        parent, name = self._fs.parent_of(new_path.encode())
        self._fs.link(attr.inode, parent.inode, name, ELSEWHERE)

    def rename(self, path: str, new_path: str) -> None:
        parent, name = self._fs.parent_of(path.encode())
        new_parent, new_name = self._fs.parent_of(new_path.encode())
        flags = RenameFlags.NONE
        self._fs.rename(parent.inode, name, new_parent.inode, new_name, flags, ELSEWHERE)

    def copy(self, path: str, new_path: str) -> None:
        attr = self._fs.resolve(path.encode())
        parent, name = self._fs.parent_of(new_path.encode())
        self._fs.clone(attr.inode, parent.inode, name, False, ELSEWHERE)

    def remove_tree(self, path: str) -> None:
        parent, name = self._fs.parent_of(path.encode())
        self._fs.remove_tree(parent.inode, name, ELSEWHERE)

    def read(self, path: str) -> str:
        attr = self._fs.resolve(path.encode())
        handle = self._fs.open(attr.inode, 0, ELSEWHERE)
        content: bytes = self._fs.read(handle, 0, attr.size)
        self._fs.close(handle)
        return content.decode()

    def list(self, path: str) -> list[str]:
        handle = self._fs.opendir(self._fs.resolve(path.encode()).inode)
        names: list[str] = []
        cookie = 0
        while entries := self._fs.readdir(handle, cookie):
            names += [entry.name.decode() for entry in entries]
            cookie = entries[-1].cookie
        self._fs.closedir(handle)
        return sorted(names)

    def kind(self, path: str) -> int:
        return stat.S_IFMT(self._fs.resolve(path.encode()).mode)

    def size(self, path: str) -> int:
        size: int = self._fs.resolve(path.encode()).size
        return size


@contextmanager
def opened_drive(folder: Path, read_only: bool) -> Iterator[Any]:
    """The drive over the store in ``folder``, which is made at first."""
    folders = LocalFolders(folder / "state", folder / "cache", folder / "config", folder / "run")
    store = open_store(str(folder / "store"), create=True)
    if not (folder / "store" / "cryptdrive.json").exists():
        create_drive(store, PASSWORD, folders, costs=Argon2Costs(64 * 1024, 1, 1))
        store = open_store(str(folder / "store"))
    drive = open_drive(store, Credentials(PASSWORD), DriveSettings(), folders, read_only=read_only)
    try:
        yield drive.fs
    finally:
        drive.close()


@contextmanager
def opened_model(_folder: Path, read_only: bool) -> Iterator[Any]:
    yield PosixModel(SystemClock(), read_only=read_only)


NAME = "the-name-of-a-file"
"""What an error may hold and no log."""


class TroubledModel(PosixModel):
    """Files whose content is their own kind of trouble when they are read."""

    def read(self, handle: HandleId, offset: int, size: int) -> bytes:
        content = super().read(handle, offset, size)
        if content == b"slow":
            before_waiting()
            time.sleep(2)
        elif content == b"unexpected":
            raise KeyError(NAME)
        elif content == b"damaged":
            raise Integrity(NAME)
        elif content == b"late":
            raise StoreTimeout
        return content


@contextmanager
def opened_trouble(_folder: Path, read_only: bool) -> Iterator[Any]:
    yield TroubledModel(SystemClock(), read_only=read_only)


OPENERS: dict[str, Callable[[Path, bool], Any]] = {
    "drive": opened_drive,
    "model": opened_model,
    "trouble": opened_trouble,
}


def obey(elsewhere: Elsewhere) -> None:
    """Carry out the lines of standard input; at their end, unmount."""
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            answer["result"] = getattr(elsewhere, request["call"])(*request["arguments"])
        except CryptdriveError as error:
            answer["error"] = type(error).__name__
        except Exception as error:
            answer["error"] = repr(error)
        print(json.dumps(answer), flush=True)
    stop()


def main() -> None:
    kind, mountpoint, folder, text = [*sys.argv[1:], ""][:4]
    options = with_option_text(MountOptions(allow_other=True), text)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())
    with OPENERS[kind](Path(folder), options.read_only) as fs:
        commands = threading.Thread(target=obey, args=(Elsewhere(fs),), daemon=True)

        def ready() -> None:
            print("ready", flush=True)
            commands.start()

        try:
            serve(fs, mountpoint, options, ready)
        except CryptdriveError as error:
            sys.exit(f"{type(error).__name__}: {error}")
    print("ended", flush=True)


if __name__ == "__main__":
    main()
