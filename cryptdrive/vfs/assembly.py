"""Puts a file system together over a store and a root."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from cryptdrive.clock import Clock, Randomness
from cryptdrive.config import DriveSettings
from cryptdrive.crypto.sealing import Sealer
from cryptdrive.local.backlog import Backlog
from cryptdrive.local.disk import LocalFolder
from cryptdrive.local.journal import Journal
from cryptdrive.local.nodes import NodeStore
from cryptdrive.local.outbox import Outbox
from cryptdrive.local.packing import LocalPackSource, PackAppender
from cryptdrive.local.publisher import CommitLog, Publisher
from cryptdrive.local.recovery import Unpublished
from cryptdrive.local.saving import ChangeSaver
from cryptdrive.local.sending import PackSender
from cryptdrive.local.working_map import WorkingMap
from cryptdrive.objects.pack import PackKind
from cryptdrive.objects.reader import BlobReader
from cryptdrive.objects.ref import PackedRef
from cryptdrive.schema.counters import Counters
from cryptdrive.schema.keys import USAGE_KEY, device_range, orphan_inode, orphan_range
from cryptdrive.schema.records import Usage, decode_device, decode_usage, encode_usage
from cryptdrive.store.base import Store
from cryptdrive.types import InodeNumber
from cryptdrive.vfs.admission import Admission
from cryptdrive.vfs.core import Core
from cryptdrive.vfs.filesystem import FileSystem, FileSystemLimits

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Storage:
    """A vault's objects as one drive reads and writes them."""

    store: Store
    outbox: Outbox
    appender: PackAppender
    node_appender: PackAppender
    copy_appender: PackAppender
    reader: BlobReader
    nodes: NodeStore
    sender: PackSender

    def drop_caches(self) -> None:
        """Forget everything that can be read again."""
        self.reader.drop_cache()
        self.nodes.drop_cache()

    def close(self) -> None:
        """End the threads; what the store has not got stays on disk."""
        self.sender.close()


@dataclass(frozen=True, slots=True)
class LocalChanges:
    """The journal, and what an earlier process saved in it."""

    journal: Journal
    last_sequence: int
    """Of the last group that was saved, here or by an earlier process."""
    unpublished: Unpublished


def open_storage(
    store: Store,
    sealer: Sealer,
    randomness: Randomness,
    clock: Clock,
    settings: DriveSettings,
    outbox_folder: LocalFolder,
) -> Storage:
    """The reading and writing parts over a store and a local folder."""
    outbox = Outbox(outbox_folder)
    appender = PackAppender(sealer, PackKind.DATA, outbox, randomness, is_saved=True)
    node_appender = PackAppender(sealer, PackKind.NODES, outbox, randomness)
    copy_appender = PackAppender(sealer, PackKind.DATA, outbox, randomness)
    source = LocalPackSource((appender, node_appender, copy_appender), outbox, store)
    reader = BlobReader(sealer, source, settings.block_cache_mib * _MIB)
    nodes = NodeStore(reader, node_appender, settings.node_cache_mib * _MIB, outbox.forget_kept)
    sender = PackSender(store, outbox, clock, settings.parallel_uploads)
    return Storage(store, outbox, appender, node_appender, copy_appender, reader, nodes, sender)


def open_filesystem(
    storage: Storage,
    root: PackedRef | None,
    local: LocalChanges,
    commits: CommitLog,
    tag: int,
    device_records: Callable[[Counters], list[tuple[bytes, bytes]]],
    settings: DriveSettings,
    clock: Clock,
    *,
    read_only: bool,
) -> tuple[FileSystem, Publisher]:
    """The file system at ``root``, and what was saved on this machine since.

    ``device_records`` gives what each group records of this device, its counters above all.
    """
    unpublished = local.unpublished
    if unpublished.prepared is not None:
        root = unpublished.prepared.root
    working_map = WorkingMap(storage.nodes, root)
    working_map.recover(unpublished.saved, unpublished.frozen)
    saver = ChangeSaver(working_map, storage.appender, local.journal, local.last_sequence)
    publisher = Publisher(
        working_map, storage.nodes, (storage.appender, storage.node_appender, storage.copy_appender),
        storage.outbox, saver, local.journal, storage.sender, commits,
    )  # fmt: skip
    counters, usage = working_map.run(lambda: _read_vault_records(working_map, tag))
    core = Core(working_map, clock, counters, usage, read_only=read_only)
    limits = FileSystemLimits(settings.dirty_mib_max * _MIB, settings.sealing_starts_mib * _MIB)
    disk = storage.store.capabilities.local_path
    backlog = Backlog(working_map, storage.appender, storage.outbox, local.journal, publisher, storage.sender)
    admission = Admission(
        backlog,
        clock,
        time.sleep,
        outbox_bytes_max=settings.outbox_mib_max * _MIB,
        memory_bytes_max=settings.memtable_mib_max * _MIB,
        reserve_bytes=settings.disk_reserve_mib * _MIB,
    )
    files = FileSystem(
        core, saver, publisher, backlog, admission, storage.appender, storage.reader, limits, disk
    )

    def final_records() -> list[tuple[bytes, bytes]]:
        return [(USAGE_KEY, encode_usage(core.cut_usage.bounded())), *device_records(counters)]

    saver.attach(files.sealer, final_records)
    if unpublished.prepared is not None or len(unpublished.saved):
        saver.recovered()
        publisher.recover(unpublished.prepared, unpublished.packs)
        core.first_change = clock.monotonic()
    if not read_only:
        core.purges.extend(_own_orphans(working_map, tag))
        core.orphans.update(core.purges)
    return files, publisher


def _read_vault_records(working_map: WorkingMap, tag: int) -> tuple[Counters, Usage]:
    """Where this device's counters go on, and the totals; under the drive's lock."""
    next_inode, next_change = 2, 1
    for key, value in working_map.scan(*device_range(), 1 << 24):
        device = decode_device(value)
        next_change = max(next_change, device.next_change)
        if int.from_bytes(key[-3:], "big") == tag:
            next_inode = device.next_inode
    usage = working_map.get(USAGE_KEY)
    return Counters(tag, next_inode, next_change), decode_usage(usage) if usage else Usage(0, 0)


def _own_orphans(working_map: WorkingMap, tag: int) -> list[InodeNumber]:
    start, stop = orphan_range(tag)
    found = []
    while True:
        begin = start
        piece = working_map.run(lambda begin=begin: working_map.scan(begin, stop, 256))  # type: ignore[misc]
        found += [orphan_inode(key) for key, _ in piece]
        if len(piece) < 256:
            return found
        start = piece[-1][0] + b"\0"
