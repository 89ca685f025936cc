"""Nodes of the tree and their one encoding (docs/format.md §8).

Nodes come from a store, and from members who may be hostile: ``decode`` bounds everything and
takes exactly the bytes that ``encode`` makes, nothing else. Lengths stand in front and the bytes
behind them, so that a page is decoded by one ``struct`` call and slices.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from operator import lt
from typing import ClassVar, final

from cryptdrive.errors import Integrity
from cryptdrive.objects.ref import REF_BYTES, PackedRef

KEY_BYTES_MAX = 272
VALUE_BYTES_MAX = 2048

NODE_BYTES_TARGET = 16 * 1024
"""No node that is written takes more; what is more is split."""

NODE_BYTES_MAX = 32 * 1024
"""No node that is read may take more."""

LEVEL_MAX = 15
"""Level of the highest root: a branch has at least 2 children, an honest one dozens."""

_header = struct.Struct(">BH")
HEADER_BYTES = _header.size
LENGTH_BYTES = 2


@final
@dataclass(frozen=True, slots=True)
class Leaf:
    """At least one entry, keys strictly ascending. Shared between readers: never change the lists."""

    keys: list[bytes]
    values: list[bytes]

    level: ClassVar[int] = 0


@final
@dataclass(frozen=True, slots=True)
class Branch:
    """At least two children, all of ``level - 1``, with one separator less.

    Child ``i`` holds the keys from ``keys[i - 1]``, inclusive, to ``keys[i]``, exclusive.
    Shared between readers: never change the lists.
    """

    level: int
    keys: list[bytes]
    children: list[PackedRef]


Node = Leaf | Branch


@lru_cache(maxsize=4096)
def _lengths(count: int) -> struct.Struct:
    # The module's own cache is cleared when it holds 100 formats, and pages have more counts than that.
    return struct.Struct(f">{count}H")


def _check_keys(keys: Sequence[bytes], lengths: Sequence[int]) -> bool:
    """Whether the keys of a node are within their limits and strictly ascending."""
    return min(lengths) > 0 and max(lengths) <= KEY_BYTES_MAX and all(map(lt, keys, keys[1:]))


def encode(node: Node) -> bytes:
    """The node's bytes, at most NODE_BYTES_MAX.

    Raises ValueError for a node that breaks the format's rules: ``decode`` would refuse it.
    """
    keys = node.keys
    key_lengths = list(map(len, keys))
    if isinstance(node, Leaf):
        count = len(keys)
        payload = node.values
        value_lengths = list(map(len, payload))
        if not keys or len(payload) != count or max(value_lengths) > VALUE_BYTES_MAX:
            raise ValueError("a leaf's values do not fit its keys, or one is too long")
        lengths = _lengths(2 * count).pack(*key_lengths, *value_lengths)
    else:
        count = len(node.children)
        payload = list[bytes](node.children)
        if not keys or len(keys) != count - 1 or not 1 <= node.level <= LEVEL_MAX:
            raise ValueError("a branch's separators do not fit its children, or its level is out of bounds")
        if any(len(ref) != REF_BYTES for ref in payload):
            raise ValueError("a child's ref has a wrong length")
        lengths = _lengths(count - 1).pack(*key_lengths)
    if not _check_keys(keys, key_lengths):
        raise ValueError("a node's keys are not strictly ascending, or one is empty or too long")
    page = b"".join((_header.pack(node.level, count), lengths, *keys, *payload))
    if len(page) > NODE_BYTES_MAX:
        raise ValueError(f"a node of {len(page)} bytes is over the limit of {NODE_BYTES_MAX}")
    return page


def decode(data: bytes) -> Node:
    """The node that ``encode`` makes exactly these bytes of.

    Raises Integrity for everything else.
    """
    if not HEADER_BYTES < len(data) <= NODE_BYTES_MAX:
        raise Integrity("a node has an impossible length")
    level, count = _header.unpack_from(data)
    if level == 0:
        return _decode_leaf(data, count)
    if level > LEVEL_MAX:
        raise Integrity("a node's level is out of bounds")
    return _decode_branch(data, level, count)


def _decode_leaf(data: bytes, count: int) -> Leaf:
    start = HEADER_BYTES + 2 * LENGTH_BYTES * count
    if count == 0 or start > len(data):
        raise Integrity("a leaf's count of entries is impossible")
    lengths = _lengths(2 * count).unpack_from(data, HEADER_BYTES)
    ends = list(accumulate(lengths, initial=start))
    if ends[-1] != len(data) or max(lengths[count:]) > VALUE_BYTES_MAX:
        raise Integrity("a leaf's lengths do not fit its bytes")
    parts = [data[begin:end] for begin, end in pairwise(ends)]
    keys = parts[:count]
    if not _check_keys(keys, lengths[:count]):
        raise Integrity("a leaf's keys are out of order or out of bounds")
    return Leaf(keys, parts[count:])


def _decode_branch(data: bytes, level: int, count: int) -> Branch:
    start = HEADER_BYTES + LENGTH_BYTES * (count - 1)
    if count < 2 or start + REF_BYTES * count > len(data):
        raise Integrity("a branch's count of children is impossible")
    lengths = _lengths(count - 1).unpack_from(data, HEADER_BYTES)
    ends = list(accumulate(lengths, initial=start))
    refs = ends[-1]
    if refs + REF_BYTES * count != len(data):
        raise Integrity("a branch's lengths do not fit its bytes")
    keys = [data[begin:end] for begin, end in pairwise(ends)]
    if not _check_keys(keys, lengths):
        raise Integrity("a branch's separators are out of order or out of bounds")
    children = [PackedRef(data[at : at + REF_BYTES]) for at in range(refs, len(data), REF_BYTES)]
    return Branch(level, keys, children)


def separator(below: bytes, above: bytes) -> bytes:
    """The shortest bytes that are greater than ``below`` and not greater than ``above`` (> ``below``)."""
    size = 0
    for left, right in zip(below, above, strict=False):
        size += 1
        if left != right:
            return above[:size]
    return above[: size + 1]


def check_child(node: Node, level: int, low: bytes, high: bytes | None) -> None:
    """Check that a loaded child is what its parent's separators and level say.

    ``low`` is the least key it may hold (``b""``: any), ``high`` the first that it may not
    (None: no bound). Raises Integrity: only an author of malformed trees can cause it.
    """
    keys = node.keys
    if node.level != level or keys[0] < low or (high is not None and keys[-1] >= high):
        raise Integrity("a tree node is not where its level and keys belong")
