"""Works on a mounted drive until that dies, and notes outside what it did and what fsync acknowledged.

    python -m tests.e2e.mount_writer PLACE LOG SEED
    python -m tests.e2e.mount_writer --sqlite MODE DATABASE LOG

Every step is one change of the drive, so that a state between two steps is one that there was.
"""

import os
import random
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

State = dict[str, bytes | None]
"""Path → content; None for a folder."""


@dataclass(frozen=True)
class Step:
    kind: str
    path: str
    other: str = ""
    offset: int = 0
    data: bytes = b""

    def apply(self, state: State) -> None:
        """To a model."""
        content = state.get(self.path) or b""
        if self.kind == "create":
            state[self.path] = b""
        elif self.kind == "folder":
            state[self.path] = None
        elif self.kind == "write":
            padded = content.ljust(self.offset, b"\0")
            state[self.path] = padded[: self.offset] + self.data + padded[self.offset + len(self.data) :]
        elif self.kind == "truncate":
            state[self.path] = content[: self.offset]
        elif self.kind == "rename":
            state[self.other] = state.pop(self.path)
        elif self.kind == "remove":
            del state[self.path]

    def perform(self, place: Path) -> None:
        """For real."""
        path = place / self.path
        if self.kind == "create":
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        elif self.kind == "folder":
            path.mkdir()
        elif self.kind == "write":
            file = os.open(path, os.O_WRONLY)
            os.pwrite(file, self.data, self.offset)
            os.close(file)
        elif self.kind == "truncate":
            os.truncate(path, self.offset)
        elif self.kind == "rename":
            path.rename(place / self.other)
        elif self.kind == "remove":
            path.unlink()
        elif self.kind == "sync":
            file = os.open(path, os.O_RDONLY)
            os.fsync(file)
            os.close(file)


def steps(seed: int, state: State) -> Iterator[Step]:
    """An endless mix: many small files, overwrites anywhere, renames over others, a sync now and then.

    Whoever takes a step applies it to ``state`` before the next.
    """
    chance = random.Random(seed)
    number = 0
    while True:
        number += 1
        folders = ["", *(f"{path}/" for path, content in state.items() if content is None)]
        files = [path for path, content in state.items() if content is not None]
        kind = chance.random()
        if kind < 0.02 and len(folders) < 6:
            name = f"folder-{len(folders)}"
            if name not in state:
                yield Step("folder", name)
        elif kind < 0.25 and len(files) < 120:
            path = f"{chance.choice(folders)}file-{seed}-{number}"
            yield Step("create", path)
            yield Step("write", path, data=chance.randbytes(chance.choice((30, 700, 5000, 60_000))))
        elif kind < 0.28:
            yield Step("sync", "")
        elif not files:
            continue
        elif kind < 0.60:
            path = chance.choice(files)
            size = len(state[path] or b"")
            data = chance.randbytes(chance.choice((10, 4096, 30_000)))
            if size < 300_000:
                yield Step("write", path, offset=chance.randint(0, size), data=data)
        elif kind < 0.80:
            old, new = chance.choice(files), chance.choice(files)
            if old != new:
                yield Step("rename", old, new)
        elif kind < 0.84:
            path = chance.choice(files)
            yield Step("truncate", path, offset=len(state[path] or b"") // 2)
        elif kind < 0.95 and len(files) > 30:
            yield Step("remove", chance.choice(files))
        else:
            yield Step("sync", chance.choice(files))


def read_all(place: Path) -> State:
    """What is there."""
    return {
        str(path.relative_to(place)): None if path.is_dir() else path.read_bytes()
        for path in sorted(place.rglob("*"))
    }


def work(place: Path, log: int, seed: int) -> None:
    state = read_all(place)
    os.write(log, b"ready\n")
    for number, step in enumerate(steps(seed, state)):
        step.perform(place)
        step.apply(state)
        os.write(log, b"%s %d\n" % (b"synced" if step.kind == "sync" else b"done", number))


def work_with_sqlite(database: str, log: int, mode: str) -> None:
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode={mode}")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, data BLOB)")
    os.write(log, b"ready\n")
    (number,) = connection.execute("SELECT coalesce(max(n), 0) FROM t").fetchone()
    while True:
        number += 1
        connection.execute("BEGIN")
        connection.execute(
            "INSERT INTO t VALUES (?, ?)", (number, os.urandom(random.choice((50, 3000, 20_000))))
        )
        connection.execute("DELETE FROM t WHERE n < ?", (number - 300,))
        connection.execute("COMMIT")
        os.write(log, b"synced %d\n" % number)


def main() -> None:
    notes = os.open(sys.argv[-2] if sys.argv[1] != "--sqlite" else sys.argv[-1], os.O_WRONLY | os.O_APPEND)
    try:
        if sys.argv[1] == "--sqlite":
            work_with_sqlite(sys.argv[3], notes, sys.argv[2])
        else:
            work(Path(sys.argv[1]), notes, int(sys.argv[3]))
    except (OSError, sqlite3.Error):
        return  # the drive has died


if __name__ == "__main__":
    main()
