"""fsync for many programs at once: who shares a save, who waits, who hears of a failure."""

import threading
from collections.abc import Awaitable, Callable

import pytest
import trio

from cryptdrive.errors import DiskError
from cryptdrive.fuse.syncing import ALONE_MAX, GroupSync
from cryptdrive.types import HandleId


class Files:
    """What of the file system saving needs: counts, and fails on demand."""

    def __init__(self) -> None:
        self.point = 0
        self.saved = 0
        self.saves = 0
        self.is_quick = True
        self.failing: set[int] = set()
        self.threads: set[int] = set()

    def sync_point(self) -> int:
        self.point += 1
        return self.point

    def save_quickly(self, point: int) -> bool:
        if self.is_quick:
            self.save(point)
        return self.is_quick

    def save(self, point: int) -> None:
        if point > self.saved:
            self.saved, self.saves = point, self.saves + 1

    def fsync(self, handle: int, data_only: bool, point: int) -> None:
        self.threads.add(threading.get_ident())
        self.save(point)
        if handle in self.failing:
            raise DiskError(f"file {handle}")


def play(scenario: Callable[[Files, GroupSync], Awaitable[None]]) -> Files:
    files = Files()

    async def run() -> None:
        with trio.fail_after(20):
            await scenario(files, GroupSync(files))  # type: ignore[arg-type]

    trio.run(run)
    return files


async def ask_together(syncs: GroupSync, handles: range) -> dict[int, Exception]:
    """fsync by several programs at one time; who got which error."""
    errors: dict[int, Exception] = {}

    async def ask(handle: int) -> None:
        try:
            await syncs.fsync(HandleId(handle), False)
        except Exception as error:
            errors[handle] = error

    async with trio.open_nursery() as nursery:
        for handle in handles:
            nursery.start_soon(ask, handle)
    return errors


def test_programs_that_ask_together_share_a_save() -> None:
    async def scenario(files: Files, syncs: GroupSync) -> None:
        for _ in range(5):
            assert await ask_together(syncs, range(8)) == {}

    files = play(scenario)
    assert files.point == 40
    assert files.saved == 40
    assert files.saves == 5


class Steps(trio.abc.Instrument):
    """Counts how often the event loop goes on with any task."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


def test_whoever_is_alone_is_seldom_kept_waiting() -> None:
    async def scenario(files: Files, syncs: GroupSync) -> None:
        steps, waits = Steps(), 0
        trio.lowlevel.add_instrument(steps)
        for _ in range(1000):
            before = steps.count
            await syncs.fsync(HandleId(1), False)
            waits += steps.count != before
        assert 0 < waits < 1000 / ALONE_MAX + 10

    assert play(scenario).saves == 1000


def test_company_is_found_again_after_a_time_alone() -> None:
    async def scenario(files: Files, syncs: GroupSync) -> None:
        for _ in range(200):
            await syncs.fsync(HandleId(1), False)
        before = files.saves
        for _ in range(2 * ALONE_MAX):
            await ask_together(syncs, range(8))
        assert files.saves - before < 4 * ALONE_MAX

    play(scenario)


def test_a_slow_save_is_made_in_a_thread_and_shared() -> None:
    async def scenario(files: Files, syncs: GroupSync) -> None:
        files.is_quick = False
        assert await ask_together(syncs, range(8)) == {}
        assert threading.get_ident() not in files.threads
        assert files.saves <= 2

    play(scenario)


@pytest.mark.parametrize("is_quick", [True, False])
def test_a_failure_reaches_the_one_whom_it_concerns(is_quick: bool) -> None:
    async def scenario(files: Files, syncs: GroupSync) -> None:
        files.is_quick, files.failing = is_quick, {3}
        errors = await ask_together(syncs, range(8))
        assert [(handle, str(error)) for handle, error in errors.items()] == [(3, "file 3")]

    play(scenario)


def test_a_save_that_breaks_is_tried_again_where_it_may_take_its_time() -> None:
    async def scenario(files: Files, syncs: GroupSync) -> None:
        def broken(point: int) -> bool:
            raise RuntimeError

        files.save_quickly = broken  # type: ignore[method-assign]
        assert await ask_together(syncs, range(3)) == {}
        assert files.saved == 3

    play(scenario)
