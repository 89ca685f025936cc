"""What every store must do, whatever it keeps its objects in."""

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptdrive.errors import ObjectExists, ObjectNotFound
from cryptdrive.store.base import Listing, ObjectInfo, Store
from cryptdrive.store.faults import FaultyStore, scripted
from cryptdrive.store.folder import FolderStore
from cryptdrive.store.memory import MemoryStore
from cryptdrive.types import ObjectName

MAKERS: dict[str, Callable[[Path], Store]] = {
    "folder": lambda folder: FolderStore.create(folder / "store"),
    "memory": lambda folder: MemoryStore(),
    "faulty": lambda folder: FaultyStore(MemoryStore(), scripted([])),
}

NAME = ObjectName("packs/3f/3f9c")


@pytest.fixture(params=MAKERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = MAKERS[request.param](tmp_path)
    yield opened
    opened.close()


def test_gives_back_what_was_put(store: Store) -> None:
    store.put(NAME, b"content")
    assert store.get(NAME) == b"content"
    assert store.stat(NAME) == ObjectInfo(NAME, 7)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_takes_any_buffer_and_keeps_a_copy(store: Store, kind: Callable[[bytes], bytes]) -> None:
    data = bytearray(b"content")
    store.put(NAME, kind(data))
    data[:] = b"changed"
    assert store.get(NAME) == b"content"


@pytest.mark.parametrize("size", [0, 1, 4096, 16 << 20])
def test_keeps_objects_of_any_size(store: Store, size: int) -> None:
    data = bytes(range(256)) * (size // 256) if size >= 256 else bytes(size)
    store.put(NAME, data)
    assert store.get(NAME) == data
    assert store.stat(NAME).size == size


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(offset=st.integers(0, 40), length=st.none() | st.integers(0, 40))
def test_a_range_is_that_slice(store: Store, offset: int, length: int | None) -> None:
    data = bytes(range(30))
    store.put(NAME, data)
    assert store.get(NAME, offset, length) == data[offset:][:length]


@pytest.mark.parametrize(("offset", "length"), [(-1, None), (-1, 5), (0, -1)])
def test_a_range_before_the_start_is_a_mistake(store: Store, offset: int, length: int | None) -> None:
    store.put(NAME, b"content")
    with pytest.raises(ValueError, match="range"):
        store.get(NAME, offset, length)


def test_what_is_not_there(store: Store) -> None:
    for name in (NAME, ObjectName("missing")):
        with pytest.raises(ObjectNotFound):
            store.get(name)
        with pytest.raises(ObjectNotFound):
            store.stat(name)
        store.delete(name)


def test_a_folder_is_not_an_object(store: Store) -> None:
    store.put(NAME, b"content")
    for name in (ObjectName("packs"), ObjectName("packs/3f")):
        with pytest.raises(Exception, match=name):
            store.get(name)
        with pytest.raises(Exception, match=name):
            store.stat(name)
    assert store.get(NAME) == b"content"


def test_deleting_removes_one_object(store: Store) -> None:
    other = ObjectName("packs/3f/40")
    store.put(NAME, b"content")
    store.put(other, b"other")
    store.delete(NAME)
    with pytest.raises(ObjectNotFound):
        store.get(NAME)
    assert store.list("packs/3f").objects == (ObjectInfo(other, 5),)
    store.put(NAME, b"again")
    assert store.get(NAME) == b"again"


def test_lists_one_folder_in_order(store: Store) -> None:
    for name in ("packs/3f/b", "packs/3f/a", "packs/40/c", "cryptdrive.json", "packs-2/d", "packs/1"):
        store.put(ObjectName(name), name.encode())
    assert store.list("") == Listing((ObjectInfo(ObjectName("cryptdrive.json"), 15),), ("packs", "packs-2"))
    assert store.list("packs") == Listing((ObjectInfo(ObjectName("packs/1"), 7),), ("packs/3f", "packs/40"))
    assert [info.name for info in store.list("packs/3f").objects] == ["packs/3f/a", "packs/3f/b"]
    assert store.list("nothing/here") == Listing((), ())


def test_an_empty_store_lists_nothing(store: Store) -> None:
    assert store.list("") == Listing((), ())


def test_lists_many_objects(store: Store) -> None:
    names = [f"commits/000000/{number:016}" for number in range(300)]
    for name in reversed(names):
        store.put(ObjectName(name), b"")
    assert [info.name for info in store.list("commits/000000").objects] == names


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/..", ".hidden", "a/.tmp-1"),
        *("A", "a b", "a\0", "a\n", "ä", "a\\b", "a" * 129, "/".join("a" * 100 for _ in range(6))),
    ],
)
def test_refuses_names_that_are_not_of_the_form(store: Store, name: str) -> None:
    for call in (store.get, store.stat, store.delete, lambda name: store.put(name, b"")):
        with pytest.raises(ValueError, match="name"):
            call(ObjectName(name))
    if name:
        with pytest.raises(ValueError, match="name"):
            store.list(name)
    assert store.list("") == Listing((), ())


def test_exclusive_put_does_not_replace(store: Store) -> None:
    store.put(NAME, b"first", exclusive=True)
    with pytest.raises(ObjectExists):
        store.put(NAME, b"second", exclusive=True)
    assert store.get(NAME) == b"first"
    assert len(store.list("packs/3f").objects) == 1


def test_a_plain_put_replaces_whole(store: Store) -> None:
    store.put(NAME, b"a longer content")
    store.put(NAME, b"short")
    assert store.get(NAME) == b"short"


def test_threads_put_side_by_side(store: Store) -> None:
    def work(number: int) -> None:
        for turn in range(20):
            name = ObjectName(f"packs/{turn:02x}/{number}")
            store.put(name, f"{number} {turn}".encode())
            assert store.get(name) == f"{number} {turn}".encode()
            assert name in [info.name for info in store.list(f"packs/{turn:02x}").objects]

    run_threads(work)
    assert len(store.list("packs").folders) == 20
    for turn in range(20):
        assert len(store.list(f"packs/{turn:02x}").objects) == 8


def test_of_racing_threads_one_creates(store: Store) -> None:
    for turn in range(25):
        name, winners, barrier = ObjectName(f"claims/{turn}"), list[int](), threading.Barrier(8)

        def race(number: int, name=name, winners=winners, barrier=barrier) -> None:
            barrier.wait()
            try:
                store.put(name, bytes([number]) * 5000, exclusive=True)
                winners.append(number)
            except ObjectExists:
                assert len(store.get(name)) == 5000

        run_threads(race)
        assert len(winners) == 1
        assert store.get(name) == bytes(winners) * 5000


def run_threads(work: Callable[[int], None]) -> None:
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# --- stores that several processes reach ---------------------------------------------------

ROUNDS = 15
RACERS = 6


def _race(
    path: str, number: int, barrier: Barrier, winners: "multiprocessing.SimpleQueue[tuple[int, int]]"
) -> None:
    store = FolderStore(path)
    for turn in range(ROUNDS):
        barrier.wait(60)
        try:
            store.put(ObjectName(f"claims/{turn:02}"), bytes([number]) * 100_000, exclusive=True)
            winners.put((turn, number))
        except ObjectExists:
            # Whoever lost reads the winner's whole object, never a part of it.
            assert len(set(store.get(ObjectName(f"claims/{turn:02}")))) == 1
    store.close()


def test_of_racing_processes_one_creates(tmp_path: Path) -> None:
    store = FolderStore.create(tmp_path / "store")
    assert store.capabilities.create_if_absent
    context = multiprocessing.get_context("spawn")
    barrier, winners = context.Barrier(RACERS), context.SimpleQueue()
    racers = [
        context.Process(target=_race, args=(str(tmp_path / "store"), number, barrier, winners))
        for number in range(RACERS)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(120)
    assert [racer.exitcode for racer in racers] == [0] * RACERS
    won = []
    while not winners.empty():
        won.append(winners.get())
    assert sorted(turn for turn, _ in won) == list(range(ROUNDS))
    for turn, number in won:
        assert store.get(ObjectName(f"claims/{turn:02}")) == bytes([number]) * 100_000
    assert len(store.list("claims").objects) == ROUNDS
    assert len(list((tmp_path / "store" / "claims").iterdir())) == ROUNDS
    store.close()
