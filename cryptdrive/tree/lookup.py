"""Reading the tree: one key, or a range in either direction.

All of it raises what the source raises (NodeMissing among it) and Integrity for a tree whose
nodes are not where they belong. A level strictly falls on the way down, so that a hostile tree
can be no deeper than its root says.
"""

from bisect import bisect_left, bisect_right

from cryptdrive.errors import Integrity
from cryptdrive.objects.ref import PackedRef
from cryptdrive.tree.node import Branch, Leaf, Node, check_child
from cryptdrive.tree.source import NodeSource


def get(source: NodeSource, root: PackedRef | None, key: bytes) -> bytes | None:
    """The key's value; None if the tree does not hold it."""
    if root is None:
        return None
    load = source.node
    node = load(root)
    while isinstance(node, Branch):
        level = node.level
        node = load(node.children[bisect_right(node.keys, key)])
        if node.level != level - 1:
            raise Integrity("a tree node is not where its level belongs")
    keys = node.keys
    index = bisect_left(keys, key)
    if index < len(keys) and keys[index] == key:
        return node.values[index]
    return None


def _leaf_at(source: NodeSource, root: PackedRef, key: bytes) -> tuple[Leaf, bytes | None]:
    """The leaf whose range holds ``key``, and the range's end (None: no end)."""
    node: Node = source.node(root)
    low, high = b"", None
    while isinstance(node, Branch):
        level, keys = node.level, node.keys
        index = bisect_right(keys, key)
        if index:
            low = keys[index - 1]
        if index < len(keys):
            high = keys[index]
        node = source.node(node.children[index])
        check_child(node, level - 1, low, high)
    return node, high


def _leaf_below(source: NodeSource, root: PackedRef, key: bytes | None) -> tuple[Leaf, bytes]:
    """The leaf whose range holds the greatest key below ``key`` (None: the last), and the range's start."""
    node: Node = source.node(root)
    low, high = b"", None
    while isinstance(node, Branch):
        level, keys = node.level, node.keys
        index = len(keys) if key is None else bisect_left(keys, key)
        if index:
            low = keys[index - 1]
        if index < len(keys):
            high = keys[index]
        node = source.node(node.children[index])
        check_child(node, level - 1, low, high)
    return node, low


def scan(
    source: NodeSource, root: PackedRef | None, start: bytes, stop: bytes | None, limit: int
) -> list[tuple[bytes, bytes]]:
    """The first ``limit`` entries with ``start`` <= key < ``stop`` (None: no end), ascending."""
    found: list[tuple[bytes, bytes]] = []
    if root is None or limit <= 0:
        return found
    while True:
        leaf, high = _leaf_at(source, root, start)
        keys = leaf.keys
        begin = bisect_left(keys, start)
        end = len(keys) if stop is None else bisect_left(keys, stop, begin)
        end = min(end, begin + limit - len(found))
        found += zip(keys[begin:end], leaf.values[begin:end], strict=True)
        if len(found) >= limit or high is None or (stop is not None and high >= stop):
            return found
        start = high


def scan_back(
    source: NodeSource, root: PackedRef | None, start: bytes, stop: bytes | None, limit: int
) -> list[tuple[bytes, bytes]]:
    """The last ``limit`` entries with ``start`` <= key < ``stop`` (None: no end), descending."""
    found: list[tuple[bytes, bytes]] = []
    if root is None or limit <= 0:
        return found
    while True:
        leaf, low = _leaf_below(source, root, stop)
        keys = leaf.keys
        end = len(keys) if stop is None else bisect_left(keys, stop)
        begin = max(bisect_left(keys, start, 0, end), end - (limit - len(found)))
        found += zip(keys[begin:end][::-1], leaf.values[begin:end][::-1], strict=True)
        if len(found) >= limit or low <= start:
            return found
        stop = low
