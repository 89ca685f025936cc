"""The difference of two states, and that what they share is not loaded."""

import random

import pytest

from cryptdrive.objects.ref import PackedRef
from cryptdrive.tree import apply as apply_module
from cryptdrive.tree.apply import Change, apply
from cryptdrive.tree.diff import Difference, diff
from tests.unit.tree.support import WatchedNodes, load, reachable

Model = dict[bytes, bytes]


def expected(before: Model, after: Model) -> list[Difference]:
    keys = sorted(before.keys() | after.keys())
    return [(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)]


@pytest.fixture(autouse=True)
def small_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes of 1 KiB: trees of many levels with few entries."""
    monkeypatch.setattr(apply_module, "NODE_BYTES_TARGET", 1024)
    monkeypatch.setattr(apply_module, "NODE_BYTES_SMALL", 256)


BIG = {b"%05d" % number: b"v" * 30 for number in range(5000)}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {}),
        ({}, {b"a": b"1"}),
        ({b"a": b"1"}, {}),
        ({b"a": b"1", b"b": b"2"}, {b"b": b"3", b"c": b"4"}),
        ({}, BIG),
        (BIG, {}),
        (BIG, {b"02500": b"other"}),
        ({b"99999": b"", b"0": b""}, BIG),
        (BIG, {key + b"x": value for key, value in BIG.items()}),
    ],
)
def test_states_that_share_nothing(before: Model, after: Model) -> None:
    nodes = WatchedNodes()
    assert list(diff(nodes, load(before, nodes), load(after, nodes))) == expected(before, after)


def test_equal_roots_are_not_even_looked_at() -> None:
    nodes = WatchedNodes()
    root = load(BIG, nodes)
    nodes.forget()
    assert list(diff(nodes, root, root)) == []
    assert nodes.asked == []


def test_equal_contents_in_other_nodes_do_not_differ() -> None:
    nodes = WatchedNodes()
    assert list(diff(nodes, load(BIG, nodes), load(BIG, nodes))) == []


def steps(randomness: random.Random, model: Model) -> list[Change]:
    changes: dict[bytes, bytes | None] = {}
    for _ in range(randomness.choice([1, 3, 30])):
        key = b"%05d" % randomness.randrange(9000)
        changes[key] = randomness.choice([None, b"w" * 30, b"x" * 90])
    if randomness.random() < 0.2:
        low = randomness.randrange(5000)
        changes.update(dict.fromkeys((b"%05d" % number for number in range(low, low + 300)), None))
    return sorted(changes.items())


def follow(model: Model, changes: list[Change]) -> Model:
    after = dict(model)
    for key, value in changes:
        if value is None:
            after.pop(key, None)
        else:
            after[key] = value
    return after


def test_any_two_states_of_one_history() -> None:
    randomness = random.Random(5)
    nodes = WatchedNodes()
    states: list[tuple[Model, PackedRef | None]] = [(dict(BIG), load(BIG, nodes))]
    for _ in range(60):
        model, root = states[-1]
        changes = steps(randomness, model)
        states.append((follow(model, changes), apply(nodes, nodes, root, changes)))
    for _ in range(150):
        (before, old), (after, new) = randomness.choice(states), randomness.choice(states)
        assert list(diff(nodes, old, new)) == expected(before, after)


def test_only_what_is_not_shared_is_loaded() -> None:
    randomness = random.Random(6)
    nodes = WatchedNodes()
    root = load(BIG, nodes)
    for _ in range(60):
        after = apply(nodes, nodes, root, steps(randomness, BIG))
        differing = set(reachable(nodes, root)) ^ set(reachable(nodes, after))
        for old, new in ((root, after), (after, root)):
            nodes.forget()
            list(diff(nodes, old, new))
            assert set(nodes.asked) == differing


def test_what_lies_behind_a_large_insertion_is_not_loaded() -> None:
    """The insertion is whole branches; what they push aside keeps its nodes, and is not looked into."""
    nodes = WatchedNodes()
    root = load(BIG, nodes)
    inserted: list[Change] = [(b"02500-%05d" % number, b"v" * 30) for number in range(4000)]
    after = apply(nodes, nodes, root, inserted)
    differing = set(reachable(nodes, root)) ^ set(reachable(nodes, after))
    for old, new in ((root, after), (after, root)):
        nodes.forget()
        assert len(list(diff(nodes, old, new))) == len(inserted)
        assert len(set(nodes.asked) - differing) <= 3  # a neighbour a level, where separators have moved


def test_one_changed_value_loads_two_paths() -> None:
    nodes = WatchedNodes()
    root = load(BIG, nodes)
    assert root is not None
    after = apply(nodes, nodes, root, [(b"02500", b"new")])
    nodes.forget()
    assert list(diff(nodes, root, after)) == [(b"02500", b"v" * 30, b"new")]
    assert len(set(nodes.asked)) == 2 * (nodes.node(root).level + 1)
