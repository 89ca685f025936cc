"""The tree under memtables, as a drive uses it, against one plain dict."""

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cryptdrive.objects.ref import PackedRef
from cryptdrive.tree import apply as apply_module
from cryptdrive.tree.apply import apply
from cryptdrive.tree.diff import diff
from cryptdrive.tree.memory import MemoryNodes
from cryptdrive.tree.memtable import Memtable
from cryptdrive.tree.source import NodeMissing, NodeSource
from cryptdrive.tree.view import merged_get, merged_scan, merged_scan_back
from tests.unit.tree.support import ForgetfulNodes, check_tree

Answer = TypeVar("Answer")

NUMBERS = st.integers(0, 999)
KEYS = st.builds(lambda number, long: b"%03d" % number + b"k" * 20 * long, NUMBERS, st.booleans())
BOUNDS = st.one_of(KEYS, st.sampled_from([b"", b"0", b"5", b"999", b"\xff"]))
VALUES = st.binary(max_size=60)
LIMITS = st.sampled_from([1, 2, 5, 50, 10_000])


class TreeMachine(RuleBasedStateMachine):
    """Changes go to the active memtable; publishing freezes it, and applies it to the tree later.

    The nodes are small, so that few entries make many levels. The source holds nothing in memory
    after a reopening: every reading runs again until it has named all that it needs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(apply_module, "NODE_BYTES_TARGET", 512)
        self.patch.setattr(apply_module, "NODE_BYTES_SMALL", 128)
        self.model: dict[bytes, bytes] = {}
        self.published: dict[bytes, bytes] = {}
        self.frozen_model: dict[bytes, bytes] = {}
        self.nodes = MemoryNodes()
        self.source = ForgetfulNodes(self.nodes)
        self.root: PackedRef | None = None
        self.active = Memtable()
        self.frozen: Memtable | None = None

    def teardown(self) -> None:
        self.patch.undo()

    @property
    def layers(self) -> list[Memtable]:
        return [self.active] if self.frozen is None else [self.active, self.frozen]

    def waiting(self, action: Callable[[NodeSource], Answer]) -> Answer:
        """Run a reading as a driver does: fetch the node that is missing, and run it again."""
        fetched: list[PackedRef] = []
        while len(set(fetched)) == len(fetched):
            try:
                return action(self.source)
            except NodeMissing as missing:
                fetched.append(missing.ref)
                self.source.admit(missing.ref)
        raise AssertionError("a node was fetched and is missing again")

    @initialize(count=st.integers(0, 400))
    def load(self, count: int) -> None:
        self.model = {b"%03d" % (7 * number % 1000): b"start" * (number % 12) for number in range(count)}
        self.published = dict(self.model)
        self.root = apply(self.source, self.nodes, None, sorted(self.model.items()))

    @rule(key=KEYS, value=VALUES)
    def put(self, key: bytes, value: bytes) -> None:
        self.active.put(key, value)
        self.model[key] = value

    @rule(start=NUMBERS, count=st.integers(1, 300), value=VALUES)
    def put_many(self, start: int, count: int, value: bytes) -> None:
        for number in range(start, start + count):
            self.put(b"%03d" % (number % 1000), value)

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        self.active.delete(key)
        self.model.pop(key, None)

    @rule(start=BOUNDS, stop=BOUNDS)
    def delete_range(self, start: bytes, stop: bytes) -> None:
        for key in [key for key in self.model if start <= key < stop]:
            self.delete(key)

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        found = self.waiting(lambda source: merged_get(self.layers, source, self.root, key))
        assert found == self.model.get(key)

    @rule(start=BOUNDS, stop=st.one_of(st.none(), BOUNDS), limit=LIMITS)
    def scan(self, start: bytes, stop: bytes | None, limit: int) -> None:
        inside = [
            entry
            for entry in sorted(self.model.items())
            if start <= entry[0] and (stop is None or entry[0] < stop)
        ]
        found = self.waiting(lambda source: merged_scan(self.layers, source, self.root, start, stop, limit))
        assert found == inside[:limit]
        back = self.waiting(
            lambda source: merged_scan_back(self.layers, source, self.root, start, stop, limit)
        )
        assert back == inside[::-1][:limit]

    @rule()
    def freeze(self) -> None:
        if self.frozen is None:
            self.frozen, self.active = self.active, Memtable()
            self.frozen_model = dict(self.model)

    @rule()
    def publish(self) -> None:
        if self.frozen is None:
            return
        changes = list(self.frozen.items())
        before = self.root
        self.root = self.waiting(lambda source: apply(source, self.nodes, before, changes))
        self.frozen = None
        self.check_difference(before, self.published)
        self.published = self.frozen_model

    def check_difference(self, before: PackedRef | None, model: dict[bytes, bytes]) -> None:
        found = self.waiting(lambda source: list(diff(source, before, self.root)))
        keys = sorted(model.keys() | self.frozen_model.keys())
        values = [(key, model.get(key), self.frozen_model.get(key)) for key in keys]
        assert found == [(key, old, new) for key, old, new in values if old != new]

    @rule()
    def reopen(self) -> None:
        """Everything is published; nothing of the tree is in memory any more."""
        self.publish()
        self.freeze()
        self.publish()
        self.source = ForgetfulNodes(self.nodes)

    @invariant()
    def the_tree_is_sound(self) -> None:
        assert check_tree(self.nodes, self.root) == self.published


TreeMachine.TestCase.settings = settings(deadline=None, max_examples=150, stateful_step_count=40)
TestTree = TreeMachine.TestCase
