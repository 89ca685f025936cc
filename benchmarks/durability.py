"""What durability costs on this machine: fsync, threads that share it, bytes written to disk, memory.

    python -m benchmarks.durability [--rounds 1200] [--mib 1024] [--minutes 0] [--json FILE]

Everything goes through a real mount of a vault in a folder, beside plain files on the same disk,
in turns. ``--minutes`` adds a mixed load of that length, and shows how memory grows.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests.e2e.cli_support import CommandLine, command_line

BLOCK_BYTES = 4096
THREADS = 8
TURNS = 15
"""How often plain file and drive take turns: a disk that others use too is not the same for long."""
SETTLING_S = 600


def append_and_sync(path: Path, rounds: int) -> float:
    """Seconds for each 4 KiB that is appended to a file and synced, the middle one."""
    seconds = []
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for _ in range(rounds):
            start = time.perf_counter()
            os.write(file, os.urandom(BLOCK_BYTES))
            os.fsync(file)
            seconds.append(time.perf_counter() - start)
    finally:
        os.close(file)
    return sorted(seconds)[len(seconds) // 2]


def together(folder: Path, threads: int, rounds: int) -> float:
    """Requests a second of threads that each append to a file of their own and sync it."""
    workers = [
        threading.Thread(target=append_and_sync, args=(folder / f"thread-{number}", rounds))
        for number in range(threads)
    ]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return threads * rounds / (time.perf_counter() - start)


def fsync_costs(line: CommandLine, rounds: int) -> dict[str, float]:
    plain, mounted = [], []
    rounds = max(rounds // TURNS, 1)
    for turn in range(TURNS):
        plain.append(append_and_sync(line.folder / f"plain-{turn}", rounds))
        mounted.append(append_and_sync(line.mountpoint / f"file-{turn}", rounds))
    ratios = sorted(each / other for each, other in zip(mounted, plain, strict=True))
    return {
        "plain_fsync_us": 1e6 * statistics.median(plain),
        "drive_fsync_us": 1e6 * statistics.median(mounted),
        "fsync_ratio": statistics.median(ratios),
        "fsync_ratio_least": ratios[0],
        "fsync_ratio_most": ratios[-1],
    }


def group_costs(line: CommandLine, rounds: int) -> dict[str, float]:
    one = together(line.mountpoint, 1, rounds)
    before = line.status()["journal_syncs"]
    many = together(line.mountpoint, THREADS, rounds)
    syncs = line.status()["journal_syncs"] - before
    return {
        "one_thread_per_s": one,
        f"{THREADS}_threads_per_s": many,
        "threads_ratio": many / one,
        "fdatasync_a_request": syncs / (THREADS * rounds),
    }


def written_bytes(pid: int) -> int:
    text = Path(f"/proc/{pid}/io").read_text()
    return int(dict(row.split(": ") for row in text.splitlines())["write_bytes"])


def bulk_costs(line: CommandLine, mib: int) -> dict[str, float]:
    pid = line.status()["pid"]
    before, start = written_bytes(pid), time.perf_counter()
    piece = os.urandom(1 << 20)
    with (line.mountpoint / "bulk").open("wb", buffering=0) as file:
        for number in range(mib):
            file.write(number.to_bytes(8, "big") + piece[8:])
    line.run("flush", line.vault).ok()
    seconds = time.perf_counter() - start
    return {
        "bulk_mib": mib,
        "written_ratio": (written_bytes(pid) - before) / (mib << 20),
        "bulk_mib_per_s": mib / seconds,
    }


def resident_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def mixed_load(line: CommandLine, minutes: float) -> dict[str, Any]:
    """Creates, overwrites, reads, renames, removes and syncs, in a tree of bounded size."""
    pid, chance = line.status()["pid"], random.Random(1)
    folder = line.mountpoint / "mixed"
    folder.mkdir()
    start = time.monotonic()
    settling = min(SETTLING_S, minutes * 60 / 4)
    settled, rows, operations = 0.0, [], 0
    while (passed := time.monotonic() - start) < minutes * 60:
        path = folder / f"{chance.randrange(20)}" / f"file-{chance.randrange(200)}"
        path.parent.mkdir(exist_ok=True)
        kind = chance.random()
        if kind < 0.5:
            with path.open("ab") as file:
                file.write(chance.randbytes(chance.choice((100, 5000, 200_000))))
                if chance.random() < 0.1:
                    os.fsync(file.fileno())
            if path.stat().st_size > 2_000_000:
                path.unlink()
        elif not path.exists():
            continue
        elif kind < 0.8:
            path.read_bytes()
        elif kind < 0.9:
            path.rename(path.with_name(f"file-{chance.randrange(200)}"))
        else:
            path.unlink()
        operations += 1
        if not settled and passed > settling:
            settled = resident_mib(pid)
        if len(rows) <= passed // 300:
            rows.append([round(passed), round(resident_mib(pid), 1)])
    end = resident_mib(pid)
    return {
        "minutes": minutes,
        "operations": operations,
        "settled_mib": settled,
        "end_mib": end,
        "memory_ratio": end / settled,
        "course_s_mib": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1200)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=".") as folder, command_line(Path(folder).resolve()) as line:
        line.create_vault()
        line.run("mount", line.vault, line.mountpoint).ok()
        figures |= fsync_costs(line, arguments.rounds)
        figures |= group_costs(line, arguments.rounds)
        figures |= bulk_costs(line, arguments.mib)
        if arguments.minutes:
            figures |= mixed_load(line, arguments.minutes)
        line.run("umount", line.mountpoint).ok()
    for name, value in figures.items():
        print(f"{name:<28}{value:>14,.2f}" if isinstance(value, int | float) else f"{name:<28}{value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
