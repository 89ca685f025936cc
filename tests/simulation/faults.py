"""What goes wrong in a simulated world, and where everything stops: by one seeded chance."""

import errno
import os
import random
from collections import Counter

from cryptdrive.errors import ObjectExists, StoreTimeout, Unavailable
from cryptdrive.store.base import Capabilities, Listing, ObjectInfo
from cryptdrive.store.memory import MemoryStore
from cryptdrive.types import ObjectName

DISK_BOUNDARIES = (
    "create journal", "write journal", "sync journal", "rename journal", "remove journal",
    "sync_folder journal",
    "write outbox", "sync outbox", "create outbox", "remove outbox", "sync_folder outbox",
    "create top", "write top", "sync top", "rename top", "sync_folder top",
)  # fmt: skip
STORE_BOUNDARIES = (
    "put packs", "after put packs", "put commits", "after put commits", "list commits", "get packs",
)  # fmt: skip
BOUNDARIES = (*DISK_BOUNDARIES, *STORE_BOUNDARIES)
"""The places of which each must have had crashes."""


LIES = ("a lie", "half a lie")
"""The store says that it took an object, and has nothing or half of it."""


class Crash(BaseException):
    """Everything stops here."""


class World:
    """Decides for every step of the disk and the store whether it fails, or is the last one."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.crashes: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.disk_fails = 0.0
        self.store_fails = 0.0
        self.disk_is_full = False
        self.store_is_exclusive = chance.random() < 0.5
        self._target: str | None = None
        self._count = 0
        self._dead = False

    def plan_crash(self) -> None:
        """Choose where the life that begins now ends: at one of its next steps of one kind, or of any."""
        self._dead = False
        self._target = self.chance.choice(BOUNDARIES) if self.chance.random() < 0.7 else ""
        self._count = self.chance.randint(1, 6) if self._target else self.chance.randint(1, 300)

    def live_on(self) -> None:
        """No crash, no faults from now on."""
        self._target, self._dead = None, False
        self.disk_fails = self.store_fails = 0.0
        self.disk_is_full = False

    def reach(self, boundary: str) -> None:
        """Raises Crash."""
        if self._dead:
            raise Crash(boundary)
        if self._target is None or (self._target and boundary != self._target):
            return
        self._count -= 1
        if self._count <= 0:
            self.crash(boundary)

    def crash(self, boundary: str) -> None:
        self._dead = True
        self.crashes[boundary] += 1
        raise Crash(boundary)

    def before_disk(self, operation: str, name: str) -> None:
        folder = name.split("/")[0] if "/" in name or name in ("journal", "outbox") else "top"
        self.reach(f"{operation} {folder}")
        if self.disk_is_full and operation in ("write", "create") and self.chance.random() < 0.7:
            self.faults["ENOSPC"] += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.chance.random() < self.disk_fails:
            self.faults[f"EIO {operation}"] += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))


class BadStore:
    """A store in memory that is late, forgetful, lossy and lies, but keeps what it has once shown."""

    def __init__(self, inner: MemoryStore, world: World) -> None:
        self.inner = inner
        self._world = world
        self._earlier: dict[str, Listing] = {}
        self._capabilities = Capabilities(create_if_absent=world.store_is_exclusive)

    @property
    def url(self) -> str:
        return self.inner.url

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def _step(self, operation: str, name: str) -> str:
        """How this call goes wrong; "" for well."""
        world, kind = self._world, name.split("/")[0]
        world.reach(f"{operation} {kind}")
        if world.chance.random() >= world.store_fails:
            return ""
        way = world.chance.choice(("before", "after", "partial", "timeout", *LIES))
        if operation != "put" and way in LIES:
            way = "before"
        world.faults[f"store: {operation} {way}"] += 1
        return way

    def put(self, name: ObjectName, data: bytes | bytearray | memoryview, *, exclusive: bool = False) -> None:
        before = self.inner.objects.get(name, b"")
        same = bytes(data).startswith(before) or before.startswith(bytes(data))
        assert same, "an object would be overwritten by other bytes"
        if exclusive and name in self.inner.objects:
            raise ObjectExists(name)
        try:
            way = self._step("put", name)
        except Crash:
            if self._world.chance.random() < 0.5:  # some of it was on its way
                self.inner.put(name, bytes(data)[: self._world.chance.randint(0, len(data))])
            raise
        if way in ("partial", "half a lie"):
            self.inner.put(name, bytes(data)[: len(data) // 2])
        if way in ("", "after", "timeout"):
            self.inner.put(name, data, exclusive=exclusive)
        self._world.reach(f"after put {name.split('/')[0]}")
        self._fail(way)

    def get(self, name: ObjectName, offset: int = 0, length: int | None = None) -> bytes:
        self._fail(self._step("get", name))
        return self.inner.get(name, offset, length)

    def list(self, folder: str) -> Listing:
        self._fail(self._step("list", folder))
        now, before = self.inner.list(folder), self._earlier.get(folder)
        self._earlier[folder] = now
        fate = self._world.chance.random() if self._world.store_fails else 1.0
        if before is not None and fate < 0.1:
            return before
        if fate < 0.2:
            objects = tuple(each for info in now.objects for each in (info, info))
            return Listing(objects, now.folders)
        return now

    def delete(self, name: ObjectName) -> None:
        way = self._step("delete", name)
        if way in ("", "after"):
            self.inner.delete(name)
        self._fail(way)

    def stat(self, name: ObjectName) -> ObjectInfo:
        self._fail(self._step("stat", name))
        return self.inner.stat(name)

    def close(self) -> None:
        pass

    @staticmethod
    def _fail(way: str) -> None:
        if way and way not in LIES:
            raise StoreTimeout("no answer") if way == "timeout" else Unavailable(f"failed on purpose: {way}")
