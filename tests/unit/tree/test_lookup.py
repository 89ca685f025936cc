"""Reading single keys and ranges, of honest and of hostile trees."""

import random

import pytest

from cryptdrive.errors import Integrity
from cryptdrive.objects.ref import PackedRef
from cryptdrive.tree.apply import apply
from cryptdrive.tree.diff import diff
from cryptdrive.tree.lookup import get, scan, scan_back
from cryptdrive.tree.memory import MemoryNodes
from cryptdrive.tree.node import Branch, Leaf
from cryptdrive.tree.source import NodeMissing
from tests.unit.tree.support import ForgetfulNodes, load, reachable

MODEL = {b"%05d" % number: b"value %d " % number * 20 for number in range(0, 6000, 2)}
KEYS = sorted(MODEL)


@pytest.fixture(scope="module")
def nodes() -> MemoryNodes:
    return MemoryNodes()


@pytest.fixture(scope="module")
def root(nodes: MemoryNodes) -> PackedRef:
    root = load(MODEL, nodes)
    assert root is not None
    assert nodes.node(root).level == 1
    return root


def test_an_empty_tree_holds_nothing() -> None:
    nodes = MemoryNodes()
    assert get(nodes, None, b"a") is None
    assert scan(nodes, None, b"", None, 10) == []
    assert scan_back(nodes, None, b"", None, 10) == []


def test_every_key_is_found_and_no_other(nodes: MemoryNodes, root: PackedRef) -> None:
    for key, value in MODEL.items():
        assert get(nodes, root, key) == value
    for other in (b"", b"0", b"00001", b"05999", b"06000", b"\xff", KEYS[0] + b"\0", b"k" * 1000):
        assert get(nodes, root, other) is None


def test_ranges_in_both_directions(nodes: MemoryNodes, root: PackedRef) -> None:
    randomness = random.Random(1)
    bounds = [b"", b"0", *randomness.sample(KEYS, 20), b"00999", b"03001", b"9"]
    for start in bounds:
        for stop in [*randomness.sample(bounds, 6), None]:
            inside = [(k, MODEL[k]) for k in KEYS if start <= k and (stop is None or k < stop)]
            for limit in (1, 7, 256, 10_000):
                assert scan(nodes, root, start, stop, limit) == inside[:limit]
                assert scan_back(nodes, root, start, stop, limit) == inside[::-1][:limit]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_of_nothing_gives_nothing(nodes: MemoryNodes, root: PackedRef, limit: int) -> None:
    assert scan(nodes, root, b"", None, limit) == []
    assert scan_back(nodes, root, b"", None, limit) == []


def test_a_missing_node_is_named_and_then_found(nodes: MemoryNodes, root: PackedRef) -> None:
    source = ForgetfulNodes(nodes)
    fetched: list[PackedRef] = []
    found: list[tuple[bytes, bytes]] = []
    while not found:
        try:
            found = scan(source, root, b"", None, 10_000)
        except NodeMissing as missing:
            fetched.append(missing.ref)
            source.admit(missing.ref)
    assert dict(found) == MODEL
    assert sorted(fetched) == sorted(reachable(nodes, root))  # each of them once


def test_a_look_up_asks_for_one_path_only(nodes: MemoryNodes, root: PackedRef) -> None:
    source = ForgetfulNodes(nodes)
    for _ in range(2):
        with pytest.raises(NodeMissing) as caught:
            get(source, root, KEYS[1000])
        source.admit(caught.value.ref)
    assert get(source, root, KEYS[1000]) == MODEL[KEYS[1000]]


def test_a_range_that_ends_with_a_leaf_does_not_ask_for_the_next(nodes: MemoryNodes, root: PackedRef) -> None:
    top = nodes.node(root)
    assert isinstance(top, Branch)
    source = ForgetfulNodes(nodes)
    source.admit(root)
    source.admit(top.children[1])
    start, stop = top.keys[0], top.keys[1]
    inside = [(key, MODEL[key]) for key in KEYS if start <= key < stop]
    assert scan(source, root, start, stop, 10_000) == inside
    assert scan_back(source, root, start, stop, 10_000) == inside[::-1]
    assert scan(source, root, start, None, len(inside)) == inside
    assert scan_back(source, root, b"", stop, len(inside)) == inside[::-1]


# --- hostile trees -----------------------------------------------------------------------


def leaf_of(nodes: MemoryNodes, *keys: bytes) -> PackedRef:
    return nodes.put(Leaf(list(keys), [b"v"] * len(keys)))


def every_reader_refuses(nodes: MemoryNodes, root: PackedRef, key: bytes) -> None:
    with pytest.raises(Integrity):
        scan(nodes, root, b"", None, 100)
    with pytest.raises(Integrity):
        scan_back(nodes, root, b"", None, 100)
    with pytest.raises(Integrity):
        apply(nodes, nodes, root, [(key, b"new")])
    with pytest.raises(Integrity):
        list(diff(nodes, root, None))


@pytest.mark.parametrize("child_level", [1, 2])
def test_a_child_that_is_not_one_level_lower_is_refused(child_level: int) -> None:
    nodes = MemoryNodes()
    child = nodes.put(Branch(child_level, [b"c"], [leaf_of(nodes, b"a"), leaf_of(nodes, b"d")]))
    root = nodes.put(Branch(1, [b"m"], [child, child]))
    with pytest.raises(Integrity):
        get(nodes, root, b"a")
    every_reader_refuses(nodes, root, b"a")


def test_a_level_that_is_left_out_is_refused() -> None:
    nodes = MemoryNodes()
    root = nodes.put(Branch(2, [b"m"], [leaf_of(nodes, b"a"), leaf_of(nodes, b"n")]))
    with pytest.raises(Integrity):
        get(nodes, root, b"a")
    every_reader_refuses(nodes, root, b"a")


def test_a_leaf_with_keys_of_its_neighbour_is_refused() -> None:
    nodes = MemoryNodes()
    below = nodes.put(Branch(1, [b"m"], [leaf_of(nodes, b"a", b"z"), leaf_of(nodes, b"n")]))
    every_reader_refuses(nodes, below, b"a")
    above = nodes.put(Branch(1, [b"m"], [leaf_of(nodes, b"a"), leaf_of(nodes, b"b", b"n")]))
    every_reader_refuses(nodes, above, b"n")


def test_one_subtree_at_many_places_is_refused() -> None:
    nodes = MemoryNodes()
    ref = leaf_of(nodes, b"a")
    for level in range(1, 16):
        ref = nodes.put(Branch(level, [b"b"], [ref, ref]))
    every_reader_refuses(nodes, ref, b"z")


def test_a_branch_with_separators_out_of_its_place_is_refused() -> None:
    nodes = MemoryNodes()
    left = nodes.put(Branch(1, [b"x"], [leaf_of(nodes, b"a"), leaf_of(nodes, b"y")]))
    right = nodes.put(Branch(1, [b"p"], [leaf_of(nodes, b"n"), leaf_of(nodes, b"q")]))
    every_reader_refuses(nodes, nodes.put(Branch(2, [b"m"], [left, right])), b"a")
