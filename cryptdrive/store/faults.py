"""A wrapper that makes another store fail on purpose: for tests and simulations."""

import enum
import hashlib
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable

from cryptdrive.errors import StoreError, Unavailable
from cryptdrive.store.base import Capabilities, Listing, ObjectInfo, Store
from cryptdrive.types import ObjectName


class Fault(enum.Enum):
    """How one call fails. Each raises; they differ in what the store did before."""

    BEFORE = "nothing was done"
    AFTER = "everything was done, and the answer was lost"
    PARTIAL = "a put left half of the object; any other call did nothing"


FaultPlan = Callable[[str, str], Fault | None]
"""(operation, object or folder) → how this call fails, or None; called in the order of the calls."""


def scripted(faults: Iterable[Fault | None], *, operation: str | None = None) -> FaultPlan:
    """One entry a call, of one kind of operation or of all; after the last one nothing fails."""
    waiting = deque(faults)

    def plan(called: str, name: str) -> Fault | None:
        if not waiting or (operation is not None and called != operation):
            return None
        return waiting.popleft()

    return plan


def seeded(seed: int, probability: float, *, operations: frozenset[str] | None = None) -> FaultPlan:
    """Each call of ``operations`` (of all, for None) fails with that probability, alike for one seed."""
    calls = itertools.count()
    kinds = list(Fault)

    def plan(called: str, name: str) -> Fault | None:
        if operations is not None and called not in operations:
            return None
        digest = hashlib.sha256(f"{seed} {next(calls)}".encode()).digest()
        if int.from_bytes(digest[:8]) >= probability * 2**64:
            return None
        return kinds[digest[8] % len(kinds)]

    return plan


class FaultyStore:
    """``inner``, where ``plan`` lets calls fail; ``failed`` tells which did."""

    def __init__(
        self, inner: Store, plan: FaultPlan, *, error: Callable[[str], StoreError] = Unavailable
    ) -> None:
        self.inner = inner
        self.plan = plan
        self.failed: list[tuple[str, str, Fault]] = []
        self._error = error
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return self.inner.url

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    def put(self, name: ObjectName, data: bytes | bytearray | memoryview, *, exclusive: bool = False) -> None:
        fault = self._next("put", name)
        if fault is Fault.PARTIAL:
            self.inner.put(name, bytes(data)[: len(data) // 2], exclusive=exclusive)
        if fault in (None, Fault.AFTER):
            self.inner.put(name, data, exclusive=exclusive)
        self._fail("put", name, fault)

    def get(self, name: ObjectName, offset: int = 0, length: int | None = None) -> bytes:
        self._fail("get", name, self._next("get", name))
        return self.inner.get(name, offset, length)

    def list(self, folder: str) -> Listing:
        self._fail("list", folder, self._next("list", folder))
        return self.inner.list(folder)

    def delete(self, name: ObjectName) -> None:
        fault = self._next("delete", name)
        if fault in (None, Fault.AFTER):
            self.inner.delete(name)
        self._fail("delete", name, fault)

    def stat(self, name: ObjectName) -> ObjectInfo:
        self._fail("stat", name, self._next("stat", name))
        return self.inner.stat(name)

    def close(self) -> None:
        self.inner.close()

    def _next(self, operation: str, name: str) -> Fault | None:
        with self._lock:
            fault = self.plan(operation, name)
            if fault is not None:
                self.failed.append((operation, name, fault))
        return fault

    def _fail(self, operation: str, name: str, fault: Fault | None) -> None:
        if fault is not None:
            raise self._error(f"{operation} of {name or 'the top'} failed on purpose: {fault.value}")
