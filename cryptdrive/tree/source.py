"""Where the tree's nodes come from and go to, as protocols."""

from typing import Protocol

from cryptdrive.objects.ref import PackedRef
from cryptdrive.tree.node import Node


class NodeMissing(Exception):
    """A node is not in memory, and the source may not wait for it.

    Internal: the driver fetches ``ref`` without holding locks and runs the operation again.
    """

    def __init__(self, ref: PackedRef) -> None:
        super().__init__("a tree node is not in memory")
        self.ref = ref


class NodeSource(Protocol):
    """Gives nodes by their refs, checked against them."""

    def node(self, ref: PackedRef) -> Node:
        """The node, which the caller must not change.

        Raises NodeMissing if it is not in memory and the source may not wait; Integrity.
        """


class NodeSink(Protocol):
    """Takes new nodes."""

    def put(self, node: Node) -> PackedRef:
        """Keep the node, which nobody changes any more; returns where it is. Children come before parents."""
