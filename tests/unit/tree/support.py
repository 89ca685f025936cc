"""Sources that watch or forget, and a check of a whole tree."""

from collections.abc import Iterator, Mapping

from cryptdrive.objects.ref import PackedRef
from cryptdrive.tree import apply as apply_module
from cryptdrive.tree.apply import apply
from cryptdrive.tree.memory import MemoryNodes
from cryptdrive.tree.node import HEADER_BYTES, Branch, Node, check_child, encode
from cryptdrive.tree.source import NodeMissing


class WatchedNodes(MemoryNodes):
    """Remembers which nodes were asked for and which were put."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[PackedRef] = []
        self.put_refs: list[PackedRef] = []

    def node(self, ref: PackedRef) -> Node:
        self.asked.append(ref)
        return super().node(ref)

    def put(self, node: Node) -> PackedRef:
        ref = super().put(node)
        self.put_refs.append(ref)
        return ref

    def forget(self) -> None:
        """Start watching anew."""
        self.asked.clear()
        self.put_refs.clear()


class ForgetfulNodes:
    """Holds nothing in memory but what was admitted: raises NodeMissing for the rest."""

    def __init__(self, behind: MemoryNodes) -> None:
        self._behind = behind
        self._admitted: set[PackedRef] = set()

    def admit(self, ref: PackedRef) -> None:
        self._admitted.add(ref)

    def node(self, ref: PackedRef) -> Node:
        if ref not in self._admitted:
            raise NodeMissing(ref)
        return self._behind.node(ref)


def load(model: Mapping[bytes, bytes], nodes: MemoryNodes) -> PackedRef | None:
    """A tree that holds what the model does."""
    return apply(nodes, nodes, None, sorted(model.items()))


def reachable(nodes: MemoryNodes, root: PackedRef | None) -> Iterator[PackedRef]:
    """The refs of all nodes of a tree, parents first."""
    waiting = [root] if root is not None else []
    while waiting:
        ref = waiting.pop()
        yield ref
        node = nodes.node(ref)
        if isinstance(node, Branch):
            waiting += node.children


def check_tree(nodes: MemoryNodes, root: PackedRef | None) -> dict[bytes, bytes]:
    """Check every promise about a tree that ``apply`` made; returns what it holds.

    Each node is where its level and keys belong, no larger than the target, and, the root aside,
    no smaller than the least size.
    """
    found: dict[bytes, bytes] = {}

    def visit(ref: PackedRef, level: int, low: bytes, high: bytes | None, is_root: bool) -> None:
        node = nodes.node(ref)
        check_child(node, level, low, high)
        size = len(encode(node))
        assert size <= vars(apply_module)["NODE_BYTES_TARGET"]  # tests may have patched it
        if not isinstance(node, Branch):
            assert is_root or size - HEADER_BYTES >= apply_module.NODE_BYTES_SMALL
            found.update(zip(node.keys, node.values, strict=True))
            return
        # A branch's first key is not written, but counts where its size is judged: it is that of its place.
        assert is_root or size - HEADER_BYTES + 2 + len(low) >= apply_module.NODE_BYTES_SMALL
        lows, highs = [low, *node.keys], [*node.keys, high]
        for child, child_low, child_high in zip(node.children, lows, highs, strict=True):
            visit(child, level - 1, child_low, child_high, False)

    if root is not None:
        visit(root, nodes.node(root).level, b"", None, True)
    return found
