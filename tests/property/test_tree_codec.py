"""The node codec: every node survives, and no bytes but the canonical ones are taken."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from cryptdrive.errors import Integrity
from cryptdrive.objects.ref import REF_BYTES, PackedRef
from cryptdrive.tree.node import KEY_BYTES_MAX, LEVEL_MAX, VALUE_BYTES_MAX, Branch, Leaf, Node, decode, encode

KEYS = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.binary(min_size=1, max_size=3).map(lambda start: start + b"\0" * (KEY_BYTES_MAX - len(start))),
)
VALUES = st.one_of(
    st.binary(max_size=20), st.binary(max_size=8).map(lambda value: value.ljust(VALUE_BYTES_MAX))
)
REFS = st.binary(min_size=REF_BYTES, max_size=REF_BYTES).map(PackedRef)


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    """Nodes of all kinds, small enough for the largest page."""
    keys = sorted(draw(st.sets(KEYS, min_size=1, max_size=12)))
    if draw(st.booleans()):
        return Leaf(keys, draw(st.lists(VALUES, min_size=len(keys), max_size=len(keys))))
    level = draw(st.integers(1, LEVEL_MAX))
    return Branch(level, keys, draw(st.lists(REFS, min_size=len(keys) + 1, max_size=len(keys) + 1)))


@given(nodes())
@settings(deadline=None)
def test_every_node_survives(node: Node) -> None:
    assert decode(encode(node)) == node


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """The page of a node with a few bytes, or one 16-bit number in front, changed, cut, inserted or moved."""
    data = bytearray(encode(draw(nodes())))
    for _ in range(draw(st.integers(1, 3))):
        front = draw(st.booleans())
        at = draw(st.integers(0, max(0, min(len(data), 40) - 1 if front else len(data) - 1)))
        match draw(st.sampled_from(["flip", "number", "cut", "insert", "truncate", "extend", "move"])):
            case "flip" if data:
                data[at] ^= draw(st.integers(1, 255))
            case "number" if len(data) >= 5:
                at = 1 + 2 * (at // 2) if at + 2 < len(data) else 1
                (number,) = struct.unpack_from(">H", data, at)
                struct.pack_into(">H", data, at, (number + draw(st.sampled_from([-2, -1, 1, 2]))) % 65536)
            case "cut":
                del data[at : at + draw(st.integers(1, 4))]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=4))
            case "truncate":
                del data[at:]
            case "extend":
                data += draw(st.binary(min_size=1, max_size=REF_BYTES))
            case "move":
                data[at:at] = data[:2]
    return bytes(data)


def takes_canonical_bytes_only(data: bytes) -> None:
    try:
        node = decode(data)
    except Integrity:
        return
    assert encode(node) == data


@given(mutations())
@settings(deadline=None, max_examples=400)
def test_a_mutated_page_is_refused_or_canonical(data: bytes) -> None:
    takes_canonical_bytes_only(data)


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_random_bytes_are_refused_or_canonical(data: bytes) -> None:
    takes_canonical_bytes_only(data)


@given(nodes(), st.data())
@settings(deadline=None)
def test_another_count_or_level_over_the_same_bytes_is_refused_or_canonical(
    node: Node, data: st.DataObject
) -> None:
    page = bytearray(encode(node))
    page[0] = data.draw(st.integers(0, LEVEL_MAX + 2))
    struct.pack_into(">H", page, 1, data.draw(st.integers(0, 40)))
    takes_canonical_bytes_only(bytes(page))


@given(nodes(), st.data())
@settings(deadline=None)
def test_every_proper_start_of_a_page_is_refused(node: Node, data: st.DataObject) -> None:
    page = encode(node)
    end = data.draw(st.integers(0, len(page) - 1))
    try:
        decode(page[:end])
    except Integrity:
        return
    raise AssertionError("a page that was cut short was taken")
