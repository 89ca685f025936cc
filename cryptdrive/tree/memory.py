"""Nodes kept encoded in memory: a source and sink for dry runs, tests and benchmarks."""

from hashlib import sha256

from cryptdrive.objects.ref import PackedRef, Ref
from cryptdrive.tree.node import Node, decode, encode
from cryptdrive.types import Epoch, PackId


class MemoryNodes:
    """Every node that was put, under a ref of its own. Not thread-safe."""

    def __init__(self) -> None:
        self.pages: dict[PackedRef, bytes] = {}
        self._decoded: dict[PackedRef, Node] = {}

    def put(self, node: Node) -> PackedRef:
        page = encode(node)
        pack = PackId(len(self.pages).to_bytes(16, "big"))
        ref = Ref(pack, Epoch(1), 0, len(page), sha256(page).digest()).encode()
        self.pages[ref] = page
        return ref

    def node(self, ref: PackedRef) -> Node:
        """Raises KeyError for a ref that ``put`` has not returned."""
        node = self._decoded.get(ref)
        if node is None:
            node = self._decoded[ref] = decode(self.pages[ref])
        return node
