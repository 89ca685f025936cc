"""Making changes durable on this machine, group by group."""

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from cryptdrive.errors import CryptdriveError
from cryptdrive.local.frames import FrameKind, Group, encode_group
from cryptdrive.local.journal import Journal
from cryptdrive.local.packing import PackAppender
from cryptdrive.local.working_map import WorkingMap
from cryptdrive.tree.memtable import Memtable
from cryptdrive.waiting import WouldBlock, before_waiting, no_waiting

_log = logging.getLogger(__name__)

QUICK_SYNC_S = 0.002
QUICK_RECORDS_MAX = 2000


class UnsealedContents(Protocol):
    """The bytes that the file system has taken and not sealed."""

    def finish_early(self) -> None:
        """Finish what an early sealing began and did not end; under the seal lock."""

    def cut(self) -> None:
        """Set aside all unsealed bytes as of this moment; under the map's lock, right before it is cut."""

    def seal_cut(self, group: Memtable) -> None:
        """Seal what was set aside, and record it in ``group``. Goes on where an earlier try failed."""

    def froze(self) -> None:
        """All that was cut so far is being published; under the map's lock."""


class ChangeSaver:
    """Saves all changes up to one moment as a group: seals them, and appends them to the journal.

    ``seal_lock`` guards the order of the open data pack: whoever seals holds it. Its order with
    others: saving, sealing, the map's lock.
    """

    def __init__(
        self, working_map: WorkingMap, appender: PackAppender, journal: Journal, last_sequence: int
    ) -> None:
        self.seal_lock = threading.Lock()
        self.sequence = last_sequence
        """The last group in the journal."""
        self.saved_through = 0
        """The transactions up to this number are durable."""
        self.last_error: CryptdriveError | None = None
        """Why the last group could not be saved; None after one that was."""
        self._map = working_map
        self._appender = appender
        self._journal = journal
        self._lock = threading.Lock()
        self._cut_through = 0
        self._contents: UnsealedContents | None = None
        self._final_records: Callable[[], list[tuple[bytes, bytes]]] = list

    def attach(
        self, contents: UnsealedContents, final_records: Callable[[], list[tuple[bytes, bytes]]]
    ) -> None:
        """Say where unsealed bytes are, and what records (totals, counters) every group adds."""
        self._contents = contents
        self._final_records = final_records

    def save(self, through: int | None = None) -> None:
        """Everything that was done before this call is durable on this machine when it returns.

        Or else the transactions up to number ``through``.

        Callers that wait at the same time share a group, and so one sync of the disk. Raises
        DiskError, NoSpace, and what keeps bytes from being sealed; the changes stay, and the next
        call goes on.
        """
        with self._map.lock:
            wanted = self._map.sequence if through is None else through
            if self.saved_through >= wanted:
                return
        before_waiting()
        with self._lock:
            # Twice where an earlier try had failed: its group comes first.
            while self.saved_through < wanted:
                with self.seal_lock:
                    self._save()

    def save_quickly(self, through: int) -> bool:
        """Save in a moment what was done up to transaction ``through``, or say that it takes longer.

        It does not wait: for the store, for others who save or seal, or for a slow disk. What it
        began is gone on with by the next :meth:`save`. Raises nothing.
        """
        if self.saved_through >= through:
            return True
        if self._journal.sync_seconds > QUICK_SYNC_S or len(self._map.active) > QUICK_RECORDS_MAX:
            return False
        if not self._appender.is_quick_to_save:
            return False
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if not self.seal_lock.acquire(blocking=False):
                return False
            try:
                with no_waiting():
                    self._save()
            except (WouldBlock, CryptdriveError):
                return False
            finally:
                self.seal_lock.release()
        finally:
            self._lock.release()
        return self.saved_through >= through

    def save_and(self, then: Callable[[], None], *, rotate: bool) -> None:
        """Save, and call ``then`` before anybody else seals or saves.

        ``rotate``: complete the open data pack, too.
        """
        with self._lock, self.seal_lock:
            self._save(rotate=rotate)
            then()

    def froze(self) -> None:
        """What is saved is being published; under the map's lock."""
        if self._contents is not None:
            self._contents.froze()

    def recovered(self) -> None:
        """The map holds changes that an earlier process saved: they count as one transaction."""
        self._map.sequence += 1
        self.saved_through = self._map.sequence

    def _save(self, *, rotate: bool = False) -> None:
        try:
            self._save_group(rotate=rotate)
        except CryptdriveError as error:
            self.last_error = error
            raise
        except WouldBlock:
            raise
        except Exception as error:
            _log.exception("keeping changes failed unexpectedly")
            self.last_error = CryptdriveError(f"keeping changes failed: {type(error).__name__}")
            raise self.last_error from error
        self.last_error = None

    def _save_group(self, *, rotate: bool) -> None:
        contents = self._contents
        if contents is not None:
            contents.finish_early()
        cut = self._map.cut
        if cut is None:
            with self._map.lock:
                if contents is not None:
                    contents.cut()
                cut = self._map.cut_off()
                self._cut_through = self._map.sequence
        if contents is not None:
            contents.seal_cut(cut)
        if rotate:
            self._appender.rotate()
        changes = self._appender.changes()
        if len(cut) or changes:
            with self._map.lock:
                for key, value in self._final_records():
                    cut.put(key, value)
            group = Group(self.sequence + 1, cut.items(), changes)
            self._journal.append(FrameKind.GROUP, encode_group(group), group.sequence)
            self.sequence = group.sequence
        self._appender.saved(changes)
        self._map.keep_cut()
        self.saved_through = self._cut_through
