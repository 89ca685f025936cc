"""Writing the tree: a sorted batch of changes makes a new root (copy-on-write, bottom up).

Each touched node becomes a *run*: its entries after the change, of any length. A branch joins the
runs of neighbouring children, joins a small one with an untouched neighbour, cuts what it has into
balanced pieces, and is then a run of its own for its parent. Pieces stay drafts until the new root
is known, so that no node is put that the new tree does not reach.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple, cast

from cryptdrive.errors import Integrity
from cryptdrive.objects.ref import REF_BYTES, PackedRef
from cryptdrive.tree.node import (
    HEADER_BYTES,
    KEY_BYTES_MAX,
    LENGTH_BYTES,
    NODE_BYTES_TARGET,
    VALUE_BYTES_MAX,
    Branch,
    Leaf,
    Node,
    check_child,
    separator,
)
from cryptdrive.tree.source import NodeSink, NodeSource

NODE_BYTES_SMALL = NODE_BYTES_TARGET // 4
"""A changed node below this is united with a neighbour; no piece of a split is smaller."""

Change = tuple[bytes, bytes | None]


def apply(
    source: NodeSource,
    sink: NodeSink,
    root: PackedRef | None,
    changes: Sequence[Change],
    replaced: set[PackedRef] | None = None,
) -> PackedRef | None:
    """The root of the tree with the changes made; None if no entry is left.

    ``changes``: (key, value) in strictly ascending order of keys; None deletes, and deleting what is
    not there changes nothing. A subtree that ends as it was keeps its ref, the root among them.
    ``replaced`` gets the refs of nodes that the old tree has and the new one has not.
    Nodes are put children first. Raises ValueError for changes that are out of order or out of
    bounds, before anything is put; Integrity; what the source raises, with nothing put.
    """
    _check_changes(changes)
    if root is None:
        entries = [change for change in changes if change[1] is not None]
        run = _Run(0, b"", [key for key, _ in entries], [cast(bytes, value) for _, value in entries])
        return _finish(sink, run)
    batch = _Batch(source, changes, set() if replaced is None else replaced)
    node = source.node(root)
    changed = batch.rewrite(root, node, b"", None, 0, len(changes))
    return root if changed is None else _finish(sink, changed)


def _check_changes(changes: Sequence[Change]) -> None:
    previous = b""
    for key, value in changes:
        if key <= previous or len(key) > KEY_BYTES_MAX:
            raise ValueError("changes are not in strictly ascending order of keys, or a key is too long")
        if value is not None and len(value) > VALUE_BYTES_MAX:
            raise ValueError(f"a value of {len(value)} bytes does not fit a tree node")
        previous = key


@dataclass(slots=True)
class _Run:
    """The entries of a node to be, as many as there are; with one node's worth of them, its draft.

    At level 0 ``items`` are the values of ``keys``. Above, they are children, each the ref of a
    node that stays or the draft of a new one, and ``keys`` the least key that each may hold.
    ``lower`` is the least key that the whole run may hold.
    """

    level: int
    lower: bytes
    keys: list[bytes]
    items: "list[bytes | _Run]"

    def byte_size(self) -> int:
        """Encoded bytes of all entries together; a branch's, whose first key is not written, at most."""
        size = sum(map(len, self.keys))
        if self.level:
            return size + len(self.keys) * (LENGTH_BYTES + REF_BYTES)
        return size + sum(map(len, cast(list[bytes], self.items))) + len(self.keys) * 2 * LENGTH_BYTES

    def _entry_sizes(self) -> list[int]:
        if self.level:
            return [LENGTH_BYTES + REF_BYTES + size for size in map(len, self.keys)]
        values = cast(list[bytes], self.items)
        return [2 * LENGTH_BYTES + a + b for a, b in zip(map(len, self.keys), map(len, values), strict=True)]

    def split(self) -> "list[_Run]":
        """The run as balanced drafts of nodes of at most NODE_BYTES_TARGET bytes; itself if it is one."""
        total = self.byte_size()
        room = NODE_BYTES_TARGET - HEADER_BYTES
        if total <= room:
            return [self]
        sizes = self._entry_sizes()
        # A cut falls up to one entry before its goal, so that a piece may exceed its share by one.
        count = -(-total // (room - max(sizes)))
        ends = list(accumulate(sizes))
        cuts = [bisect_right(ends, total * index // count) for index in range(1, count)]
        keys, items = self.keys, self.items
        pieces = []
        for begin, end in zip([0, *cuts], [*cuts, len(keys)], strict=True):
            lower = self.lower
            if begin:
                lower = keys[begin] if self.level else separator(keys[begin - 1], keys[begin])
            pieces.append(_Run(self.level, lower, keys[begin:end], items[begin:end]))
        return pieces


class _Group(NamedTuple):
    """The run that takes the place of a branch's children ``[start, end)``."""

    start: int
    end: int
    run: _Run


def _finish(sink: NodeSink, run: _Run) -> PackedRef | None:
    """Build levels on top of the run until one node holds it all; put what is new."""
    while run.keys:
        if run.level and len(run.keys) == 1:  # the root has one child: that is the root
            item = run.items[0]
            if not isinstance(item, _Run):
                return PackedRef(item)
            run = item
            continue
        pieces = run.split()
        if len(pieces) == 1:
            return _put(sink, run)
        run = _Run(run.level + 1, b"", [piece.lower for piece in pieces], list(pieces))
    return None


def _put(sink: NodeSink, draft: _Run) -> PackedRef:
    """Put a draft after the drafts below it, in key order. Recurses by level."""
    if draft.level == 0:
        return sink.put(Leaf(draft.keys, cast(list[bytes], draft.items)))
    children = [_put(sink, item) if isinstance(item, _Run) else PackedRef(item) for item in draft.items]
    return sink.put(Branch(draft.level, draft.keys[1:], children))


def _run_of(node: Node, low: bytes) -> _Run:
    """An untouched node as a run that may be changed; ``low`` is the least key it may hold."""
    if isinstance(node, Leaf):
        return _Run(0, low, list(node.keys), list(node.values))
    return _Run(node.level, low, [low, *node.keys], list(node.children))


class _Batch:
    """One call of apply, on its way through the tree."""

    def __init__(self, source: NodeSource, changes: Sequence[Change], replaced: set[PackedRef]) -> None:
        self._replaced = replaced
        self._source = source
        self._changes = changes
        self._keys = [key for key, _ in changes]
        # Visited and left as they are: a neighbour may yet want to unite with one.
        self._unchanged: dict[PackedRef, Node] = {}

    def _load(self, ref: PackedRef, level: int, low: bytes, high: bytes | None) -> Node:
        node = self._unchanged.get(ref) or self._source.node(ref)
        check_child(node, level, low, high)
        return node

    def _take_over(self, ref: PackedRef, level: int, low: bytes, high: bytes | None) -> _Run:
        """An untouched node as a run, which takes its place."""
        run = _run_of(self._load(ref, level, low, high), low)
        self._replaced.add(ref)
        return run

    def rewrite(
        self, ref: PackedRef, node: Node, low: bytes, high: bytes | None, first: int, last: int
    ) -> _Run | None:
        """The node's run after changes ``[first, last)``, which all fall between low and high.

        None: nothing changed. The run's level is lower than the node's, and the run perhaps empty,
        where less is left than a node of its level holds. Recurses by level.
        """
        if isinstance(node, Leaf):
            run = self._rewrite_leaf(node, low, first, last)
        else:
            run = self._rewrite_branch(node, low, high, first, last)
        if run is None:
            self._unchanged[ref] = node
        else:
            self._replaced.add(ref)
        return run

    def _rewrite_leaf(self, node: Leaf, low: bytes, first: int, last: int) -> _Run | None:
        old_keys, old_values, count = node.keys, node.values, len(node.keys)
        keys: list[bytes] = []
        values: list[bytes] = []
        changed = False
        done = 0  # entries of the old leaf that are taken over or dropped
        for position in range(first, last):
            key, value = self._changes[position]
            index = bisect_left(old_keys, key, done)
            if index > done:
                keys += old_keys[done:index]
                values += old_values[done:index]
            done = index
            if index < count and old_keys[index] == key:
                done += 1
                changed = changed or value != old_values[index]
            elif value is not None:
                changed = True
            if value is not None:
                keys.append(key)
                values.append(value)
        if not changed:
            return None
        return _Run(0, low, keys + old_keys[done:], [*values, *old_values[done:]])

    def _rewrite_branch(
        self, node: Branch, low: bytes, high: bytes | None, first: int, last: int
    ) -> _Run | None:
        separators, children, level = node.keys, node.children, node.level - 1
        groups: list[_Group] = []
        position = first
        while position < last:
            index = bisect_right(separators, self._keys[position])
            child_low = separators[index - 1] if index else low
            child_high, end = high, last
            if index < len(separators):
                child_high = separators[index]
                end = bisect_left(self._keys, child_high, position, last)
            child = self._load(children[index], level, child_low, child_high)
            run = self.rewrite(children[index], child, child_low, child_high, position, end)
            position = end
            if run is None:
                continue
            if groups and groups[-1].end == index:
                groups[-1] = _Group(groups[-1].start, index + 1, self._join(groups[-1].run, run))
            else:
                groups.append(_Group(index, index + 1, run))
        if not groups:
            return None
        return self._compose(_Run(node.level, low, [low, *separators], list(children)), high, groups)

    def _compose(self, branch: _Run, high: bytes | None, groups: list[_Group]) -> _Run:
        """Put the runs in the places of the children they come from, from right to left."""
        lowers, parts = branch.keys, branch.items
        level = branch.level - 1

        def kept(index: int) -> _Run:
            # Never a draft: groups that touch are joined before either is cut into pieces.
            ref = PackedRef(cast(bytes, parts[index]))
            part_high = lowers[index + 1] if index + 1 < len(lowers) else high
            return self._take_over(ref, level, lowers[index], part_high)

        while groups:
            start, end, run = groups.pop()
            if groups and groups[-1].end == start:
                before = groups.pop()
                groups.append(_Group(before.start, end, self._join(before.run, run)))
            elif not run.keys:
                del lowers[start:end], parts[start:end]
            elif run.level == level and run.byte_size() >= NODE_BYTES_SMALL:
                pieces = run.split()
                lowers[start:end] = [piece.lower for piece in pieces]
                parts[start:end] = pieces
            elif start > 0:
                groups.append(_Group(start - 1, end, self._join(kept(start - 1), run)))
            elif end < len(parts):
                groups.append(_Group(start, end + 1, self._join(run, kept(end))))
            else:
                return run
        return branch if parts else _Run(0, branch.lower, [], [])

    def _join(self, left: _Run, right: _Run) -> _Run:
        """One run of two neighbours, as high as the higher; both are used up. Recurses by level."""
        if not left.keys or not right.keys:
            return left if left.keys else right
        if left.level == right.level:
            if left.keys[-1] >= right.keys[0]:
                raise Integrity("keys of a tree are out of order")
            left.keys += right.keys
            left.items += right.items
            return left
        if left.level > right.level:
            joined = self._join(self._edge(left, -1), right)
            pieces = joined.split()
            left.keys[-1:] = [piece.lower for piece in pieces]
            left.items[-1:] = pieces
            return left
        joined = self._join(left, self._edge(right, 0))
        pieces = joined.split()
        right.keys[:1] = [piece.lower for piece in pieces]
        right.items[:1] = pieces
        right.lower = left.lower
        return right

    def _edge(self, run: _Run, index: int) -> _Run:
        """The first (0) or last (-1) child of a run as a run."""
        item, lower = run.items[index], run.keys[index]
        if isinstance(item, _Run):
            return item
        return self._take_over(PackedRef(item), run.level - 1, lower, None)
