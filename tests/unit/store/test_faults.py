"""The wrapper that fails on purpose."""

import pytest

from cryptdrive.errors import ObjectNotFound, StoreFull, Unavailable
from cryptdrive.store.faults import Fault, FaultyStore, scripted, seeded
from cryptdrive.store.memory import MemoryStore
from cryptdrive.types import ObjectName

NAME = ObjectName("packs/3f")


@pytest.mark.parametrize(
    ("fault", "left"), [(Fault.BEFORE, None), (Fault.AFTER, b"content!"), (Fault.PARTIAL, b"cont")]
)
def test_a_put_fails_and_leaves(fault: Fault, left: bytes | None) -> None:
    inner = MemoryStore()
    store = FaultyStore(inner, scripted([fault]))
    with pytest.raises(Unavailable, match=r"put of packs/3f failed on purpose"):
        store.put(NAME, b"content!")
    assert inner.objects.get(NAME) == left
    assert store.failed == [("put", NAME, fault)]


@pytest.mark.parametrize(
    ("fault", "gone"), [(Fault.BEFORE, False), (Fault.AFTER, True), (Fault.PARTIAL, False)]
)
def test_a_delete_fails_and_leaves(fault: Fault, gone: bool) -> None:
    inner = MemoryStore()
    inner.put(NAME, b"content")
    store = FaultyStore(inner, scripted([fault]))
    with pytest.raises(Unavailable):
        store.delete(NAME)
    assert (NAME not in inner.objects) == gone


def test_a_script_counts_one_operation_only() -> None:
    store = FaultyStore(
        MemoryStore(),
        scripted([None, Fault.BEFORE], operation="get"),
        error=lambda message: StoreFull(message),
    )
    store.put(NAME, b"content")
    store.put(NAME, b"content")
    assert store.get(NAME) == b"content"
    assert store.stat(NAME).size == 7
    with pytest.raises(StoreFull):
        store.get(NAME)
    assert store.get(NAME) == b"content"


def test_a_refusal_of_the_inner_store_is_not_hidden() -> None:
    store = FaultyStore(MemoryStore(), scripted([]))
    with pytest.raises(ObjectNotFound):
        store.get(NAME)
    assert store.failed == []


def outcomes(seed: int) -> list[Fault | None]:
    plan = seeded(seed, 0.25, operations=frozenset({"put"}))
    return [plan("put", "a") for _ in range(1000)]


def test_a_seed_gives_the_same_faults() -> None:
    assert outcomes(1) == outcomes(1)
    assert outcomes(1) != outcomes(2)
    failed = [fault for fault in outcomes(1) if fault is not None]
    assert 200 < len(failed) < 300
    assert set(failed) == set(Fault)


def test_a_probability_of_none_and_all() -> None:
    assert seeded(1, 0.0)("get", "a") is None
    assert seeded(1, 1.0)("get", "a") is not None
    assert seeded(1, 1.0, operations=frozenset({"put"}))("get", "a") is None
