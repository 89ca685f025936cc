"""What differs between two states of the tree, without loading what they share."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from cryptdrive.objects.ref import PackedRef
from cryptdrive.tree.node import Leaf, Node, check_child
from cryptdrive.tree.source import NodeSource

Difference = tuple[bytes, bytes | None, bytes | None]


def diff(source: NodeSource, before: PackedRef | None, after: PackedRef | None) -> Iterator[Difference]:
    """(key, value before, value after) of each key whose value differs, ascending; None: not there.

    A subtree that both states reach by the same ref is not loaded. Raises Integrity and what the
    source raises; the iteration is then over, and must be started anew.
    """
    if before == after:
        return
    old, new = _Front(source, before), _Front(source, after)
    while old.part is not None and new.part is not None:
        if old.part.ref == new.part.ref and old.at == new.at == 0:
            old.advance()
            new.advance()
        elif old.leaf is not None and new.leaf is not None:
            yield from _merge(old, old.leaf, new, new.leaf)
        elif old.leaf is not None and old.leaf.keys[old.at] < new.part.low:
            for key, value in old.take(new.part.low):
                yield key, value, None
        elif new.leaf is not None and new.leaf.keys[new.at] < old.part.low:
            for key, value in new.take(old.part.low):
                yield key, None, value
        else:
            _open(old, old.part, new, new.part)
    for key, value in old.rest():
        yield key, value, None
    for key, value in new.rest():
        yield key, None, value


class _Part(NamedTuple):
    """A subtree on a front: its ref and level, and the range of its keys (``high`` None: no end)."""

    ref: PackedRef
    level: int
    low: bytes
    high: bytes | None


class _Front:
    """How far one of the two trees has been compared: all before it is done."""

    def __init__(self, source: NodeSource, root: PackedRef | None) -> None:
        self._source = source
        self._later: list[_Part] = []  # the next one last
        self.part: _Part | None = None
        """The subtree that comes next; None at the end."""
        self.leaf: Leaf | None = None
        """That subtree, if it is a leaf and loaded."""
        self.at = 0
        """Entries of the leaf that are done."""
        if root is not None:
            self._later.append(_Part(root, source.node(root).level, b"", None))
            self.advance()

    def advance(self) -> None:
        """Go behind this subtree."""
        self.part = self._later.pop() if self._later else None
        self.leaf = None
        self.at = 0

    def open(self) -> None:
        """Go one level down."""
        part = self.part
        if part is None or self.leaf is not None:
            raise AssertionError("nothing to open")
        node: Node = self._source.node(part.ref)
        check_child(node, part.level, part.low, part.high)
        if isinstance(node, Leaf):
            self.leaf = node
            return
        lows = [part.low, *node.keys]
        highs = [*node.keys, part.high]
        levels = [node.level - 1] * len(lows)
        self._later += map(_Part, node.children[::-1], levels, lows[::-1], highs[::-1])
        self.advance()

    def take(self, stop: bytes | None) -> list[tuple[bytes, bytes]]:
        """The open leaf's next entries, those below ``stop``; they are done then."""
        if self.leaf is None:
            raise AssertionError("no leaf is open")
        keys, values, begin = self.leaf.keys, self.leaf.values, self.at
        end = len(keys) if stop is None else bisect_left(keys, stop, begin)
        self.done(end)
        return list(zip(keys[begin:end], values[begin:end], strict=True))

    def done(self, at: int) -> None:
        """The open leaf is done up to entry ``at``."""
        self.at = at
        if self.leaf is not None and at == len(self.leaf.keys):
            self.advance()

    def rest(self) -> Iterator[tuple[bytes, bytes]]:
        """All entries that are left."""
        while self.part is not None:
            if self.leaf is None:
                self.open()
            else:
                yield from self.take(None)


def _ends_before(first: _Part, second: _Part) -> bool:
    return first.high is not None and first.high <= second.low


def _open(old: _Front, old_part: _Part, new: _Front, new_part: _Part) -> None:
    """Open what must be looked into; what may yet turn out to be shared stays closed."""
    if old.leaf is not None or (new.leaf is None and _ends_before(new_part, old_part)):
        new.open()
    elif new.leaf is not None or _ends_before(old_part, new_part):
        old.open()
    else:
        old_order = (-old_part.level, old_part.low)
        new_order = (-new_part.level, new_part.low)
        if old_order <= new_order:
            old.open()
        if new_order <= old_order:
            new.open()


def _merge(old: _Front, old_leaf: Leaf, new: _Front, new_leaf: Leaf) -> Iterator[Difference]:
    """What differs between two open leaves, until one of them ends."""
    old_keys, new_keys = old_leaf.keys, new_leaf.keys
    a, b = old.at, new.at
    while a < len(old_keys) and b < len(new_keys):
        key, other = old_keys[a], new_keys[b]
        if key == other:
            if old_leaf.values[a] != new_leaf.values[b]:
                yield key, old_leaf.values[a], new_leaf.values[b]
            a += 1
            b += 1
        elif key < other:
            yield key, old_leaf.values[a], None
            a += 1
        else:
            yield other, None, new_leaf.values[b]
            b += 1
    old.done(a)
    new.done(b)
