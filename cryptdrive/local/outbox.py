"""Packs that are complete here and not yet confirmed by the store."""

import logging
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from cryptdrive.errors import CryptdriveError
from cryptdrive.objects.pack import PACK_BYTES_MAX, pack_name
from cryptdrive.store.base import Store
from cryptdrive.types import PackId
from cryptdrive.waiting import before_waiting

_log = logging.getLogger(__name__)

_FREE_BUFFERS_MAX = 2


class Outbox:
    """Puts packs into the store, several at once, and keeps each until the store has it.

    A pack that the store refused stays, with the same bytes, and is tried again by
    :meth:`settle`. Thread-safe. Memory: at most ``waiting_max`` packs and one more a thread that
    submits.
    """

    def __init__(self, store: Store, parallel: int = 2, waiting_max: int = 6) -> None:
        self._store = store
        self._waiting_max = waiting_max
        self._changed = threading.Condition()
        self._packs: dict[PackId, tuple[memoryview, bytearray]] = {}
        self._running = 0
        self._failed: dict[PackId, CryptdriveError] = {}
        self._free: deque[bytearray] = deque(maxlen=_FREE_BUFFERS_MAX)
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="outbox")

    def buffer(self) -> bytearray:
        """Room for one pack."""
        try:
            return self._free.pop()
        except IndexError:
            return bytearray(PACK_BYTES_MAX)

    def take(self, pack: PackId, whole: memoryview, buffer: bytearray) -> None:
        """Take a complete pack over, to be read from here; ``whole`` lies in ``buffer``."""
        with self._changed:
            self._packs[pack] = (whole, buffer)

    def send(self, pack: PackId) -> None:
        """Start putting a pack that was taken; nobody reads its buffer elsewhere from now on.

        Waits while ``waiting_max`` packs are under way. Never fails because of the store: what the
        store says is raised by :meth:`settle`.
        """
        with self._changed:
            while self._running >= self._waiting_max:
                self._changed.wait()
            self._running += 1
            whole, _ = self._packs[pack]
        self._pool.submit(self._put, pack, whole)

    def _put(self, pack: PackId, whole: memoryview) -> None:
        failure: CryptdriveError | None = None
        try:
            self._store.put(pack_name(pack), whole)
        except CryptdriveError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - it must reach settle(), not end a thread unseen
            _log.exception("putting a pack failed unexpectedly")
            failure = CryptdriveError(f"putting a pack failed: {type(error).__name__}")
        with self._changed:
            self._running -= 1
            if failure is None:
                _, buffer = self._packs.pop(pack)
                self._free.append(buffer)
            else:
                self._failed[pack] = failure
            self._changed.notify_all()

    def settle(self) -> None:
        """Return when the store has confirmed every pack submitted before.

        Packs that failed earlier are tried once more first. Raises the first failure; the packs stay.
        """
        with self._changed:
            again = list(self._failed)
            self._failed.clear()
            self._running += len(again)
            views = [(pack, self._packs[pack][0]) for pack in again]
        for pack, whole in views:
            self._pool.submit(self._put, pack, whole)
        with self._changed:
            while self._running:
                before_waiting()
                self._changed.wait()
            for error in self._failed.values():
                raise error

    def read(self, pack: PackId, offset: int, length: int) -> bytes | None:
        """Bytes of a pack that is still here; None if it is not."""
        with self._changed:
            found = self._packs.get(pack)
            return None if found is None else bytes(found[0][offset : offset + length])

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the store has not confirmed."""
        with self._changed:
            return sum(len(whole) for whole, _ in self._packs.values())

    def close(self) -> None:
        """End the threads; what is not confirmed is dropped."""
        self._pool.shutdown(wait=True)
