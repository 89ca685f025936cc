"""Batches of changes: what the new tree holds, shares, and how its nodes are filled."""

import random
from collections.abc import Iterator

import pytest

from cryptdrive.errors import Integrity
from cryptdrive.objects.ref import PackedRef
from cryptdrive.tree import apply as apply_module
from cryptdrive.tree.apply import Change, apply
from cryptdrive.tree.memory import MemoryNodes
from cryptdrive.tree.node import KEY_BYTES_MAX, NODE_BYTES_TARGET, VALUE_BYTES_MAX, Branch, Leaf, Node
from cryptdrive.tree.source import NodeMissing
from tests.unit.tree.support import ForgetfulNodes, WatchedNodes, check_tree, load, reachable

MODEL = {b"%05d" % number: b"value %d " % number * 20 for number in range(0, 20000, 2)}
KEYS = sorted(MODEL)


@pytest.fixture
def nodes() -> WatchedNodes:
    return WatchedNodes()


@pytest.fixture
def root(nodes: WatchedNodes) -> PackedRef:
    root = load(MODEL, nodes)
    assert root is not None
    check_tree(nodes, root)
    nodes.forget()
    return root


@pytest.fixture
def small_nodes() -> Iterator[None]:
    """Nodes of 512 bytes: trees of many levels with few entries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apply_module, "NODE_BYTES_TARGET", 512)
        patch.setattr(apply_module, "NODE_BYTES_SMALL", 128)
        yield


def changed(model: dict[bytes, bytes], changes: list[Change]) -> dict[bytes, bytes]:
    after = {**model, **{key: value for key, value in changes if value is not None}}
    for key, value in changes:
        if value is None:
            after.pop(key, None)
    return after


def test_nothing_makes_no_tree(nodes: WatchedNodes) -> None:
    assert apply(nodes, nodes, None, []) is None
    assert apply(nodes, nodes, None, [(b"a", None), (b"b", None)]) is None
    assert nodes.put_refs == []


def test_a_bulk_load_fills_its_nodes_evenly(nodes: WatchedNodes) -> None:
    root = load(MODEL, nodes)
    assert nodes.asked == []
    assert check_tree(nodes, root) == MODEL
    sizes = [len(nodes.pages[ref]) for ref in reachable(nodes, root)][1:]
    assert min(sizes) > 0.95 * NODE_BYTES_TARGET
    assert set(nodes.put_refs) == set(reachable(nodes, root))


def test_entries_of_the_largest_size_fit(nodes: WatchedNodes) -> None:
    model = {b"%0272d" % number: b"v" * VALUE_BYTES_MAX for number in range(400)}
    assert len(next(iter(model))) == KEY_BYTES_MAX
    root = load(model, nodes)
    assert check_tree(nodes, root) == model


def test_changes_that_change_nothing_keep_the_root(nodes: WatchedNodes, root: PackedRef) -> None:
    assert apply(nodes, nodes, root, []) == root
    same: list[Change] = [(KEYS[3], MODEL[KEYS[3]]), (b"00007", None), (b"99999", None)]
    assert apply(nodes, nodes, root, same) == root
    assert nodes.put_refs == []


def test_one_change_makes_one_path_of_new_nodes(nodes: WatchedNodes, root: PackedRef) -> None:
    after = apply(nodes, nodes, root, [(KEYS[5000], b"new")])
    levels = nodes.node(root).level + 1
    assert len(nodes.put_refs) == levels
    shared = set(reachable(nodes, root)) & set(reachable(nodes, after))
    assert len(shared) == len(list(reachable(nodes, root))) - levels
    assert check_tree(nodes, after) == {**MODEL, KEYS[5000]: b"new"}
    assert check_tree(nodes, root) == MODEL  # the old state is still there


def test_a_subtree_that_ends_as_it_was_keeps_its_ref(nodes: WatchedNodes, root: PackedRef) -> None:
    top = nodes.node(root)
    assert isinstance(top, Branch)
    same = [(key, MODEL[key]) for key in KEYS[:3000]]
    after = apply(nodes, nodes, root, [*same, (KEYS[-1], b"new")])
    assert after is not None
    new_top = nodes.node(after)
    assert isinstance(new_top, Branch)
    assert new_top.children[:-1] == top.children[:-1]
    assert new_top.children[-1] != top.children[-1]


def test_a_needed_node_is_asked_for_once(nodes: WatchedNodes, root: PackedRef) -> None:
    randomness = random.Random(7)
    for _ in range(20):
        nodes.forget()
        changes = sorted(
            (key, randomness.choice([None, b"x", MODEL[key]])) for key in randomness.sample(KEYS, 400)
        )
        apply(nodes, nodes, root, changes)
        assert len(nodes.asked) == len(set(nodes.asked))
        assert set(nodes.asked) <= set(reachable(nodes, root))


def test_a_node_that_was_visited_in_vain_is_not_asked_for_again(nodes: WatchedNodes, root: PackedRef) -> None:
    top = nodes.node(root)
    assert isinstance(top, Branch)
    nodes.forget()
    # In the first leaf, which the second one, emptied but for one entry, then unites with.
    vain: Change = (KEYS[0], MODEL[KEYS[0]])
    gone: list[Change] = [(key, None) for key in KEYS if top.keys[0] <= key < top.keys[1]]
    after = apply(nodes, nodes, root, [vain, *gone[:-1]])
    assert nodes.asked == [root, *top.children[:2]]
    assert check_tree(nodes, after) == changed(MODEL, gone[:-1])


def test_separators_are_no_longer_than_needed(nodes: WatchedNodes) -> None:
    model = {b"%03d" % number + b"name" * 40: b"v" * 50 for number in range(999)}
    root = load(model, nodes)
    assert root is not None
    top = nodes.node(root)
    assert isinstance(top, Branch)
    assert max(map(len, top.keys)) <= 3


def test_small_nodes_of_another_writer_are_united() -> None:
    """A small neighbour of a small node touches the next change: all of them become one node."""
    nodes = MemoryNodes()
    names = [b"a", b"b", b"c", b"d", b"e"]
    leaves = [nodes.put(Leaf([name], [name.upper()])) for name in names]
    root = nodes.put(Branch(1, names[1:], leaves))
    after = apply(nodes, nodes, root, [(b"a", b"new"), (b"c", b"new"), (b"e", None)])
    assert after is not None
    assert nodes.node(after) == Leaf(names[:4], [b"new", b"B", b"new", b"D"])


def test_a_change_beside_one_that_unites_with_what_lies_between(nodes: WatchedNodes, root: PackedRef) -> None:
    top = nodes.node(root)
    assert isinstance(top, Branch)
    third: list[Change] = [(key, None) for key in KEYS if top.keys[1] <= key < top.keys[2]]
    changes = [(KEYS[0], b"new"), *third[:-1]]
    after = apply(nodes, nodes, root, changes)
    assert check_tree(nodes, after) == changed(MODEL, changes)


def test_only_nodes_of_the_new_tree_are_put_children_first(nodes: WatchedNodes, root: PackedRef) -> None:
    for gone in (KEYS[100:9000], KEYS[:9990], KEYS[10:], KEYS[::2]):
        nodes.forget()
        after = apply(nodes, nodes, root, [(key, None) for key in gone])
        assert set(nodes.put_refs) <= set(reachable(nodes, after))
        place = {ref: index for index, ref in enumerate(nodes.put_refs)}
        for ref in nodes.put_refs:
            node = nodes.node(ref)
            if isinstance(node, Branch):
                assert all(place.get(child, -1) < place[ref] for child in node.children)


def test_the_tree_shrinks_to_nothing(nodes: WatchedNodes, root: PackedRef) -> None:
    assert apply(nodes, nodes, root, [(key, None) for key in KEYS]) is None
    after = apply(nodes, nodes, root, [(key, None) for key in KEYS[1:]])
    assert after is not None
    assert nodes.node(after) == Leaf(KEYS[:1], [MODEL[KEYS[0]]])


def test_a_root_with_one_child_left_gives_way_to_it(nodes: WatchedNodes, root: PackedRef) -> None:
    top = nodes.node(root)
    assert isinstance(top, Branch)
    last = top.children[-1]
    nodes.forget()
    assert apply(nodes, nodes, root, [(key, None) for key in KEYS if key < top.keys[-1]]) == last
    assert nodes.put_refs == []


@pytest.mark.parametrize(
    "changes",
    [
        [(b"b", b""), (b"a", b"")],
        [(b"a", b""), (b"a", None)],
        [(b"", b"")],
        [(b"k" * (KEY_BYTES_MAX + 1), b"")],
        [(b"k", b"v" * (VALUE_BYTES_MAX + 1))],
    ],
)
def test_changes_that_no_tree_can_hold_are_refused(
    nodes: WatchedNodes, root: PackedRef, changes: list[Change]
) -> None:
    for base in (None, root):
        with pytest.raises(ValueError):
            apply(nodes, nodes, base, [(b"\0", b"good"), *changes] if changes[0][0] else changes)
    assert nodes.put_refs == []


def test_a_source_that_fails_leaves_nothing_behind(nodes: WatchedNodes, root: PackedRef) -> None:
    source = ForgetfulNodes(nodes)
    changes: list[Change] = [(key, None) for key in KEYS[::3]]
    after: PackedRef | None = None
    while after is None:
        try:
            after = apply(source, nodes, root, changes)
        except NodeMissing as missing:
            source.admit(missing.ref)
            put_before_failing = len(nodes.put_refs)
    assert put_before_failing == 0
    assert check_tree(nodes, after) == changed(MODEL, changes)


def test_a_hostile_edge_cannot_bring_keys_out_of_order() -> None:
    """A neighbour's edge is joined without knowing its upper bound: the order is checked there."""
    nodes = MemoryNodes()

    def leaf(*keys: bytes) -> PackedRef:
        return nodes.put(Leaf(list(keys), [b"v" * 1000] * len(keys)))

    left = nodes.put(Branch(1, [b"c"], [leaf(b"a"), leaf(b"d", b"z")]))
    right = nodes.put(Branch(1, [b"p"], [leaf(b"n"), leaf(b"q")]))
    root = nodes.put(Branch(2, [b"m"], [left, right]))
    with pytest.raises(Integrity):
        apply(nodes, nodes, root, [(b"n", None), (b"q", b"small")])


def test_deep_recursion_is_bounded_by_levels(small_nodes: None) -> None:
    """A tree of many levels, cut down to its two ends and to nothing."""
    nodes = WatchedNodes()
    model = {b"%06d" % number: b"v" * 40 for number in range(40_000)}
    root = load(model, nodes)
    assert root is not None
    assert nodes.node(root).level >= 4
    assert check_tree(nodes, root) == model
    keys = sorted(model)
    for kept in (
        keys[:1],
        keys[-1:],
        [keys[0], keys[-1]],
        keys[:50] + keys[-2:],
        keys[:2] + keys[20_000:],
        [],
    ):
        gone: list[Change] = [(key, None) for key in sorted(model.keys() - set(kept))]
        nodes.forget()
        after = apply(nodes, nodes, root, gone)
        assert set(nodes.put_refs) <= set(reachable(nodes, after))
        assert check_tree(nodes, after) == {key: model[key] for key in kept}


def test_random_batches_keep_every_promise(small_nodes: None) -> None:
    randomness = random.Random(11)
    nodes = WatchedNodes()
    model: dict[bytes, bytes] = {}
    root: PackedRef | None = None
    deepest = 0
    for step in range(160):
        growing = step % 40 < 25
        changes = random_changes(randomness, model, growing)
        before, replaced = set(reachable(nodes, root)), set[PackedRef]()
        nodes.forget()
        root = apply(nodes, nodes, root, changes, replaced)
        assert len(nodes.asked) == len(set(nodes.asked))
        after = set(reachable(nodes, root))
        assert set(nodes.put_refs) <= after
        assert replaced == before - after
        model = changed(model, changes)
        assert check_tree(nodes, root) == model
        if root is not None:
            deepest = max(deepest, nodes.node(root).level)
    assert deepest >= 4


def random_changes(randomness: random.Random, model: dict[bytes, bytes], growing: bool) -> list[Change]:
    """A batch of any size; when not growing, mostly deletions of whole ranges."""

    def key() -> bytes:
        return b"%05d" % randomness.randrange(30_000) + b"k" * randomness.choice([0, 0, 20])

    changes: dict[bytes, bytes | None] = {}
    for _ in range(randomness.choice([1, 5, 100, 1500] if growing else [1, 5])):
        deleted = randomness.random() < (0.1 if growing else 0.5)
        changes[key()] = None if deleted else b"v" * randomness.choice([0, 10, 60])
    if not growing or randomness.random() < 0.1:
        width = randomness.choice([50, 500, 20_000])
        begin = randomness.randrange(30_000)
        low, high = b"%05d" % begin, b"%05d" % min(begin + width, 99_999)
        changes.update(
            (other, None) for other in model if low <= other < high and randomness.random() < 0.999
        )
    return sorted(changes.items())


def test_nodes_from_the_source_are_never_changed(small_nodes: None) -> None:
    nodes = MemoryNodes()
    model = {b"%05d" % number: b"v" * 30 for number in range(3000)}
    root = load(model, nodes)
    assert root is not None
    before: dict[PackedRef, Node] = {}
    for ref in reachable(nodes, root):
        node = nodes.node(ref)
        before[ref] = (
            Leaf(list(node.keys), list(node.values))
            if isinstance(node, Leaf)
            else Branch(node.level, list(node.keys), list(node.children))
        )
    randomness = random.Random(3)
    for _ in range(30):
        apply(nodes, nodes, root, random_changes(randomness, model, growing=False))
    assert all(nodes.node(ref) == node for ref, node in before.items())
