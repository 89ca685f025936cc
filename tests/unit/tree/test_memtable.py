"""The memtable: tombstones, ranges, and its size."""

import random

import pytest

from cryptdrive.tree.memtable import ENTRY_BYTES, MISSING, PLAIN_KEYS_MAX, Memtable
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


def test_a_large_one_answers_as_a_small_one_does() -> None:
    chance, table, model = random.Random(3), Memtable(), dict[bytes, bytes | None]()
    for _ in range(3 * PLAIN_KEYS_MAX):
        key = chance.randbytes(2)
        if chance.random() < 0.2:
            table.delete(key)
            model[key] = None
        else:
            model[key] = chance.randbytes(chance.randrange(9))
            table.put(key, model[key])
        if not chance.randrange(50):
            start, limit = chance.randbytes(1), chance.randrange(20)
            stop = chance.choice((None, chance.randbytes(2)))
            inside = [
                (key, model[key]) for key in sorted(model) if key >= start and (stop is None or key < stop)
            ]
            assert table.scan(start, stop, limit) == inside[:limit]
            assert table.scan_back(start, stop, limit) == inside[::-1][:limit]
            assert table.scan(start, stop, -1) == []
    assert len(table) > PLAIN_KEYS_MAX
    assert table.items() == sorted(model.items())
    assert table.keys() == sorted(model)
    assert table.byte_size == sum(ENTRY_BYTES + len(key) + len(value or b"") for key, value in model.items())


def test_newer_entries_win_over_what_was_there(table: Memtable) -> None:
    newer = Memtable()
    newer.put(b"c", b"new")
    newer.delete(b"d")
    newer.put(b"e", b"E")
    before = table.byte_size
    table.update(newer.items())
    assert table.items() == [(b"a", b"A"), (b"b", b"B"), (b"c", b"new"), (b"d", None), (b"e", b"E")]
    assert table.byte_size == before + 3 - 1 + ENTRY_BYTES + 2
