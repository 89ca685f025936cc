"""Putting packs into the store: several at once, from their files."""

import logging
import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait

from cryptdrive.clock import Clock
from cryptdrive.crypto.sealing import HASH_BYTES
from cryptdrive.errors import CryptdriveError, DiskError, ObjectNotFound, Unavailable
from cryptdrive.local.outbox import Outbox
from cryptdrive.objects.pack import pack_name
from cryptdrive.store.base import Store, TakesFiles
from cryptdrive.types import PackId
from cryptdrive.waiting import before_waiting

RATE_WINDOW_S = 10.0
_log = logging.getLogger(__name__)


class PackSender:
    """Sends packs from the outbox; each counts only when the store has confirmed and shown it.

    Memory: ``parallel`` packs. Thread-safe, one :meth:`send` at a time.
    """

    def __init__(self, store: Store, outbox: Outbox, clock: Clock, parallel: int = 2) -> None:
        self._store = store
        self._outbox = outbox
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="sender")
        self._clock = clock
        self._lock = threading.Lock()
        self._recent: deque[tuple[float, int]] = deque()
        """When how many bytes were confirmed, of late."""
        self._began = 0.0
        """When the present run of sending began."""
        self._is_stopped = False
        self._confirmed: set[PackId] = set()
        self.sent_bytes = 0
        """Bytes that the store has confirmed since the drive was opened."""

    def send(self, packs: Iterable[tuple[PackId, int]]) -> None:
        """Returns when the store has confirmed all of them.

        Raises the first failure, having tried each: what was confirmed is not sent again.
        """
        missing = [(pack, length) for pack, length in packs if pack not in self._confirmed]
        if not missing:
            return
        before_waiting()
        self._began = self._clock.monotonic()
        futures = [self._pool.submit(self._put, pack, length) for pack, length in missing]
        wait(futures)
        for future in futures:
            error = future.exception()
            if isinstance(error, Exception) and not isinstance(error, CryptdriveError):
                _log.error("putting a pack failed unexpectedly", exc_info=error)
                raise CryptdriveError(f"putting a pack failed: {type(error).__name__}") from error
            future.result()

    def _put(self, pack: PackId, length: int) -> None:
        if self._is_stopped:
            raise Unavailable("sending was stopped")
        name, path = pack_name(pack), self._outbox.path(pack)
        store = self._store
        if path is None or not isinstance(store, TakesFiles) or not store.take_file(name, path):
            content = self._outbox.read(pack, 0, length)
            if content is None or len(content) != length:
                raise DiskError(
                    f"pack {pack.hex()}, which is not on the store yet, is missing on this machine"
                )
            store.put(name, content)
        self._confirm(pack, length)
        with self._lock:
            self._confirmed.add(pack)
            self.sent_bytes += length
            now = self._clock.monotonic()
            self._recent.append((now, length))
            while self._recent[0][0] < now - RATE_WINDOW_S:
                self._recent.popleft()

    def _confirm(self, pack: PackId, length: int) -> None:
        """Read back the checksum that a pack ends with: a store may say that it took what it has not got.

        Raises Unavailable: then it is sent again later.
        """
        name, place = pack_name(pack), length - HASH_BYTES
        try:
            found = self._store.get(name, place, HASH_BYTES)
        except ObjectNotFound:
            found = b""
        if not found or found != self._outbox.read(pack, place, HASH_BYTES):
            raise Unavailable(f"the store says that it took {name}, and has not got all of it")

    @property
    def rate(self) -> float:
        """Bytes a second that the store confirms, of late."""
        now = self._clock.monotonic()
        with self._lock:
            recent = [(when, count) for when, count in self._recent if when >= now - RATE_WINDOW_S]
        if not recent:
            return 0.0
        begin = max(now - RATE_WINDOW_S, min(self._began, recent[0][0]))
        return sum(count for _, count in recent) / max(now - begin, 0.1)

    def stop(self) -> None:
        """Send nothing more that was not begun: whoever waits gets Unavailable."""
        self._is_stopped = True

    def forget(self, packs: Iterable[tuple[PackId, int]]) -> None:
        """A publication that named them is over."""
        with self._lock:
            self._confirmed.difference_update(pack for pack, _ in packs)

    def close(self) -> None:
        self._pool.shutdown(wait=True)
