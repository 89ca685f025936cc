"""A process that works on a drive until it is killed; what was fsynced it notes in a file outside.

python -m tests.e2e.killed_writer STATE STORE LOG SEED
"""

import os
import random
import sys
from pathlib import Path

from cryptdrive.config import DriveSettings
from cryptdrive.drive import open_drive
from cryptdrive.errors import NotFound
from cryptdrive.store.folder import FolderStore
from cryptdrive.types import ROOT_INODE
from cryptdrive.vault.unlocking import Credentials
from cryptdrive.vfs.values import Caller, RenameFlags
from tests.support.keys import PASSWORD, local_folders

CALLER = Caller(os.getuid(), os.getgid(), "test")
FILES = 12


def text(number: int, length: int) -> bytes:
    """Content that tells which write it is of, wherever one looks."""
    return (b"%08d." % number) * (length // 9 + 1)


def main() -> None:
    state, store, log, seed = sys.argv[1:]
    choose = random.Random(int(seed))
    settings = DriveSettings(publish_quiet_s=0.05, publish_interval_s=0.1)
    drive = open_drive(
        FolderStore(store), Credentials(password=PASSWORD), settings, local_folders(Path(state))
    )
    fs = drive.fs
    notes = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.write(notes, b"open\n")
    number = int(seed) * 100_000
    while True:
        number += 1
        name = b"file%d" % choose.randrange(FILES)
        data = text(number, choose.choice([20, 900, 5000, 200_000]))
        action = choose.random()
        if action < 0.15:
            os.write(notes, b"%s may-go %d\n" % (name, number))
            try:
                fs.unlink(ROOT_INODE, name, CALLER)
            except NotFound:
                pass
            else:
                if choose.random() < 0.5:
                    fs.sync()
                    os.write(notes, b"%s gone %d\n" % (name, number))
            continue
        # As editors save: write aside, sync, rename over.
        temporary = b"new-" + name
        handle, _ = fs.create(ROOT_INODE, temporary, 0o644, os.O_WRONLY | os.O_TRUNC, CALLER)
        fs.write(handle, 0, data)
        fs.fsync(handle)
        fs.close(handle)
        fs.rename(ROOT_INODE, temporary, ROOT_INODE, name, RenameFlags.NONE, CALLER)
        if choose.random() < 0.5:
            fs.sync()
            os.write(notes, b"%s holds %d\n" % (name, number))


if __name__ == "__main__":
    main()
