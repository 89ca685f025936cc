"""What an earlier process of this drive saved and did not publish (docs/format.md §14)."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from cryptdrive.clock import Randomness
from cryptdrive.crypto.sealing import Sealer
from cryptdrive.errors import DiskError, Integrity
from cryptdrive.local.compaction import blobs_named_by
from cryptdrive.local.disk import LocalFolder, disk_errors
from cryptdrive.local.frames import Group, PackChange, Prepared
from cryptdrive.local.journal_reading import JournalContent
from cryptdrive.local.outbox import Outbox
from cryptdrive.local.packing import complete_again
from cryptdrive.objects.pack import IndexEntry
from cryptdrive.schema.references import blob_of
from cryptdrive.tree.memtable import Memtable
from cryptdrive.types import PackId

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Unpublished:
    """What is to be gone on with: a commit that may be on the store, and the changes since.

    ``frozen`` is what the commit contains beyond the head. ``packs`` (id → length) are complete and
    named by ``saved``, and no commit's.
    """

    prepared: Prepared | None = None
    frozen: Memtable | None = None
    saved: Memtable = field(default_factory=Memtable)
    packs: dict[PackId, int] = field(default_factory=dict)


def not_on_store(content: JournalContent, through: int) -> tuple[Iterator[Group], Prepared | None]:
    """The groups to go on with, and a commit of the first of them that may or may not be on the store.

    ``through`` is the last group that certainly is. Going through the groups raises Integrity where
    some are missing.
    """
    prepared = content.prepared
    if prepared is not None and prepared.through <= through:
        prepared = None
    return _without_gaps(content.groups, through), prepared


def _without_gaps(groups: Iterable[Group], through: int) -> Iterator[Group]:
    expected = through + 1
    for group in groups:
        if group.sequence <= through:
            continue
        if group.sequence != expected:
            raise Integrity(
                f"the journal lacks change group {expected}, which is not on the store: "
                "changes that were saved on this machine are missing"
            )
        yield group
        expected += 1


def recover(
    folder: LocalFolder,
    outbox: Outbox,
    sealer: Sealer,
    randomness: Randomness,
    groups: Iterable[Group],
    prepared: Prepared | None,
    *,
    read_only: bool = False,
    keep_unknown: bool = False,
) -> Unpublished:
    """Complete what was being filled, and take up what is needed; the rest of the outbox is removed.

    ``groups`` are those that are not on the store for certain, ``folder`` is the outbox's.
    ``read_only``: nothing is written. ``keep_unknown``: what nothing names stays.
    Raises DiskError, NoSpace, Integrity.
    """
    result = Unpublished(prepared)
    sent = dict(prepared.packs) if prepared is not None else {}
    frozen, states = Memtable(), dict[PackId, _PackState]()
    with disk_errors(folder, "reading the journal"):
        for group in groups:
            if prepared is not None and group.sequence <= prepared.through:
                frozen.update(group.records)
                continue
            result.saved.update(group.records)
            for change in group.packs:
                states.setdefault(change.pack, _PackState(change.pack)).add(change)
    if prepared is not None:
        result.frozen = _without_other_packs(frozen, sent)
    for pack, length in sent.items():
        outbox.adopt(pack, length)
    for pack in blobs_named_by(result.saved).keys() - sent.keys():
        state = states.get(pack)
        if state is None:
            continue  # on the store since long
        if state.length:
            if state.is_copy and not outbox.has_file(pack):
                continue  # it was sent with a publication that is over
            outbox.adopt(pack, state.length)
        elif read_only:
            outbox.hold(pack, state.content(folder))
        else:
            state.length = complete_again(
                sealer, outbox, randomness, pack, state.content(folder), state.entries, state.in_file
            )
        result.packs[pack] = state.length
    try:
        if not (read_only or keep_unknown):
            outbox.remove_unknown()
    except DiskError as error:
        _log.warning("%s", error)
    return result


@dataclass(slots=True)
class _PackState:
    """A data pack as the groups describe it; ``length`` is 0 until it is complete."""

    pack: PackId
    length: int = 0
    end: int = 0
    in_file: int = 0
    is_copy: bool = False
    entries: list[IndexEntry] = field(default_factory=list)
    inline: list[tuple[int, bytes]] = field(default_factory=list)

    def add(self, change: PackChange) -> None:
        if change.length:
            self.length = change.length
            self.is_copy = not change.end
            self.entries.clear()  # all of it is in the outbox's file
            self.inline.clear()
            return
        if change.start != self.end:
            raise Integrity(f"the journal lacks part of pack {self.pack.hex()}")
        self.end = change.end
        self.entries += change.entries
        if change.inline:
            self.inline.append((change.start, change.inline))
        else:
            self.in_file = change.end

    def content(self, folder: LocalFolder) -> bytes:
        """All of its bytes so far. Raises DiskError, Integrity."""
        content = bytearray(self.end)
        if self.in_file:
            with disk_errors(folder, "reading kept data"):
                found = folder.open(self.pack.hex()).read(0, self.in_file)
            if len(found) != self.in_file:
                raise Integrity(f"{folder.path}/{self.pack.hex()} is cut short")
            content[: self.in_file] = found
        for start, data in self.inline:
            content[start : start + len(data)] = data
        return bytes(content)


def _without_other_packs(frozen: Memtable, sent: Mapping[PackId, int]) -> Memtable:
    """Frozen changes but for records whose blobs were copied: the prepared tree names the copies."""
    kept = Memtable()
    for key, value in frozen.items():
        if value is None:
            kept.delete(key)
            continue
        ref = blob_of(key, value)
        if ref is None or PackId(ref[:16]) in sent:
            kept.put(key, value)
    return kept
