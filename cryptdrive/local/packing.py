"""From plaintext to packs in the outbox, and back."""

import threading
from collections.abc import Sequence

from cryptdrive.clock import Randomness
from cryptdrive.crypto.sealing import Buffer, Sealer
from cryptdrive.local.frames import PackChange
from cryptdrive.local.outbox import Outbox
from cryptdrive.objects.pack import IndexEntry, PackKind, Role, pack_name
from cryptdrive.objects.ref import Ref
from cryptdrive.objects.writer import PackWriter
from cryptdrive.store.base import Store
from cryptdrive.types import PackId
from cryptdrive.waiting import before_waiting

PACK_ID_BYTES = 16
INLINE_BYTES_MAX = 256 * 1024
"""Sealed data up to that much travels inside a group's frame: two files are two syncs."""


class PackAppender:
    """Seals blobs into one open pack after the other. Thread-safe."""

    def __init__(
        self,
        sealer: Sealer,
        kind: PackKind,
        outbox: Outbox,
        randomness: Randomness,
        *,
        is_saved: bool = False,
    ) -> None:
        """``is_saved``: groups name its blobs, and so are told of its packs."""
        self._is_saved = is_saved
        self._sealer = sealer
        self._kind = kind
        self._outbox = outbox
        self._randomness = randomness
        self._lock = threading.Lock()
        self._writer: PackWriter | None = None
        self._buffer = bytearray()
        self._completed: list[tuple[PackId, int]] = []
        self._unsaved: list[PackChange] = []
        """Completed packs that no group names yet."""
        self._saved_end = 0
        self._saved_count = 0

    def add(self, plaintext: Buffer, role: Role, owner: int, position: int) -> Ref:
        """Seal a blob. It can be read at once, and is safe when the group that it is in was saved.

        Raises DiskError, NoSpace.
        """
        with self._lock:
            return self._writer_for(len(plaintext)).add(plaintext, role, owner, position)

    def add_sealed(self, sealed: bytes, blob: Ref, role: Role, owner: int, position: int) -> Ref:
        """Take a blob over from another pack, byte for byte. Raises DiskError, NoSpace."""
        with self._lock:
            return self._writer_for(blob.length).add_sealed(sealed, blob, role, owner, position)

    def _writer_for(self, length: int) -> PackWriter:
        """One with room for a blob of ``length`` bytes."""
        if self._writer is not None and not self._writer.has_room(length):
            self._rotate()
        if self._writer is None:
            self._buffer = self._outbox.buffer()
            pack = PackId(self._randomness(PACK_ID_BYTES))
            self._writer = PackWriter(self._sealer, self._kind, pack, self._buffer)
            self._saved_end, self._saved_count = 0, 0
        return self._writer

    def rotate(self) -> None:
        """Complete the open pack, if there is one with blobs in it, and hand it to the outbox.

        Raises DiskError, NoSpace.
        """
        with self._lock:
            self._rotate()

    def _rotate(self) -> None:
        writer = self._writer
        if writer is None or writer.is_empty:
            return
        whole = writer.finish(self._randomness)
        # Readers look here first and in the outbox next: it is there before it goes from here, and
        # its buffer is not used again before that.
        self._outbox.complete(writer.pack, whole, self._buffer)
        self._completed.append((writer.pack, len(whole)))
        if self._is_saved:
            self._unsaved.append(PackChange(writer.pack, writer.epoch, writer.end, writer.end, len(whole)))
        self._writer = None

    @property
    def open_bytes(self) -> int:
        """Bytes in the open pack."""
        writer = self._writer
        return writer.end if writer is not None and not writer.is_empty else 0

    @property
    def is_quick_to_save(self) -> bool:
        """Whether all that no group names yet would travel inside the group's frame."""
        writer = self._writer
        unsaved = writer.end - self._saved_end if writer is not None else 0
        return unsaved <= INLINE_BYTES_MAX and not self._outbox.has_unsynced

    def tell_of_copies(self, packs: Sequence[tuple[PackId, int]]) -> None:
        """Let the next group name packs (id, length) that a publication made, and sends."""
        with self._lock:
            self._unsaved += [PackChange(pack, self._sealer.epoch, 0, 0, length) for pack, length in packs]

    def take_completed(self) -> list[tuple[PackId, int]]:
        """The packs (id, length) completed since the last call."""
        with self._lock:
            completed, self._completed = self._completed, []
            return completed

    def changes(self) -> list[PackChange]:
        """What packs got since :meth:`saved`, on disk for certain but for what lies inline.

        Raises DiskError, NoSpace.
        """
        with self._lock:
            self._outbox.sync()
            changes = list(self._unsaved)
            writer = self._writer
            if writer is not None and writer.entry_count > self._saved_count:
                start, end = self._saved_end, writer.end
                inline = b""
                if end - start <= INLINE_BYTES_MAX:
                    inline = writer.sealed(start, end - start)
                else:
                    self._outbox.write_open(writer.pack, writer.view[:end])
                entries = writer.entries_from(self._saved_count)
                changes.append(PackChange(writer.pack, writer.epoch, start, end, 0, entries, inline))
            return changes

    def saved(self, changes: Sequence[PackChange]) -> None:
        """A group with these :meth:`changes` is durable."""
        with self._lock:
            for change in changes:
                if change.length:
                    self._unsaved.remove(change)
                elif self._writer is not None and self._writer.pack == change.pack:
                    self._saved_end = change.end
                    self._saved_count += len(change.entries)

    def read(self, pack: PackId, offset: int, length: int) -> bytes | None:
        """Bytes of the open pack; None if that is another one."""
        writer = self._writer
        if writer is None or writer.pack != pack:
            return None
        found = writer.sealed(offset, length)
        # Without the lock, for whoever holds it may be waiting for the disk. The copy is good if
        # the pack was still the open one afterwards; if not, its buffer may be in use again.
        return found if self._writer is writer else None


def complete_again(
    sealer: Sealer,
    outbox: Outbox,
    randomness: Randomness,
    pack: PackId,
    content: bytes,
    entries: Sequence[IndexEntry],
    in_file: int,
) -> int:
    """Complete a data pack that an earlier process left open; ``content`` is all up to its last blob.

    The first ``in_file`` bytes of it are on disk already.
    Returns its length. Raises DiskError, NoSpace, Integrity.
    """
    buffer = outbox.buffer()
    writer = PackWriter(sealer, PackKind.DATA, pack, buffer)
    writer.restore(content, entries)
    whole = writer.finish(randomness)
    outbox.reopen(pack, in_file)
    outbox.complete(pack, whole, buffer)
    return len(whole)


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
