"""The node's one encoding, byte for byte, and what the decoder refuses."""

import struct

import pytest

from cryptdrive.errors import Integrity
from cryptdrive.objects.ref import PackedRef
from cryptdrive.tree.node import (
    KEY_BYTES_MAX,
    LEVEL_MAX,
    NODE_BYTES_MAX,
    VALUE_BYTES_MAX,
    Branch,
    Leaf,
    Node,
    check_child,
    decode,
    encode,
    separator,
)

REF_A = PackedRef(b"A" * 60)
REF_B = PackedRef(b"B" * 60)


def page(level: int, count: int, lengths: list[int], *parts: bytes) -> bytes:
    return struct.pack(f">BH{len(lengths)}H", level, count, *lengths) + b"".join(parts)


def test_a_leaf_has_the_bytes_that_the_format_says() -> None:
    leaf = Leaf([b"a", b"bc"], [b"xyz", b""])
    assert encode(leaf) == bytes.fromhex("00 0002 0001 0002 0003 0000 61 6263 78797a")
    assert decode(encode(leaf)) == leaf


def test_a_branch_has_the_bytes_that_the_format_says() -> None:
    branch = Branch(2, [b"m"], [REF_A, REF_B])
    assert encode(branch) == bytes.fromhex("02 0002 0001 6d") + REF_A + REF_B
    assert decode(encode(branch)) == branch


@pytest.mark.parametrize(
    "node",
    [
        Leaf([b"\0"], [b""]),
        Leaf([b"k" * KEY_BYTES_MAX], [b"v" * VALUE_BYTES_MAX]),
        Leaf([b"\xff", b"\xff\0", b"\xff\xff"], [b"1", b"2", b"3"]),
        Leaf([struct.pack(">H", number) for number in range(3000)], [b""] * 3000),
        Branch(LEVEL_MAX, [b"k" * KEY_BYTES_MAX], [REF_A, REF_A]),
        Branch(1, [struct.pack(">H", number) for number in range(400)], [REF_A] * 401),
    ],
)
def test_nodes_at_the_limits_survive(node: Node) -> None:
    assert decode(encode(node)) == node


def test_the_largest_page_is_accepted_and_one_byte_more_is_not() -> None:
    keys = [struct.pack(">H", number) for number in range(20)]
    room = NODE_BYTES_MAX - 3 - 20 * 6
    values = [b"v" * (room // 20)] * 19
    values.append(b"v" * (room - 19 * (room // 20)))
    assert max(map(len, values)) <= VALUE_BYTES_MAX
    largest = encode(Leaf(keys, values))
    assert len(largest) == NODE_BYTES_MAX
    assert decode(largest) == Leaf(keys, values)
    with pytest.raises(ValueError, match="over the limit"):
        encode(Leaf(keys, [*values[:-1], values[-1] + b"v"]))
    over = page(0, 20, [2] * 20 + [*map(len, values[:-1]), len(values[-1]) + 1], *keys, *values, b"v")
    with pytest.raises(Integrity):
        decode(over)


MALFORMED = {
    "nothing": b"",
    "a header alone": b"\0\0\0",
    "half a header": b"\0\0",
    "a leaf without entries": page(0, 0, [], b"x"),
    "more entries than bytes": page(0, 60000, [1, 1], b"ab"),
    "an empty key": page(0, 1, [0, 1], b"x"),
    "a key too long": page(0, 1, [KEY_BYTES_MAX + 1, 0], b"k" * (KEY_BYTES_MAX + 1)),
    "a value too long": page(0, 1, [1, VALUE_BYTES_MAX + 1], b"k" + b"v" * (VALUE_BYTES_MAX + 1)),
    "keys in the wrong order": page(0, 2, [1, 1, 0, 0], b"ba"),
    "a key twice": page(0, 2, [1, 1, 0, 0], b"aa"),
    "a byte too many": page(0, 1, [1, 1], b"kvX"),
    "a byte too few": page(0, 1, [1, 2], b"kv"),
    "lengths cut off": page(0, 2, [1, 1, 0]),
    "a level too high": page(LEVEL_MAX + 1, 2, [1], b"m", REF_A, REF_B),
    "a branch without children": page(1, 0, [], b"x"),
    "a branch with one child": page(1, 1, [], REF_A),
    "more children than bytes": page(1, 60000, [1], b"m", REF_A, REF_B),
    "an empty separator": page(1, 2, [0], REF_A, REF_B),
    "a separator too long": page(1, 2, [KEY_BYTES_MAX + 1], b"k" * (KEY_BYTES_MAX + 1), REF_A, REF_B),
    "separators in the wrong order": page(1, 3, [1, 1], b"ba", REF_A, REF_B, REF_A),
    "a separator twice": page(1, 3, [1, 1], b"aa", REF_A, REF_B, REF_A),
    "a byte after the refs": page(1, 2, [1], b"m", REF_A, REF_B, b"X"),
    "refs cut short": page(1, 2, [1], b"m", REF_A, REF_B[:-1]),
    "a separator that eats into the refs": page(1, 2, [2], b"m", REF_A, REF_B),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed_pages_are_refused(data: bytes) -> None:
    with pytest.raises(Integrity):
        decode(data)


@pytest.mark.parametrize(
    "node",
    [
        Leaf([], []),
        Leaf([b"a"], []),
        Leaf([b"a"], [b"", b""]),
        Leaf([b""], [b""]),
        Leaf([b"b", b"a"], [b"", b""]),
        Leaf([b"a", b"a"], [b"", b""]),
        Leaf([b"k" * (KEY_BYTES_MAX + 1)], [b""]),
        Leaf([b"k"], [b"v" * (VALUE_BYTES_MAX + 1)]),
        Branch(0, [b"a"], [REF_A, REF_B]),
        Branch(LEVEL_MAX + 1, [b"a"], [REF_A, REF_B]),
        Branch(1, [], [REF_A]),
        Branch(1, [b"a"], [REF_A]),
        Branch(1, [b"a", b"b"], [REF_A, REF_B]),
        Branch(1, [b""], [REF_A, REF_B]),
        Branch(1, [b"b", b"a"], [REF_A, REF_B, REF_A]),
        Branch(1, [b"a"], [REF_A, PackedRef(b"short")]),
    ],
)
def test_nodes_that_no_reader_takes_are_not_written(node: Node) -> None:
    with pytest.raises(ValueError):
        encode(node)


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        (b"a", b"b", b"b"),
        (b"a", b"ab", b"ab"),
        (b"abc", b"abd", b"abd"),
        (b"abc", b"acxyz", b"ac"),
        (b"ab", b"abcdef", b"abc"),
        (b"a\xff\xff", b"b\0\0", b"b"),
        (b"a", b"a\0", b"a\0"),
    ],
)
def test_separators_are_the_shortest(below: bytes, above: bytes, expected: bytes) -> None:
    found = separator(below, above)
    assert found == expected
    assert below < found <= above
    assert not any(below < above[:size] for size in range(len(found)))


def test_a_child_must_be_where_its_level_and_keys_belong() -> None:
    leaf = Leaf([b"f", b"k"], [b"", b""])
    check_child(leaf, 0, b"", None)
    check_child(leaf, 0, b"f", b"l")
    for level, low, high in [(1, b"", None), (0, b"g", None), (0, b"", b"k")]:
        with pytest.raises(Integrity):
            check_child(leaf, level, low, high)
