"""Operations a second through a real mount, over a vault in a folder.

    python benchmarks/fuse.py [--files 5000] [--mib 256] [--model] [--json FILE]

One process asks and waits for each answer, so a figure is how long a round trip takes. ``cold``
means after a new mount: neither the kernel nor the drive has anything in memory; without it the
drive has, and the kernel only where the row says so. ``--model`` serves a file system in memory
instead, and shows what the kernel, pyfuse3 and the front end cost alone.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from tests.e2e.fuse_support import Mounted, mounted_at  # noqa: E402 - found by the line above

FILE_BYTES = 1024
OVERWRITE_BYTES = 4096
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One measured operation."""

    operation: str
    per_second: float
    unit: str = "op/s"

    def __str__(self) -> str:
        each = f"{1e6 / self.per_second:10.1f} µs each" if self.unit == "op/s" else ""
        return f"{self.operation:<44}{self.per_second:>12,.0f} {self.unit:<6}{each}"


class Bench:
    """The rows of one run."""

    def __init__(self, kind: str, folder: Path, files: int, mib: int) -> None:
        self.kind = kind
        self.folder = folder
        self.files = files
        self.mib = mib
        self.rows: list[Row] = []
        self.mount = folder / "mount"
        self.tree = self.mount / "tree"

    @contextmanager
    def mounted(self) -> Iterator[Mounted]:
        with mounted_at(self.kind, self.mount, self.folder / "vault") as mounted:
            yield mounted
            mounted.stop()

    def timed(self, operation: str, count: int, job: Callable[[], object], unit: str = "op/s") -> None:
        start = time.perf_counter()
        job()
        row = Row(operation, count / (time.perf_counter() - start), unit)
        self.rows.append(row)
        print(row, flush=True)

    def each(self, operation: str, action: Callable[[str], object]) -> None:
        """Do ``action`` to every file of the tree."""
        paths = [str(self.tree / f"file-{number:06}") for number in range(self.files)]

        def job() -> None:
            for path in paths:
                action(path)

        self.timed(operation, self.files, job)

    # --- small files -----------------------------------------------------------------

    def making(self) -> None:
        content = os.urandom(FILE_BYTES)
        self.tree.mkdir()
        self.each("create an empty file and close it", lambda path: os.close(os.open(path, os.O_CREAT | 1)))
        self.each("open, write 1 KiB, close", lambda path: write_file(path, content))
        self.each("stat after a write", os.stat)
        self.each("stat, the kernel has it", os.stat)
        forget_names()
        self.each("stat, the drive has it", os.stat)
        self.each("open, read 1 KiB, close", read_file)

    def cold(self) -> None:
        self.timed("list with attributes, cold (entries)", self.files, lambda: list_folder(self.tree))
        self.each("open, read 1 KiB, close, cold", read_file)

    def changing(self) -> None:
        self.each("chmod", lambda path: os.chmod(path, 0o600))
        self.each("rename", lambda path: os.rename(path, path + ".new"))
        self.each("rename back", lambda path: os.rename(path + ".new", path))
        self.each("unlink", os.unlink)
        self.each("mkdir", os.mkdir)
        self.each("rmdir", os.rmdir)

    # --- large files -----------------------------------------------------------------

    def writing(self) -> None:
        block = os.urandom(BLOCK_BYTES)
        path = self.mount / "large"

        def write() -> None:
            with open(path, "wb", buffering=0) as file:
                for _ in range(self.mib):
                    file.write(block)

        def overwrite() -> None:
            descriptor = os.open(path, os.O_RDWR)
            span = self.mib * BLOCK_BYTES - OVERWRITE_BYTES
            for number in range(self.files):
                os.pwrite(descriptor, block[:OVERWRITE_BYTES], number * 7_919_131 % span)
            os.close(descriptor)

        self.timed("write sequentially", self.mib, write, "MiB/s")
        self.timed("… and fsync", self.mib, lambda: sync_file(path), "MiB/s")
        self.timed("overwrite 4 KiB anywhere", self.files, overwrite)
        sync_file(path)

    def reading(self, remark: str) -> None:
        path = self.mount / "large"
        self.timed(f"read sequentially, {remark}", self.mib, lambda: read_blocks(path), "MiB/s")

    def run(self) -> None:
        with self.mounted():
            self.making()
            if self.kind == "model":
                self.changing()
            self.writing()
            drop_pages(self.mount / "large")
            self.reading("not in the kernel")
            self.reading("the kernel has it")
        if self.kind == "model":
            return
        with self.mounted():
            self.cold()
            self.reading("cold")
            self.changing()


def write_file(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    os.write(descriptor, content)
    os.close(descriptor)


def read_file(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.read(descriptor, FILE_BYTES * 2)
    os.close(descriptor)


def list_folder(folder: Path) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            entry.stat()


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    os.close(descriptor)


def read_blocks(path: Path) -> None:
    with open(path, "rb", buffering=0) as file:
        while file.read(BLOCK_BYTES):
            pass


def drop_pages(path: Path) -> None:
    """Let the kernel forget the file's pages."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def forget_names() -> None:
    """Let the kernel forget names and attributes, where we are root."""
    try:
        Path("/proc/sys/vm/drop_caches").write_text("2")
    except OSError:
        print("(not root: the kernel keeps its names, and the next row is about the kernel)")


def main() -> int:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--mib", type=int, default=256, help="size of the large file")
    parser.add_argument("--model", action="store_true", help="a file system in memory")
    parser.add_argument("--folder", type=Path, help="where the vault and the mountpoint are made")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cryptdrive-bench-", dir=arguments.folder))
    try:
        bench = Bench("model" if arguments.model else "drive", folder, arguments.files, arguments.mib)
        bench.run()
    finally:
        shutil.rmtree(folder)
    if arguments.json:
        report = {"python": sys.version.split()[0], "rows": [asdict(row) for row in bench.rows]}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
