"""The memtable: tombstones, ranges, and its size."""

import pytest

from cryptdrive.tree.memtable import ENTRY_BYTES, MISSING, Memtable
from cryptdrive.tree.node import KEY_BYTES_MAX, VALUE_BYTES_MAX


@pytest.fixture
def table() -> Memtable:
    table = Memtable()
    for key in (b"d", b"b", b"a", b"c"):
        table.put(key, key.upper())
    table.delete(b"c")
    return table


def test_a_value_a_tombstone_and_nothing_are_told_apart(table: Memtable) -> None:
    assert table.get(b"a") == b"A"
    assert table.get(b"c") is None
    assert table.get(b"x") is MISSING


def test_the_last_change_of_a_key_counts(table: Memtable) -> None:
    table.put(b"c", b"again")
    table.delete(b"a")
    table.put(b"b", b"")
    assert list(table.items()) == [(b"a", None), (b"b", b""), (b"c", b"again"), (b"d", b"D")]


def test_items_are_sorted_and_hold_tombstones(table: Memtable) -> None:
    assert list(table.items()) == [(b"a", b"A"), (b"b", b"B"), (b"c", None), (b"d", b"D")]
    assert len(table) == 4


def test_ranges_in_both_directions(table: Memtable) -> None:
    assert table.scan(b"", None, 10) == list(table.items())
    assert table.scan(b"b", b"d", 10) == [(b"b", b"B"), (b"c", None)]
    assert table.scan(b"aa", None, 1) == [(b"b", b"B")]
    assert table.scan_back(b"", None, 10) == list(table.items())[::-1]
    assert table.scan_back(b"b", b"d", 1) == [(b"c", None)]
    assert table.scan_back(b"a", b"b", 10) == [(b"a", b"A")]


@pytest.mark.parametrize(
    ("start", "stop", "limit"), [(b"c", b"b", 9), (b"b", b"b", 9), (b"", None, 0), (b"", b"", 9)]
)
def test_empty_ranges(table: Memtable, start: bytes, stop: bytes | None, limit: int) -> None:
    assert table.scan(start, stop, limit) == []
    assert table.scan_back(start, stop, limit) == []


def test_the_size_follows_every_change() -> None:
    table = Memtable()
    assert table.byte_size == 0
    table.put(b"key", b"value")
    assert table.byte_size == ENTRY_BYTES + 3 + 5
    table.put(b"key", b"longer value")
    assert table.byte_size == ENTRY_BYTES + 3 + 12
    table.delete(b"key")
    assert table.byte_size == ENTRY_BYTES + 3
    table.delete(b"key")
    table.put(b"key", b"v")
    assert table.byte_size == ENTRY_BYTES + 3 + 1
    assert len(table) == 1


def test_what_no_node_can_hold_is_refused_at_once(table: Memtable) -> None:
    table.put(b"k" * KEY_BYTES_MAX, b"v" * VALUE_BYTES_MAX)
    size = table.byte_size
    for key, value in [(b"", b""), (b"k" * (KEY_BYTES_MAX + 1), b""), (b"k", b"v" * (VALUE_BYTES_MAX + 1))]:
        with pytest.raises(ValueError):
            table.put(key, value)
    for key in (b"", b"k" * (KEY_BYTES_MAX + 1)):
        with pytest.raises(ValueError):
            table.delete(key)
    assert table.byte_size == size
