"""What every state machine that drives a file system and the model needs: a start, choices, comparisons."""

import os
import stat
from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from cryptdrive.types import HandleId
from cryptdrive.vfs.values import Attr
from tests.model.clock import ManualClock
from tests.model.listings import OpenListing
from tests.model.posix import PosixModel
from tests.model.side_by_side import ROOT_CALLER, Drive, Side, SideBySide
from tests.property.filesystem_values import (
    BAD_NAMES,
    pattern,
)


def _make_file(directory: int, name: bytes) -> Callable[[Side], Attr]:
    def action(side: Side) -> Attr:
        handle, attr = side.fs.create(side.inodes[directory], name, 0o644, os.O_RDWR, ROOT_CALLER)
        side.fs.write(handle, 0, pattern(directory, 700 if name == b"b" else 300))
        side.fs.close(handle)
        found: Attr = side.fs.getattr(attr.inode)
        return found

    return action


class SideBySideMachine(RuleBasedStateMachine):
    """Every rule calls both sides; every step compares attributes, the end compares everything."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        drive = self.make_drive(self.clock)
        root = drive.fs.getattr(drive.fs.root)
        model = PosixModel(self.clock, uid=root.uid, gid=root.gid)
        self.both = SideBySide(drive, model)
        self.drive = drive
        self.files: list[int] = []
        self.listings: list[OpenListing] = []

    @initialize(populated=st.sampled_from([True, True, True, False]))
    def populate(self, populated: bool) -> None:
        """Often there is a small tree to begin with, some of it on the store."""
        if not populated:
            return
        self.both.attr(lambda side: side.fs.mkdir(side.fs.root, b"a", 0o755, ROOT_CALLER))
        self.both.attr(lambda side: side.fs.mkdir(side.inodes[1], b"a", 0o2755, ROOT_CALLER))
        for index, name in ((0, b"b"), (1, b"b"), (2, b"c")):
            self.both.attr(_make_file(index, name))
        self.both.attr(lambda side: side.fs.link(side.inodes[3], side.inodes[2], b"b", ROOT_CALLER))
        self.drive.publish()
        self.both.attr(lambda side: side.fs.symlink(side.inodes[1], b"c", b"a/b", ROOT_CALLER))
        self.both.attr(_make_file(0, b"c"))

    def make_drive(self, clock: ManualClock) -> Drive:
        """What is tried; subclasses say."""
        raise NotImplementedError

    def teardown(self) -> None:
        try:
            if not self.both.in_step:
                self.both.compare_trees()
                self.both.reopen()
                self.both.compare_trees()
        finally:
            self.drive.close()

    @invariant()
    def attributes_agree(self) -> None:
        self.both.agree()
        for listing in self.listings:
            listing.note()
        self.clock.advance()

    # --- choosing --------------------------------------------------------------------

    def _alive(self) -> list[int]:
        nodes = self.both.model._nodes
        return [index for index, inode in enumerate(self.both.expected.inodes) if inode in nodes]

    def _any(self, pick: int) -> int:
        """Mostly an inode that is there; now and then one that is gone."""
        if pick == 15:
            self.drive.settle()
            return pick * 7 % len(self.both.expected.inodes)
        alive = self._alive()
        return alive[pick % len(alive)]

    def _of_type(self, pick: int, kind: int) -> int | None:
        nodes, inodes = self.both.model._nodes, self.both.expected.inodes
        found = [index for index in self._alive() if stat.S_IFMT(nodes[inodes[index]].mode) == kind]
        return found[pick % len(found)] if found else None

    def _directory(self, pick: int) -> int:
        """Mostly a directory; now and then any inode."""
        if pick == 15:
            return self._any(pick)
        found = self._of_type(pick, stat.S_IFDIR)
        assert found is not None
        return found

    def _entry(self, pick: int, name: bytes) -> tuple[int, bytes]:
        """Mostly an entry that is there; now and then ``name`` in some directory."""
        nodes, inodes = self.both.model._nodes, self.both.expected.inodes
        found = [(index, each) for index in self._alive() for each in sorted(nodes[inodes[index]].entries)]
        if pick >= 14 or not found:
            return self._directory(pick), name
        return found[pick % len(found)]

    def _file(self, pick: int) -> int:
        """Mostly a regular file, where there is one."""
        found = self._of_type(pick, stat.S_IFREG)
        return self._any(pick) if pick == 15 or found is None else found

    def _two_wrongs(self, directory: int, name: bytes) -> bool:
        """A name that cannot be, where nothing can be: which of both is named is open."""
        node = self.both.model._nodes.get(self.both.expected.inodes[directory])
        return name in BAD_NAMES and (node is None or not node.is_directory or not node.nlink)

    def _opened(self, results: tuple[HandleId, HandleId] | None) -> None:
        if results is not None:
            self.files.append(self.both.add_handle(*results))
