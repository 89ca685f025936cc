"""Memtables laid over the tree: which layer speaks, and exact limits whatever is hidden."""

import random

import pytest

from cryptdrive.objects.ref import PackedRef
from cryptdrive.tree.memory import MemoryNodes
from cryptdrive.tree.memtable import Memtable
from cryptdrive.tree.view import merged_get, merged_scan, merged_scan_back
from tests.unit.tree.support import load


def table_of(**changes: str | None) -> Memtable:
    table = Memtable()
    for key, value in changes.items():
        if value is None:
            table.delete(key.encode())
        else:
            table.put(key.encode(), value.encode())
    return table


@pytest.fixture
def nodes() -> MemoryNodes:
    return MemoryNodes()


def test_the_newest_layer_that_knows_the_key_speaks(nodes: MemoryNodes) -> None:
    root = load({b"a": b"tree", b"b": b"tree", b"c": b"tree", b"d": b"tree"}, nodes)
    layers = [table_of(a="new", b=None), table_of(a=None, b="old", c="old", d=None)]
    found = {key: merged_get(layers, nodes, root, key) for key in (b"a", b"b", b"c", b"d", b"e")}
    assert found == {b"a": b"new", b"b": None, b"c": b"old", b"d": None, b"e": None}
    entries = [(b"a", b"new"), (b"c", b"old")]
    assert merged_scan(layers, nodes, root, b"", None, 10) == entries
    assert merged_scan_back(layers, nodes, root, b"", None, 10) == entries[::-1]


def test_a_value_put_back_over_a_tombstone_is_seen(nodes: MemoryNodes) -> None:
    root = load({b"a": b"tree"}, nodes)
    layers = [table_of(a="back"), table_of(a=None)]
    assert merged_get(layers, nodes, root, b"a") == b"back"
    assert merged_scan(layers, nodes, root, b"", None, 1) == [(b"a", b"back")]


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_long_runs_of_tombstones_do_not_shorten_the_answer(nodes: MemoryNodes, limit: int) -> None:
    model = {b"%05d" % number: b"v" for number in range(10_000)}
    root = load(model, nodes)
    table = Memtable()
    for number in range(100, 9900):
        table.delete(b"%05d" % number)
    live = [(key, b"v") for key in sorted(model) if not b"00100" <= key < b"09900"]
    above = [entry for entry in live if entry[0] >= b"00100"]
    below = [entry for entry in live if entry[0] < b"09900"]
    assert merged_scan([table], nodes, root, b"00100", None, limit) == above[:limit]
    assert merged_scan_back([table], nodes, root, b"", b"09900", limit) == below[::-1][:limit]


def test_without_layers_it_is_the_tree_and_without_a_tree_the_layers(nodes: MemoryNodes) -> None:
    root = load({b"a": b"1", b"b": b"2"}, nodes)
    assert merged_scan([], nodes, root, b"", None, 1) == [(b"a", b"1")]
    assert merged_get([], nodes, root, b"b") == b"2"
    assert merged_scan_back([table_of(x="1", y=None)], nodes, None, b"", None, 9) == [(b"x", b"1")]
    assert merged_get([table_of(x="1")], nodes, None, b"y") is None


@pytest.mark.parametrize("limit", [0, -5])
def test_a_limit_of_nothing_gives_nothing(nodes: MemoryNodes, limit: int) -> None:
    assert merged_scan([table_of(a="1")], nodes, None, b"", None, limit) == []
    assert merged_scan_back([table_of(a="1")], nodes, None, b"", None, limit) == []


def random_layer(randomness: random.Random) -> dict[bytes, bytes | None]:
    keys = [b"%03d" % randomness.randrange(300) for _ in range(randomness.choice([0, 5, 150]))]
    return {key: randomness.choice([None, None, b"%d" % randomness.randrange(9)]) for key in keys}


def test_random_layers_and_ranges_against_one_sorted_dict(nodes: MemoryNodes) -> None:
    randomness = random.Random(9)
    for _ in range(120):
        base = {key: value for key, value in random_layer(randomness).items() if value is not None}
        layers = [random_layer(randomness) for _ in range(randomness.randrange(4))]
        truth: dict[bytes, bytes | None] = dict(base)
        for layer in reversed(layers):
            truth.update(layer)
        live = [(key, value) for key, value in sorted(truth.items()) if value is not None]
        tables = [filled(layer) for layer in layers]
        root: PackedRef | None = load(base, nodes)
        for _ in range(15):
            start = b"%03d" % randomness.randrange(300)
            stop = randomness.choice([None, b"%03d" % randomness.randrange(300)])
            limit = randomness.choice([1, 2, 10, 1000])
            inside = [entry for entry in live if start <= entry[0] and (stop is None or entry[0] < stop)]
            assert merged_scan(tables, nodes, root, start, stop, limit) == inside[:limit]
            assert merged_scan_back(tables, nodes, root, start, stop, limit) == inside[::-1][:limit]
            assert merged_get(tables, nodes, root, start) == truth.get(start)


def filled(changes: dict[bytes, bytes | None]) -> Memtable:
    table = Memtable()
    for key, value in changes.items():
        if value is None:
            table.delete(key)
        else:
            table.put(key, value)
    return table
