"""Packs on this machine that the store has not confirmed: one file each."""

import logging
import re
import threading
from collections import OrderedDict, deque
from contextlib import suppress

from cryptdrive.errors import DiskError
from cryptdrive.local.disk import LocalFile, LocalFolder, disk_errors
from cryptdrive.objects.pack import PACK_BYTES_MAX
from cryptdrive.types import PackId

_log = logging.getLogger(__name__)

_FREE_BUFFERS_MAX = 2
KEPT_BYTES_MAX = 256 << 20
KEPT_PACKS_MAX = 4096
OPENED_MAX = 32
_KEPT = ".kept"
_kept_name = re.compile(r"[0-9a-f]{32}\.kept")
_UNSYNCED_MAX = 2
"""Complete packs that are not on disk for certain keep their buffers: the disk may fail to take them."""


class _Unsynced:
    """A complete pack that may not be on disk yet; its first ``done`` bytes are."""

    __slots__ = ("buffer", "done", "is_written", "whole")

    def __init__(self, whole: memoryview, buffer: bytearray, done: int) -> None:
        self.whole = whole
        self.buffer = buffer
        self.done = done
        self.is_written = False


class Outbox:
    """Keeps packs from their first bytes until the store has them. Thread-safe.

    A complete pack never changes: a store may have taken its file over, under another name.
    """

    def __init__(self, folder: LocalFolder, kept_bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._packs: dict[PackId, int] = {}
        """Complete packs and their lengths."""
        self._files: dict[PackId, LocalFile] = {}
        """Of packs that are filled, or not synced."""
        self._opened: OrderedDict[PackId, LocalFile] = OrderedDict()
        """Of others, the ones read last: there may be more packs than a process may have files open."""
        self._open_bytes: dict[PackId, int] = {}
        """How much of a pack that is not complete lies in its file."""
        self._unsynced: dict[PackId, _Unsynced] = {}
        self._free: deque[bytearray] = deque(maxlen=_FREE_BUFFERS_MAX)
        self._total = 0
        self._kept: dict[PackId, int] = {}
        """Packs that the store has too, the oldest first: what of the tree can be read without it."""
        self.kept_bytes_max = kept_bytes_max

    def buffer(self) -> bytearray:
        """Room for one pack."""
        try:
            return self._free.pop()
        except IndexError:
            return bytearray(PACK_BYTES_MAX)

    # --- filling packs -----------------------------------------------------------------------

    def write_open(self, pack: PackId, content: memoryview) -> None:
        """Let the first ``len(content)`` bytes of a pack that is being filled be on disk for certain.

        Raises DiskError, NoSpace; what was there for certain still is, and a later try writes the rest.
        """
        with disk_errors(self._folder, "keeping written data"):
            done = self._open_bytes.get(pack, 0)
            file = self._file_for(pack)
            file.write(done, content[done:])
            file.sync()
            if not done:
                self._folder.sync()
            self._open_bytes[pack] = len(content)

    def _file_for(self, pack: PackId) -> LocalFile:
        file = self._files.get(pack)
        if file is None:
            file = self._files[pack] = self._folder.create(pack.hex())
        return file

    def reopen(self, pack: PackId, done: int) -> None:
        """Go on with a pack that an earlier process was filling, ``done`` bytes of it in its file.

        Raises DiskError.
        """
        if done:
            with disk_errors(self._folder, "reading kept data"):
                self._files[pack] = self._folder.open(pack.hex(), writable=True)
            self._open_bytes[pack] = done

    def complete(self, pack: PackId, whole: memoryview, buffer: bytearray) -> None:
        """Take a complete pack over, which lies in ``buffer``; it is read from here from now on.

        It is on disk for certain after :meth:`sync`. Raises DiskError, NoSpace where too many wait
        for that already; then it was not taken.
        """
        if len(self._unsynced) >= _UNSYNCED_MAX:
            self.sync()
        state = _Unsynced(whole, buffer, self._open_bytes.get(pack, 0))
        try:
            self._write(pack, state)
        except OSError as error:
            _log.debug("a pack could not be written yet: %s", error)  # sync() tries again, and tells
        with self._lock:
            self._packs[pack] = len(whole)
            self._unsynced[pack] = state
            self._total += len(whole)
        self._open_bytes.pop(pack, None)

    def _write(self, pack: PackId, state: _Unsynced) -> None:
        self._file_for(pack).write(state.done, state.whole[state.done :])
        state.is_written = True

    def sync(self) -> None:
        """All complete packs are on disk for certain when it returns. Raises DiskError, NoSpace."""
        if not self._unsynced:
            return
        with self._sync_lock, disk_errors(self._folder, "keeping written data"):
            with self._lock:
                waiting = list(self._unsynced.items())
            if not waiting:
                return
            for pack, state in waiting:
                if not state.is_written:
                    self._write(pack, state)
                # What a failed sync leaves on disk is unknown: until it is well, it is to be written again.
                state.is_written = False
                self._files[pack].sync()
                state.is_written = True
            self._folder.sync()
            with self._lock:
                for pack, state in waiting:
                    self._files.pop(pack, None)
                    if self._unsynced.pop(pack, None) is not None:
                        self._free.append(state.buffer)

    # --- complete packs ----------------------------------------------------------------------

    def has_file(self, pack: PackId) -> bool:
        """Whether an earlier process left a pack's file. Raises DiskError."""
        with disk_errors(self._folder, "reading kept data"):
            return pack.hex() in self._folder.names()

    def adopt(self, pack: PackId, length: int) -> None:
        """Know a complete pack that an earlier process left, and that is on disk for certain.

        Raises FileNotFoundError, DiskError where it is not there in its full length.
        """
        with disk_errors(self._folder, "reading kept data"):
            file = self._folder.open(pack.hex())
            if file.size() < length:
                raise DiskError(f"{self._folder.path}/{pack.hex()} is cut short")
        with self._lock:
            self._packs[pack] = length
            self._total += length

    def hold(self, pack: PackId, content: bytes) -> None:
        """Know what an earlier process left of a pack that it did not complete, only to be read."""
        with self._lock:
            self._packs[pack] = len(content)
            self._unsynced[pack] = _Unsynced(memoryview(content), bytearray(), len(content))

    def read(self, pack: PackId, offset: int, length: int) -> bytes | None:
        """Bytes of a complete pack; None if it is not here. Raises DiskError."""
        with self._lock:
            size = self._packs.get(pack) or self._kept.get(pack)
            unsynced = self._unsynced.get(pack)
            if size is None:
                return None
            if unsynced is not None:
                return bytes(unsynced.whole[offset : min(offset + length, size)])
        with disk_errors(self._folder, "reading kept data"):
            file = self._file_of(pack)
            return file.read(offset, min(length, size - offset)) if file is not None else None

    def _file_of(self, pack: PackId) -> LocalFile | None:
        """A complete pack's file; None if it has gone meanwhile. Raises OSError."""
        with self._lock:
            file = self._opened.get(pack)
            if file is not None:
                self._opened.move_to_end(pack)
                return file
        for name in (pack.hex(), pack.hex() + _KEPT):
            with suppress(FileNotFoundError):
                file = self._folder.open(name)
                break
        else:
            return None
        with self._lock:
            self._opened[pack] = file
            while len(self._opened) > OPENED_MAX:
                self._opened.popitem(last=False)
        return file

    def path(self, pack: PackId) -> str | None:
        """Where a pack's file is; None where it is no real one."""
        return None if self._folder.path is None else str(self._folder.path / pack.hex())

    def drop(self, pack: PackId) -> None:
        """A pack is not needed here any more. Raises DiskError; it is gone from here all the same."""
        with self._sync_lock, self._lock:
            self._files.pop(pack, None)
            self._opened.pop(pack, None)
            unsynced = self._unsynced.pop(pack, None)
            self._total -= self._packs.pop(pack, 0)
        if unsynced is not None:
            self._free.append(unsynced.buffer)
        with disk_errors(self._folder, "tidying"):
            self._folder.remove(pack.hex())

    def keep(self, pack: PackId) -> None:
        """The store has a pack; it stays as long as there is room for it. Raises DiskError."""
        with self._sync_lock, self._lock:
            length = self._packs.pop(pack, None)
            if length is None:
                return
            self._total -= length
            self._kept[pack] = length
        with disk_errors(self._folder, "tidying"):
            self._folder.rename(pack.hex(), pack.hex() + _KEPT)
            while sum(self._kept.values()) > self.kept_bytes_max or len(self._kept) > KEPT_PACKS_MAX:
                oldest = next(iter(self._kept))
                with self._lock:
                    self._kept.pop(oldest)
                    self._opened.pop(oldest, None)
                self._folder.remove(oldest.hex() + _KEPT)

    @property
    def has_unsynced(self) -> bool:
        """Whether complete packs are still to be written or synced."""
        return bool(self._unsynced)

    def forget_kept(self, pack: PackId) -> bool:
        """A kept pack is not what it was: the store's is to be read. False where none is kept here."""
        with self._sync_lock, self._lock:
            if self._kept.pop(pack, None) is None:
                return False
            self._opened.pop(pack, None)
        with suppress(OSError):
            self._folder.remove(pack.hex() + _KEPT)
        return True

    def find_kept(self) -> None:
        """Know what an earlier process kept. Raises DiskError."""
        with disk_errors(self._folder, "reading kept data"):
            for name in self._folder.names():
                if _kept_name.fullmatch(name):
                    pack = PackId(bytes.fromhex(name.removesuffix(_KEPT)))
                    self._kept[pack] = self._folder.open(name).size()

    def remove_unknown(self) -> None:
        """Remove what an earlier process left and nothing needs. Raises DiskError."""
        with disk_errors(self._folder, "tidying"):
            known = {pack.hex() for pack in (*self._packs, *self._open_bytes)}
            known.update(pack.hex() + _KEPT for pack in self._kept)
            for name in self._folder.names():
                if name not in known:
                    self._folder.remove(name)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of complete packs that are kept."""
        return self._total

    def free_bytes(self) -> int:
        """Bytes that may still be written on the disk."""
        return self._folder.free_bytes()
