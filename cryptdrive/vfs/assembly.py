"""Puts a file system together over a store and a root."""

from collections.abc import Callable
from dataclasses import dataclass

from cryptdrive.clock import Clock, Randomness
from cryptdrive.config import DriveSettings
from cryptdrive.crypto.sealing import Sealer
from cryptdrive.local.nodes import NodeStore
from cryptdrive.local.outbox import Outbox
from cryptdrive.local.packing import LocalPackSource, PackAppender
from cryptdrive.local.publisher import CommitLog, Publisher
from cryptdrive.local.working_map import WorkingMap
from cryptdrive.objects.pack import PackKind
from cryptdrive.objects.reader import BlobReader
from cryptdrive.objects.ref import PackedRef
from cryptdrive.schema.counters import Counters
from cryptdrive.schema.keys import USAGE_KEY, device_range, orphan_inode, orphan_range
from cryptdrive.schema.records import Usage, decode_device, decode_usage, encode_usage
from cryptdrive.store.base import Store
from cryptdrive.types import InodeNumber
from cryptdrive.vfs.core import Core
from cryptdrive.vfs.filesystem import FileSystem, FileSystemLimits

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Storage:
    """A vault's objects as one drive reads and writes them."""

    outbox: Outbox
    appender: PackAppender
    node_appender: PackAppender
    reader: BlobReader
    nodes: NodeStore

    def drop_caches(self) -> None:
        """Forget everything that can be read again."""
        self.reader.drop_cache()
        self.nodes.drop_cache()


def open_storage(store: Store, sealer: Sealer, randomness: Randomness, settings: DriveSettings) -> Storage:
    """The reading and writing parts over a store."""
    outbox = Outbox(store)
    appender = PackAppender(sealer, PackKind.DATA, outbox, randomness)
    node_appender = PackAppender(sealer, PackKind.NODES, outbox, randomness)
    source = LocalPackSource((appender, node_appender), outbox, store)
    reader = BlobReader(sealer, source, settings.block_cache_mib * _MIB)
    nodes = NodeStore(reader, node_appender, settings.node_cache_mib * _MIB)
    return Storage(outbox, appender, node_appender, reader, nodes)


def open_filesystem(
    storage: Storage,
    store: Store,
    root: PackedRef | None,
    commits: CommitLog,
    tag: int,
    device_records: Callable[[Counters], list[tuple[bytes, bytes]]],
    settings: DriveSettings,
    clock: Clock,
    *,
    read_only: bool,
) -> tuple[FileSystem, Publisher]:
    """The file system at ``root``.

    ``device_records`` gives what each publication records of this device, its counters above all.
    """
    working_map = WorkingMap(storage.nodes, root)
    publisher = Publisher(
        working_map, storage.nodes, (storage.appender, storage.node_appender), storage.outbox, commits
    )
    counters, usage = working_map.run(lambda: _read_vault_records(working_map, tag))
    core = Core(working_map, clock, counters, usage, read_only=read_only)
    limits = FileSystemLimits(settings.dirty_mib_max * _MIB, settings.sealing_starts_mib * _MIB)
    disk = store.capabilities.local_path
    files = FileSystem(core, publisher, storage.appender, storage.reader, limits, disk)

    def final_records() -> list[tuple[bytes, bytes]]:
        return [(USAGE_KEY, encode_usage(core.frozen_usage.bounded())), *device_records(counters)]

    publisher.attach(files.sealer, final_records)
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
