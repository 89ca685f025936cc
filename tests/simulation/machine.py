"""A whole drive in a simulated world, killed again and again; each seed is one history.

    python -m tests.simulation.machine SEED

After each crash the drive must open, its records must belong together, everything that fsync or
sync acknowledged must be there, and the state must be one that there was: never a mixture.
"""

import errno
import functools
import logging
import os
import random
import stat
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from cryptdrive.config import DriveSettings
from cryptdrive.crypto.passwords import Argon2Costs
from cryptdrive.drive.creation import fill_vault
from cryptdrive.drive.opening import open_unlocked
from cryptdrive.drive.running import Drive
from cryptdrive.errors import CryptdriveError
from cryptdrive.local import journal
from cryptdrive.local.drive_lock import DriveLock
from cryptdrive.store.memory import MemoryStore
from cryptdrive.vault.creation import begin_vault
from cryptdrive.vault.header import HEADER_NAME
from cryptdrive.vault.unlocking import UnlockedVault
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.values import Caller, RenameFlags, SetAttr, XattrFlags
from tests.model.clock import ManualClock
from tests.property.audit import audit
from tests.simulation.faults import BadStore, Crash, World
from tests.support.disk import SimulatedDisk

T = TypeVar("T")

OPERATIONS_MIN = 200
CRASHES_MIN = 3
CALLER = Caller()

Entry = tuple[str, bytes, bytes]
State = dict[bytes, Entry]
"""Path → (type, content or link target, extended attribute)."""


# Small files, so that there are many.
journal.JOURNAL_FILE_BYTES = 96 * 1024


class NoLock(DriveLock):
    """A simulated machine has one process."""

    def __init__(self) -> None:
        pass

    def release(self) -> None:
        pass


@functools.cache
def new_vault() -> tuple[UnlockedVault, dict[str, bytes]]:
    """Keys, and what the store holds before the first commit; the same in each run of a seed."""
    store, chance = MemoryStore(), random.Random("vault")
    vault = begin_vault(store, "password", Argon2Costs(64 * 1024, 1, 1), chance.randbytes)
    return vault.unlocked, {**store.objects, HEADER_NAME: vault.header_bytes}


@dataclass
class Outcome:
    """What happened in one history."""

    operations: int = 0
    crashes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    unpublished: int = 0
    """Crashes with changes that were saved and not published."""


class Simulation:
    """One seed's world, its drive, and all states since what is known to be kept."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.world = World(self.chance)
        self.disk = SimulatedDisk(self.world.before_disk)
        self.clock = ManualClock()
        self.unlocked, objects = new_vault()
        self.inner = MemoryStore()
        self.inner.objects.update(objects)  # type: ignore[arg-type]
        self.outcome = Outcome()
        self.settings = DriveSettings(dirty_mib_max=1, sealing_starts_mib=0, parallel_uploads=1)
        self.history: list[State] = [{}]
        self.kept = 0
        """The state in ``history`` that must at least be there after a crash."""
        self.names = [b"a", b"b", b"c", b"d/x", b"d/y", b"d/e/z", b"d", b"d/e"]

    # --- lives -----------------------------------------------------------------------------

    def run(self) -> Outcome:
        self.world.live_on()
        fill_vault(BadStore(self.inner, self.world), self.unlocked, self.disk.top(), self.clock,
                   self.chance.randbytes)  # fmt: skip
        while self.outcome.operations < OPERATIONS_MIN or self.world.crashes.total() < CRASHES_MIN:
            self.live()
        self.finish()
        self.outcome.crashes = self.world.crashes
        self.outcome.faults = self.world.faults
        return self.outcome

    def live(self) -> None:
        """Open the drive, use it, and lose it."""
        world = self.world
        world.store_fails = self.chance.choice((0.0, 0.03, 0.3, 1.0))
        world.disk_fails = self.chance.choice((0.0, 0.0, 0.005, 0.05))
        world.plan_crash()
        drive = None
        try:
            drive = self.open()
            self.verify(drive.fs)
            for _ in range(self.chance.randint(20, 90)):
                self.outcome.operations += 1
                world.disk_is_full = self.chance.random() < 0.04 and world.disk_fails > 0
                self.operate(drive)
            if self.chance.random() < 0.2:
                self.close(drive)
            else:
                world.crash("between operations")
        except Crash:
            if drive is not None and drive.fs.core.map.has_unpublished:
                self.outcome.unpublished += 1
        if self.chance.random() < 0.5:
            self.disk.lose_power(self.chance)
        else:
            self.disk.kill()
        self.world.live_on()
        drive = self.open()
        self.verify(drive.fs)
        self.check_store()
        drive._storage.close()
        self.disk.kill()

    def open(self) -> Drive:
        """Opening may fail for a while; it must never refuse for good."""
        store = BadStore(self.inner, self.world)
        for attempt in range(12):
            if attempt == 8:
                self.world.store_fails = self.world.disk_fails = 0.0
            try:
                return open_unlocked(
                    store, self.unlocked, self.settings, self.disk.top(), NoLock(), self.clock,
                    self.chance.randbytes,
                )  # fmt: skip
            except (CryptdriveError, OSError) as error:
                if not self.world.faults:
                    raise
                last = error
                self.disk.kill()
        raise AssertionError(f"the drive cannot be opened any more: {last!r}") from last

    def close(self, drive: Drive) -> None:
        try:
            drive.close()
            self.kept = len(self.history) - 1
        except (CryptdriveError, OSError):
            pass

    def finish(self) -> None:
        """At the end all goes well: everything gets to the store, and nothing is left over."""
        self.world.live_on()
        drive = self.open()
        self.verify(drive.fs)
        drive.close()
        drive = self.open()
        self.verify(drive.fs)
        drive.close()
        left = [name for name in self.disk.folders["outbox"].seen if not name.endswith(".kept")]
        assert not left, "packs are left that the store has"
        self.check_store()

    # --- what must hold ----------------------------------------------------------------------

    def verify(self, fs: FileSystem) -> None:
        """The state is one that there was, at or after the last one that was acknowledged."""
        self.without_faults(lambda: audit(fs, orphans=True))
        state = self.without_faults(lambda: dump(fs))
        for place in range(len(self.history) - 1, self.kept - 1, -1):
            if self.history[place] == state:
                break
        else:
            older = [place for place in range(self.kept) if self.history[place] == state]
            raise AssertionError(
                f"acknowledged changes are lost: state {older} of {self.kept} or later" if older
                else f"a mixture of states: {describe(state)}; the last was {describe(self.history[-1])}"
            )  # fmt: skip
        self.history = [state]
        self.kept = 0

    def check_store(self) -> None:
        """What the store has is a whole state by itself."""
        store = MemoryStore()
        store.objects = dict(self.inner.objects)
        drive = open_unlocked(
            store,
            self.unlocked,
            self.settings,
            SimulatedDisk().top(),
            None,
            self.clock,
            os.urandom,
            read_only=True,
        )
        audit(drive.fs, orphans=True)
        drive.close()

    # --- what users do -------------------------------------------------------------------------

    def operate(self, drive: Drive) -> None:
        """One random operation. Raises Crash."""
        fs, chance = drive.fs, self.chance
        actions: list[tuple[int, Callable[[FileSystem], None]]] = [
            (14, self.write), (6, self.overwrite), (3, self.truncate), (4, self.rename), (3, self.remove),
            (3, self.make_directory), (2, self.link), (2, self.attribute), (2, self.clone), (6, self.fsync),
            (3, self.sync), (3, self.seal), (2, self.purge), (2, lambda fs: fs.free_dead()),
            (4, lambda fs: self.pass_time(drive)),
            (3, self.read),
        ]  # fmt: skip
        action = chance.choices([each for _, each in actions], [weight for weight, _ in actions])[0]
        try:
            action(fs)
        except (CryptdriveError, OSError) as error:
            # Whatever failed has changed nothing; the next operation goes on.
            if isinstance(error, OSError) and error.errno == errno.EBADF:
                raise AssertionError("a dead disk was used") from error
            if not self.world.faults:
                raise

    def change(self, path: bytes, entry: Entry | None, act: Callable[[], object]) -> None:
        """Do what gives ``path`` that entry; whoever crashes within it may find it done."""
        state = dict(self.history[-1])
        if entry is None:
            del state[path]
        else:
            state[path] = entry
        self.step(state, act)

    def step(self, state: State, act: Callable[[], object]) -> None:
        try:
            act()
        except Crash:
            self.history.append(state)
            raise
        self.history.append(state)

    def parent_of(self, fs: FileSystem, path: bytes) -> tuple[int, bytes] | None:
        """Where a path lies; None if its parent is no directory."""
        folder, _, name = path.rpartition(b"/")
        if folder and self.history[-1].get(folder, ("",))[0] != "directory":
            return None
        return (fs.resolve(folder).inode if folder else fs.root), name

    def pick(self, *kinds: str) -> bytes | None:
        """A path that there is."""
        found = [path for path, entry in self.history[-1].items() if entry[0] in kinds]
        return self.chance.choice(found) if found else None

    def content(self) -> bytes:
        size = self.chance.choice((0, 1, 40, 500, 700, 5000, 20_000, 70_000, 300_000))
        return self.chance.randbytes(self.chance.randint(size // 2, size))

    def write(self, fs: FileSystem) -> None:
        """A new file, or a new content for one that is there."""
        path = self.chance.choice(self.names)
        there = self.history[-1].get(path)
        place = self.parent_of(fs, path)
        if place is None or (there is not None and there[0] != "file"):
            return
        if there is None:
            handle = 0

            def create() -> None:
                nonlocal handle
                handle, _ = fs.create(place[0], place[1], 0o644, os.O_WRONLY, CALLER)  # type: ignore[arg-type]

            self.change(path, ("file", b"", b""), create)
        else:
            handle = fs.open(fs.resolve(path).inode, os.O_WRONLY, CALLER)
        try:
            before = self.history[-1][path]
            data = self.content()
            if data:
                text = data + before[1][len(data) :]
                self.change(path, ("file", text, before[2]), lambda: fs.write(handle, 0, data))
        finally:
            fs.close(handle)

    def overwrite(self, fs: FileSystem) -> None:
        path = self.pick("file")
        if path is None:
            return
        kind, old, xattr = self.history[-1][path]
        offset, data = self.chance.randint(0, len(old) + 3000), self.content()
        new = bytearray(max(len(old), offset + len(data) if data else 0))
        new[: len(old)] = old
        new[offset : offset + len(data)] = data
        handle = fs.open(fs.resolve(path).inode, os.O_WRONLY, CALLER)
        try:
            self.change(path, (kind, bytes(new), xattr), lambda: fs.write(handle, offset, data))
        finally:
            fs.close(handle)

    def truncate(self, fs: FileSystem) -> None:
        path = self.pick("file")
        if path is None:
            return
        kind, old, xattr = self.history[-1][path]
        size = self.chance.randint(0, len(old) + 1000)
        new = old[:size] + bytes(max(0, size - len(old)))
        inode = fs.resolve(path).inode
        self.change(path, (kind, new, xattr), lambda: fs.setattr(inode, SetAttr(size=size), CALLER))

    def rename(self, fs: FileSystem) -> None:
        old, new = self.pick("file", "link"), self.chance.choice(self.names)
        if old is None or new == old or self.history[-1].get(new, ("file",))[0] == "directory":
            return
        source, target = self.parent_of(fs, old), self.parent_of(fs, new)
        if source is None or target is None:
            return
        state = dict(self.history[-1])
        state[new] = state.pop(old)
        self.step(state, lambda: fs.rename(*source, *target, RenameFlags(0), CALLER))  # type: ignore[arg-type]

    def remove(self, fs: FileSystem) -> None:
        path = self.pick("file", "link", "directory")
        if path is None:
            return
        place = self.parent_of(fs, path)
        assert place is not None
        state = {
            each: entry
            for each, entry in self.history[-1].items()
            if each != path and not each.startswith(path + b"/")
        }
        self.step(state, lambda: fs.remove_tree(place[0], place[1], CALLER))  # type: ignore[arg-type]

    def make_directory(self, fs: FileSystem) -> None:
        path = self.chance.choice((b"d", b"d/e"))
        place = self.parent_of(fs, path)
        if place is None or path in self.history[-1]:
            return
        self.change(path, ("directory", b"", b""), lambda: fs.mkdir(place[0], place[1], 0o755, CALLER))  # type: ignore[arg-type]

    def link(self, fs: FileSystem) -> None:
        path = self.chance.choice(self.names[:-2])
        place = self.parent_of(fs, path)
        if place is None or path in self.history[-1]:
            return
        target = b"t" * self.chance.choice((5, 100, 3000))
        self.change(
            path, ("link", target, b""), lambda: fs.symlink(place[0], place[1], target, CALLER)  # type: ignore[arg-type]
        )  # fmt: skip

    def attribute(self, fs: FileSystem) -> None:
        path = self.pick("file")
        if path is None:
            return
        kind, content, _ = self.history[-1][path]
        value = self.chance.randbytes(self.chance.choice((10, 5000)))
        inode = fs.resolve(path).inode
        self.change(
            path, (kind, content, value),
            lambda: fs.setxattr(inode, b"user.x", value, XattrFlags(0), CALLER),
        )  # fmt: skip

    def clone(self, fs: FileSystem) -> None:
        old, new = self.pick("file"), self.chance.choice(self.names)
        if old is None or new == old or self.history[-1].get(new, ("file",))[0] == "directory":
            return
        target = self.parent_of(fs, new)
        if target is None:
            return
        inode = fs.resolve(old).inode
        self.change(
            new, self.history[-1][old],
            lambda: fs.clone(inode, target[0], target[1], True, CALLER),  # type: ignore[arg-type]
        )  # fmt: skip

    def read(self, fs: FileSystem) -> None:
        path = self.pick("file")
        if path is not None:
            assert read_file(fs, path) == self.history[-1][path][1], "what was written is not read"

    # --- what makes it durable -------------------------------------------------------------------

    def fsync(self, fs: FileSystem) -> None:
        handle = fs.opendir(fs.root)
        try:
            place = len(self.history) - 1
            fs.fsync(handle)
            self.kept = place
        finally:
            fs.closedir(handle)

    def sync(self, fs: FileSystem) -> None:
        place = len(self.history) - 1
        fs.sync()
        self.kept = place

    def seal(self, fs: FileSystem) -> None:
        fs.sealer.seal_oldest()

    def purge(self, fs: FileSystem) -> None:
        fs.purge_some()

    def pass_time(self, drive: Drive) -> None:
        self.clock.advance(self.chance.choice((100_000_000, 6_000_000_000, 40_000_000_000)))
        drive.step()

    def without_faults(self, action: Callable[[], T]) -> T:
        world = self.world
        before = world.disk_fails, world.store_fails, world.disk_is_full
        world.disk_fails = world.store_fails = 0.0
        world.disk_is_full = False
        try:
            return action()
        finally:
            world.disk_fails, world.store_fails, world.disk_is_full = before


def read_file(fs: FileSystem, path: bytes) -> bytes:
    handle = fs.open(fs.resolve(path).inode, os.O_RDONLY, CALLER)
    try:
        return fs.read(handle, 0, 1 << 24)
    finally:
        fs.close(handle)


def dump(fs: FileSystem) -> State:
    """All that users see."""
    found: State = {}
    pending = [(b"", fs.root)]
    while pending:
        prefix, inode = pending.pop()
        handle = fs.opendir(inode)
        entries = fs.readdir(handle)
        fs.closedir(handle)
        for entry in entries:
            path, attr = prefix + entry.name, fs.getattr(entry.attr.inode)
            if stat.S_ISDIR(attr.mode):
                found[path] = ("directory", b"", b"")
                pending.append((path + b"/", attr.inode))
            elif stat.S_ISLNK(attr.mode):
                found[path] = ("link", fs.readlink(attr.inode), b"")
            else:
                names = fs.listxattr(attr.inode)
                value = fs.getxattr(attr.inode, b"user.x") if b"user.x" in names else b""
                found[path] = ("file", read_file(fs, path), value)
    return found


def describe(state: State) -> str:
    return ", ".join(f"{path.decode()}: {kind}{len(content)}" for path, (kind, content, _) in state.items())


def run(seed: int) -> Outcome:
    """One history. Raises AssertionError, with the command that shows it again."""
    try:
        return Simulation(seed).run()
    except (Exception, Crash) as error:
        raise AssertionError(f"python -m tests.simulation.machine {seed}") from error


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    for number in sys.argv[1:]:
        outcome = run(int(number))
        print(number, outcome)
