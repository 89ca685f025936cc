"""A disk that is simulated: it forgets what was not synced, as real ones may when the power fails."""

import errno
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptdrive.local.disk import RealFolder

SECTOR_BYTES = 512


class _Content:
    """A file's bytes: what is on disk for certain, what a program sees, and the writes in between."""

    def __init__(self) -> None:
        self.durable = b""
        self.seen = bytearray()
        self.pending: list[tuple[int, bytes]] = []

    def write(self, offset: int, data: bytes) -> None:
        _put(self.seen, offset, data)
        self.pending.append((offset, data))

    def sync(self) -> None:
        """What was written since the last sync is on disk; what that one lost is seen, and is not."""
        found = bytearray(self.durable)
        for offset, data in self.pending:
            _put(found, offset, data)
        self.durable = bytes(found)
        self.pending.clear()

    def lose_power(self, chance: random.Random) -> None:
        """Any of the writes since the last sync may be there, whole or torn, whatever their order."""
        found = bytearray(self.durable)
        for offset, data in self.pending:
            fate = chance.random()
            if fate < 0.4:
                continue
            if fate < 0.7:
                _put(found, offset, data)
                continue
            start = offset
            while start < offset + len(data):
                stop = min((start // SECTOR_BYTES + 1) * SECTOR_BYTES, offset + len(data))
                if chance.random() < 0.5:
                    _put(found, start, data[start - offset : stop - offset])
                start = stop
        self.seen = found
        self.durable = bytes(found)
        self.pending.clear()


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


@dataclass
class _Names:
    """A folder's names: on disk for certain, as seen, and every meaning a name had in between."""

    durable: dict[str, _Content] = field(default_factory=dict)
    seen: dict[str, _Content] = field(default_factory=dict)
    meanings: dict[str, list[_Content | None]] = field(default_factory=dict)

    def set(self, name: str, content: _Content | None) -> None:
        if content is None:
            self.seen.pop(name, None)
        else:
            self.seen[name] = content
        self.meanings.setdefault(name, []).append(content)

    def sync(self) -> None:
        self.durable = dict(self.seen)
        self.meanings.clear()

    def lose_power(self, chance: random.Random) -> None:
        found = dict(self.durable)
        for name, later in self.meanings.items():
            content = chance.choice([self.durable.get(name), *later])
            if content is None:
                found.pop(name, None)
            else:
                found[name] = content
        self.seen = found
        self.sync()


class SimulatedDisk:
    """Folders and files in memory. ``before`` is called ahead of every operation and may raise."""

    def __init__(self, before: Callable[[str, str], None] = lambda operation, name: None) -> None:
        self.before = before
        self.life = 0
        """Counts the crashes: what was opened before one is dead."""
        self.folders: dict[str, _Names] = {}
        self.free = 1 << 40

    def top(self) -> "SimulatedFolder":
        return SimulatedFolder(self, "")

    def kill(self) -> None:
        """The process ends; the machine goes on."""
        self.life += 1

    def lose_power(self, chance: random.Random) -> None:
        """The machine stops; only what was synced is there for certain."""
        self.life += 1
        for names in self.folders.values():
            names.lose_power(chance)
        contents = {id(each): each for names in self.folders.values() for each in names.seen.values()}
        for content in contents.values():
            content.lose_power(chance)

    def check(self, life: int, operation: str, name: str) -> None:
        if life != self.life:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self.before(operation, name)
        if life != self.life:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))


class SimulatedFolder:
    """See :class:`cryptdrive.local.disk.LocalFolder`."""

    path = None

    def __init__(self, disk: SimulatedDisk, place: str) -> None:
        self._disk = disk
        self._place = place
        self._life = disk.life
        self._names = disk.folders.setdefault(place, _Names())

    def _check(self, operation: str, name: str = "") -> None:
        self._disk.check(self._life, operation, f"{self._place}/{name}".strip("/"))

    def folder(self, name: str) -> "SimulatedFolder":
        return SimulatedFolder(self._disk, f"{self._place}/{name}".strip("/"))

    def names(self) -> list[str]:
        self._check("names")
        return sorted(self._names.seen)

    def create(self, name: str) -> "SimulatedFile":
        self._check("create", name)
        content = _Content()
        self._names.set(name, content)
        return SimulatedFile(self._disk, self, name, content)

    def open(self, name: str, *, writable: bool = False) -> "SimulatedFile":
        self._check("open", name)
        content = self._names.seen.get(name)
        if content is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return SimulatedFile(self._disk, self, name, content, writable=writable)

    def rename(self, old: str, new: str) -> None:
        self._check("rename", new)
        content = self._names.seen[old]
        self._names.set(old, None)
        self._names.set(new, content)

    def remove(self, name: str) -> None:
        self._check("remove", name)
        if name in self._names.seen:
            self._names.set(name, None)

    def sync(self) -> None:
        self._check("sync_folder")
        self._names.sync()

    def free_bytes(self) -> int:
        return self._disk.free


class SimulatedFile:
    """See :class:`cryptdrive.local.disk.LocalFile`."""

    def __init__(
        self,
        disk: SimulatedDisk,
        folder: SimulatedFolder,
        name: str,
        content: _Content,
        *,
        writable: bool = True,
    ) -> None:
        self._writable = writable
        self._disk = disk
        self._name = f"{folder._place}/{name}".strip("/")
        self._content = content
        self._life = disk.life

    def read(self, offset: int, length: int) -> bytes:
        self._disk.check(self._life, "read", self._name)
        return bytes(self._content.seen[offset : offset + length])

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        assert self._writable, "the file was opened to be read"
        self._disk.check(self._life, "write", self._name)
        self._content.write(offset, bytes(data))

    def size(self) -> int:
        return len(self._content.seen)

    def sync(self) -> None:
        try:
            self._disk.check(self._life, "sync", self._name)
        except OSError:
            # As Linux has it: what could not be written is forgotten, and the next sync says it is well.
            if self._life == self._disk.life:
                self._content.pending.clear()
            raise
        self._content.sync()


class RealDisk:
    """A folder of this machine where a drive keeps its state; it outlives nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def top(self) -> RealFolder:
        return RealFolder(self._path)

    def kill(self) -> None: ...
