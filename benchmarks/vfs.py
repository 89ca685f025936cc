"""Operations a second of the file system in isolation: no kernel, a folder as store.

    python benchmarks/vfs.py [--files 100000] [--json FILE]

Sealing and the final publication to the folder are part of the time of ``create``.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptdrive.clock import SystemClock
from cryptdrive.local.process import tune
from cryptdrive.types import ROOT_INODE, InodeNumber
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.housekeeping import Housekeeper, Loop
from cryptdrive.vfs.uploading import Uploader
from cryptdrive.vfs.values import Caller, RenameFlags
from tests.support.disk import RealDisk
from tests.support.vault import SmallVault, folder_store

CALLER = Caller(os.getuid(), os.getgid(), "benchmark")
FOLDER_FILES = 1000


class Bench:
    def __init__(self, files: int, store_path: Path, state_path: Path) -> None:
        self.count = files
        self.vault = SmallVault(folder_store(store_path), SystemClock(), disk=RealDisk(state_path))
        self.fs: FileSystem = self.vault.open(forget=False)
        self.results: dict[str, float] = {}

    def places(self) -> list[tuple[InodeNumber, bytes]]:
        return [(self.folders[i // FOLDER_FILES], b"file-%07d" % i) for i in range(self.count)]

    def timed(self, label: str, count: int, job: Callable[[], None]) -> None:
        start = time.perf_counter()
        job()
        self.results[label] = count / (time.perf_counter() - start)
        print(f"{label:34}{self.results[label]:12,.0f} /s", flush=True)

    def background(self) -> tuple[Loop, ...]:
        """What a running drive does by itself."""
        keeper = Housekeeper(self.fs, SystemClock(), self.vault.settings)
        uploader = Uploader(self.fs, SystemClock(), self.vault.settings, os.urandom)
        loops = (
            Loop("housekeeper", keeper.step, keeper.pause_s),
            Loop("uploader", uploader.step, uploader.pause_s),
        )
        for loop in loops:
            loop.start()
        return loops

    def run(self) -> None:
        fs, count = self.fs, self.count
        folders = range(-(-count // FOLDER_FILES))
        self.folders = [fs.mkdir(ROOT_INODE, b"folder-%05d" % i, 0o755, CALLER).inode for i in folders]
        keeper = self.background()
        data = os.urandom(1024)

        def create() -> None:
            for folder, name in self.places():
                handle, _ = fs.create(folder, name, 0o644, os.O_WRONLY | os.O_EXCL, CALLER)
                fs.write(handle, 0, data)
                fs.flush(handle)
                fs.close(handle)
            fs.sync()

        def lookup() -> None:
            for folder, name in self.places():
                fs.lookup(folder, name)

        def read() -> None:
            for folder, name in self.places():
                handle = fs.open(fs.lookup(folder, name).inode, os.O_RDONLY, CALLER)
                if len(fs.read(handle, 0, 4096)) != 1024:
                    raise SystemExit("a file has a wrong length")
                fs.close(handle)

        def rename() -> None:
            for folder, name in self.places():
                fs.rename(folder, name, folder, b"x" + name, RenameFlags.NONE, CALLER)
            fs.sync()

        def unlink() -> None:
            for folder, name in self.places():
                fs.unlink(folder, b"x" + name, CALLER)
            while fs.purge_some():
                pass
            fs.sync()

        self.timed("create 1 KiB, published", count, create)
        lookup()
        self.timed("lookup, warm", count, lookup)
        self.timed("open, read, close", count, read)
        self.timed("rename, published", count, rename)
        self.timed("unlink, published", count, unlink)
        for loop in keeper:
            loop.stop()
        self.sequential()

    def sequential(self) -> None:
        fs, size, piece = self.fs, 1 << 30, os.urandom(1 << 20)
        handle, _ = fs.create(ROOT_INODE, b"large", 0o644, os.O_RDWR, CALLER)
        keeper = self.background()

        def write() -> None:
            for offset in range(0, size, len(piece)):
                fs.write(handle, offset, piece)
            fs.sync()

        def read() -> None:
            for offset in range(0, size, 1 << 17):
                fs.read(handle, offset, 1 << 17)

        self.timed("write 1 GiB, published (MiB)", size >> 20, write)
        self.vault.drop_caches(fs)
        self.timed("read 1 GiB in 128 KiB (MiB)", size >> 20, read)
        for loop in keeper:
            loop.stop()
        fs.close(handle)


def main() -> None:
    tune()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cryptdrive-bench-"))
    try:
        for name in ("store", "state"):
            (folder / name).mkdir()
        bench = Bench(arguments.files, folder / "store", folder / "state")
        bench.run()
        if arguments.json:
            arguments.json.write_text(json.dumps(bench.results, indent=1) + "\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
