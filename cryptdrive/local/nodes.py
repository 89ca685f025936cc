"""The drive's tree nodes: decoded ones in memory, the others to be fetched."""

from collections.abc import Callable, Iterable

from cryptdrive.crypto.keys import Purpose
from cryptdrive.errors import DiskError, Integrity
from cryptdrive.local.packing import PackAppender
from cryptdrive.objects.cache import GenerationCache
from cryptdrive.objects.pack import Role
from cryptdrive.objects.reader import BlobReader
from cryptdrive.objects.ref import PackedRef, Ref
from cryptdrive.tree.node import Branch, Node, decode, encode
from cryptdrive.tree.source import NodeMissing
from cryptdrive.types import PackId

# What a decoded node takes in memory, against its encoded bytes (measured: 1.8).
_DECODED_FACTOR = 2


class NodeStore:
    """Node source and sink over one vault's packs. Thread-safe."""

    def __init__(
        self,
        reader: BlobReader,
        appender: PackAppender,
        cache_bytes_max: int,
        forget_kept: Callable[[PackId], bool] = lambda pack: False,
    ) -> None:
        """``forget_kept``: a copy of what the store has is damaged; True if there was one."""
        self._forget_kept = forget_kept
        self._reader = reader
        self._appender = appender
        self._cache: GenerationCache[PackedRef, Node] = GenerationCache(cache_bytes_max)

    def node(self, ref: PackedRef) -> Node:
        """A node that is in memory. Raises NodeMissing."""
        node = self._cache.get(ref)
        if node is None:
            raise NodeMissing(ref)
        return node

    def fetch(self, ref: PackedRef) -> Node:
        """Bring a node into memory. Waits for the store. Raises Integrity, StoreError."""
        node = self._cache.get(ref)
        if node is None:
            place = Ref.decode(ref)
            try:
                node = decode(self._reader.read_whole(place, Purpose.NODE))
            except (Integrity, DiskError):
                if not self._forget_kept(place.pack):
                    raise
                node = decode(self._reader.read_whole(place, Purpose.NODE))
            self._cache.put(ref, node, place.length * _DECODED_FACTOR)
        return node

    def put(self, node: Node) -> PackedRef:
        """Seal a new node into the open node pack; it stays in memory too."""
        data = encode(node)
        level = node.level if isinstance(node, Branch) else 0
        ref = self._appender.add(data, Role.NODE, 0, level).encode()
        self._cache.put(ref, node, len(data) * _DECODED_FACTOR)
        return ref

    def forget(self, refs: Iterable[PackedRef]) -> None:
        """No tree that is read has these nodes any more."""
        for ref in refs:
            self._cache.discard(ref)

    def drop_cache(self) -> None:
        self._cache.clear()

    @property
    def cache_bytes(self) -> int:
        return self._cache.byte_size


class WaitingNodeSource:
    """The same nodes for a thread that may wait: missing ones are fetched on the way."""

    def __init__(self, nodes: NodeStore) -> None:
        self._nodes = nodes

    def node(self, ref: PackedRef) -> Node:
        return self._nodes.fetch(ref)
