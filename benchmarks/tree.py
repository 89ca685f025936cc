"""Operations a second of the tree in isolation: no sealing, no store, every node in memory.

    python benchmarks/tree.py [--entries 100000,1000000] [--json FILE]

A file is two entries here, an inode record and a directory entry, of the sizes that real ones have.
"""

import argparse
import gc
import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptdrive.objects.ref import PackedRef
from cryptdrive.tree.apply import Change, apply
from cryptdrive.tree.diff import diff
from cryptdrive.tree.lookup import get, scan
from cryptdrive.tree.memory import MemoryNodes
from cryptdrive.tree.memtable import Memtable
from cryptdrive.tree.node import Branch, Leaf, Node, decode, encode
from cryptdrive.tree.view import merged_get, merged_scan

SECONDS_A_ROW = 1.0
NAME_BYTES = 14
VALUE_BYTES = 56


@dataclass(frozen=True, slots=True)
class Row:
    """One measured operation."""

    operation: str
    entries: int
    microseconds: float
    per_second: float
    remark: str = ""


def main() -> int:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", default="100000,1000000", help="sizes of the trees, with commas")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    rows = codec_rows() + memtable_rows()
    for entries in map(int, arguments.entries.split(",")):
        rows += tree_rows(entries)
    print(f"{'operation':<34}{'entries':>10}{'µs':>12}{'a second':>14}  remark")
    for row in rows:
        print(
            f"{row.operation:<34}{row.entries:>10,}{row.microseconds:>12.2f}{row.per_second:>14,.0f}"
            f"  {row.remark}"
        )
    if arguments.json:
        report = {"python": sys.version.split()[0], "rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(
    operation: str, entries: int, action: Callable[[], object], each: int = 1, remark: str = ""
) -> Row:
    """Run ``action``, which does ``each`` operations, for SECONDS_A_ROW; the best of its rounds counts."""
    best = float("inf")
    end = time.perf_counter() + SECONDS_A_ROW
    gc.collect()
    while True:
        begin = time.perf_counter()
        action()
        now = time.perf_counter()
        best = min(best, now - begin)
        if now >= end:
            break
    return Row(operation, entries, best / each * 1e6, each / best, remark)


def make_changes(entries: int, randomness: random.Random) -> list[Change]:
    """Entries as a drive has them: (inode, kind, suffix), half inode records and half names."""
    changes: list[Change] = []
    for number in range(entries // 2):
        inode = (7 << 40 | number).to_bytes(8, "big")
        directory = (7 << 40 | number // 100).to_bytes(8, "big")
        changes.append((inode + b"\x01", randomness.randbytes(VALUE_BYTES)))
        changes.append((directory + b"\x02" + randomness.randbytes(NAME_BYTES), inode + b"\x08"))
    return sorted(changes)


def codec_rows() -> list[Row]:
    """Encoding and decoding one leaf and one branch of about 16 KiB."""
    randomness = random.Random(1)
    keys = sorted(randomness.randbytes(20) for _ in range(200))
    leaf = Leaf(keys, [randomness.randbytes(VALUE_BYTES) for _ in keys])
    branch = Branch(1, keys[:190], [PackedRef(randomness.randbytes(60)) for _ in range(191)])
    rows = []
    for name, node in (("leaf", leaf), ("branch", branch)):
        page = encode(node)
        count, remark = len(node.keys), f"{len(page)} bytes"
        rows.append(measure(f"encode {name}", count, lambda node=node: repeat(encode, node), 100, remark))  # type: ignore[misc]
        rows.append(measure(f"decode {name}", count, lambda page=page: repeat(decode, page), 100, remark))  # type: ignore[misc]
    return rows


def repeat(action: Callable[..., object], argument: Node | bytes) -> None:
    """Call it 100 times."""
    for _ in range(100):
        action(argument)


def memtable_rows() -> list[Row]:
    """Filling a memtable, and reading it."""
    changes = make_changes(100_000, random.Random(2))
    random.Random(3).shuffle(changes)

    def fill() -> Memtable:
        table = Memtable()
        for key, value in changes:
            table.put(key, value or b"")
        return table

    table = fill()
    sample = [key for key, _ in changes[:10_000]]

    def read() -> None:
        for key in sample:
            merged_get((table,), MemoryNodes(), None, key)

    return [
        measure("memtable put, random order", len(changes), fill, len(changes)),
        measure("memtable get", len(changes), read, len(sample)),
    ]


def tree_rows(entries: int) -> list[Row]:
    """Load, read, change and compare a tree of so many entries."""
    randomness = random.Random(4)
    changes = make_changes(entries, randomness)
    nodes = MemoryNodes()
    begin = time.perf_counter()
    root = apply(nodes, nodes, None, changes)
    seconds = time.perf_counter() - begin
    assert root is not None
    fill = sum(map(len, nodes.pages.values())) / len(nodes.pages) / 16384
    levels = nodes.node(root).level + 1
    remark = f"{levels} levels, {len(nodes.pages)} nodes, {fill:.0%} full; encoding included"
    rows = [Row("bulk load, an entry", entries, seconds / entries * 1e6, entries / seconds, remark)]
    sample = [key for key, _ in randomness.sample(changes, 10_000)]
    starts = [key[:8] for key in sample[:1000]]
    empty, full = Memtable(), Memtable()
    full.put(b"\xff", b"")

    def reading(action: Callable[[bytes], object], keys: list[bytes]) -> Callable[[], None]:
        def read() -> None:
            for key in keys:
                action(key)

        return read

    reading(lambda key: get(nodes, root, key), [key for key, _ in changes])()  # decodes every node
    layers = (empty, full)
    rows += [
        measure("get, warm", entries, reading(lambda key: get(nodes, root, key), sample), len(sample)),
        measure(
            "get through two memtables",
            entries,
            reading(lambda key: merged_get(layers, nodes, root, key), sample),
            len(sample),
        ),
        measure(
            "scan of 100",
            entries,
            reading(lambda key: scan(nodes, root, key, None, 100), starts),
            len(starts),
        ),
        measure(
            "scan of 100 through two memtables",
            entries,
            reading(lambda key: merged_scan(layers, nodes, root, key, None, 100), starts),
            len(starts),
        ),
        *commit_rows(nodes, root, changes, randomness),
    ]
    return rows


def commit_rows(
    nodes: MemoryNodes, root: PackedRef, changes: list[Change], randomness: random.Random
) -> list[Row]:
    """Change few or many entries of a tree, and find them again by diff."""
    entries = len(changes)
    rows = []
    for files in (1, 100, 5000):
        batches = []
        for _ in range(max(3, 200 // files)):
            old = dict(randomness.sample(changes, files))
            new = {key[:9] + randomness.randbytes(NAME_BYTES): value for key, value in old.items()}
            batches.append(sorted({**dict.fromkeys(old, b"changed"), **new}.items()))
        before = len(nodes.pages)
        known = set(nodes.pages)
        begin = time.perf_counter()
        roots = [apply(nodes, nodes, root, batch) for batch in batches]
        seconds = (time.perf_counter() - begin) / len(batches)
        count = (len(nodes.pages) - before) / len(batches)
        size = sum(len(page) for ref, page in nodes.pages.items() if ref not in known) / len(batches)
        remark = f"{count:.1f} nodes, {size / 1024:.0f} KiB; encoding included"
        rows.append(Row(f"commit of {files} files", entries, seconds * 1e6, 1 / seconds, remark))
        after = roots[0]
        list(diff(nodes, root, after))
        row = measure(f"diff of {files} files", entries, lambda after=after: list(diff(nodes, root, after)))  # type: ignore[misc]
        rows.append(row)
    return rows


if __name__ == "__main__":
    sys.exit(main())
