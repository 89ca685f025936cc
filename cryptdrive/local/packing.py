"""From plaintext to packs in the outbox, and back."""

import threading

from cryptdrive.clock import Randomness
from cryptdrive.crypto.sealing import Buffer, Sealer
from cryptdrive.local.outbox import Outbox
from cryptdrive.objects.pack import PackKind, Role, pack_name
from cryptdrive.objects.ref import Ref
from cryptdrive.objects.writer import PackWriter
from cryptdrive.store.base import Store
from cryptdrive.types import PackId
from cryptdrive.waiting import before_waiting

PACK_ID_BYTES = 16


class PackAppender:
    """Seals blobs into one open pack after the other. Thread-safe."""

    def __init__(self, sealer: Sealer, kind: PackKind, outbox: Outbox, randomness: Randomness) -> None:
        self._sealer = sealer
        self._kind = kind
        self._outbox = outbox
        self._randomness = randomness
        self._lock = threading.Lock()
        self._writer: PackWriter | None = None
        self._buffer = bytearray()

    def add(self, plaintext: Buffer, role: Role, owner: int, position: int) -> Ref:
        """Seal a blob. It can be read at once, and is safe when the outbox settled after :meth:`rotate`."""
        with self._lock:
            if self._writer is not None and not self._writer.has_room(len(plaintext)):
                self._rotate()
            if self._writer is None:
                self._buffer = self._outbox.buffer()
                pack = PackId(self._randomness(PACK_ID_BYTES))
                self._writer = PackWriter(self._sealer, self._kind, pack, self._buffer)
            return self._writer.add(plaintext, role, owner, position)

    def rotate(self) -> None:
        """Complete the open pack, if there is one with blobs in it, and hand it to the outbox."""
        with self._lock:
            self._rotate()

    def _rotate(self) -> None:
        writer = self._writer
        if writer is None or writer.is_empty:
            return
        # Readers look here first and in the outbox next: it is there before it goes from here, and
        # its buffer is not used again before that.
        self._outbox.take(writer.pack, writer.finish(self._randomness), self._buffer)
        self._writer = None
        self._outbox.send(writer.pack)

    def read(self, pack: PackId, offset: int, length: int) -> bytes | None:
        """Bytes of the open pack; None if that is another one."""
        writer = self._writer
        if writer is None or writer.pack != pack:
            return None
        found = writer.sealed(offset, length)
        # Without the lock, for whoever holds it may be waiting for the outbox. The copy is good if
        # the pack was still the open one afterwards; if not, its buffer may be in use again.
        return found if self._writer is writer else None


class LocalPackSource:
    """Reads packs from wherever they are now: still open, in the outbox, or in the store."""

    def __init__(self, appenders: tuple[PackAppender, ...], outbox: Outbox, store: Store) -> None:
        self._appenders = appenders
        self._outbox = outbox
        self._store = store

    def read(self, pack: PackId, offset: int, length: int) -> bytes:
        """See :class:`cryptdrive.objects.reader.PackSource`."""
        for appender in self._appenders:
            found = appender.read(pack, offset, length)
            if found is not None:
                return found
        found = self._outbox.read(pack, offset, length)
        if found is not None:
            return found
        before_waiting()
        return self._store.get(pack_name(pack), offset, length)
