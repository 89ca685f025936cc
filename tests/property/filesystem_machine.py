"""The rules by which a file system and the model are driven side by side."""

import os
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from cryptdrive.vfs.values import Attr, Caller, RenameFlags, SetAttr, XattrFlags
from tests.model.listings import OpenListing
from tests.model.side_by_side import ROOT_CALLER, Side
from tests.property.filesystem_values import (
    ACCESS,
    BAD_NAMES,
    CALLERS,
    CREATE,
    FILE_TYPES,
    LENGTHS,
    MEANWHILE,
    MODES,
    NAMES,
    OFFSETS,
    PICK,
    SIZES,
    TIMES,
    XATTR_FLAGS,
    XATTR_NAMES,
    pattern,
)
from tests.property.side_by_side_machine import SideBySideMachine


class FileSystemMachine(SideBySideMachine):
    """A rule for each call, and for what happens to the drive."""

    # --- names -----------------------------------------------------------------------

    @rule(parent=PICK, name=NAMES, mode=MODES, flags=CREATE, caller=CALLERS)
    def create(self, parent: int, name: bytes, mode: int, flags: int, caller: Caller) -> None:
        directory = self._directory(parent)
        results = self.both.call(
            lambda side: side.fs.create(side.inodes[directory], name, mode, flags | os.O_CREAT, caller),
            any_error=self._two_wrongs(directory, name),
        )
        if results is not None:
            (real, real_attr), (expected, expected_attr) = results
            self._opened((real, expected))
            self.both.learn(real_attr, expected_attr)

    @rule(parent=PICK, name=NAMES, kind=FILE_TYPES, mode=MODES, device=st.integers(0, 70000), caller=CALLERS)
    def mknod(self, parent: int, name: bytes, kind: int, mode: int, device: int, caller: Caller) -> None:
        directory = self._directory(parent)
        self.both.attr(
            lambda side: side.fs.mknod(side.inodes[directory], name, kind | mode, device, caller),
            any_error=self._two_wrongs(directory, name),
        )

    @rule(parent=PICK, name=NAMES, mode=MODES, caller=CALLERS)
    def mkdir(self, parent: int, name: bytes, mode: int, caller: Caller) -> None:
        directory = self._directory(parent)
        self.both.attr(
            lambda side: side.fs.mkdir(side.inodes[directory], name, mode, caller),
            any_error=self._two_wrongs(directory, name),
        )

    @rule(parent=PICK, name=NAMES, length=st.sampled_from([0, 1, 3, 512, 513, 4095, 4096]), caller=CALLERS)
    def symlink(self, parent: int, name: bytes, length: int, caller: Caller) -> None:
        directory, target = self._directory(parent), (b"a/../b/" * 600)[:length]
        self.both.attr(
            lambda side: side.fs.symlink(side.inodes[directory], name, target, caller),
            any_error=self._two_wrongs(directory, name),
        )

    @rule(inode=PICK, parent=PICK, name=NAMES, caller=CALLERS)
    def link(self, inode: int, parent: int, name: bytes, caller: Caller) -> None:
        index, directory = self._any(inode), self._directory(parent)
        self.both.attr(
            lambda side: side.fs.link(side.inodes[index], side.inodes[directory], name, caller),
            any_error=self._two_wrongs(directory, name),
        )

    @rule(parent=PICK, name=NAMES, caller=CALLERS)
    def unlink(self, parent: int, name: bytes, caller: Caller) -> None:
        directory, name = self._entry(parent, name)
        self.both.same(
            lambda side: side.fs.unlink(side.inodes[directory], name, caller),
            any_error=self._two_wrongs(directory, name),
        )

    @rule(parent=PICK, name=NAMES, caller=CALLERS)
    def rmdir(self, parent: int, name: bytes, caller: Caller) -> None:
        directory, name = self._entry(parent, name)
        self.both.same(
            lambda side: side.fs.rmdir(side.inodes[directory], name, caller),
            any_error=self._two_wrongs(directory, name),
        )

    @rule(
        parents=st.tuples(PICK, PICK),
        names=st.tuples(NAMES, NAMES),
        onto_entry=st.booleans(),
        flags=st.sampled_from([RenameFlags.NONE] * 3 + [RenameFlags.NOREPLACE, RenameFlags.EXCHANGE]),
        caller=CALLERS,
    )
    def rename(
        self,
        parents: tuple[int, int],
        names: tuple[bytes, bytes],
        onto_entry: bool,
        flags: RenameFlags,
        caller: Caller,
    ) -> None:
        old, name = self._entry(parents[0], names[0])
        new, new_name = self._directory(parents[1]), names[1]
        if onto_entry:
            new, new_name = self._entry(parents[1], names[1])
        self.both.same(
            lambda side: side.fs.rename(side.inodes[old], name, side.inodes[new], new_name, flags, caller),
            any_error=name in BAD_NAMES or new_name in BAD_NAMES,
        )

    @rule(parent=PICK, name=st.one_of(NAMES, st.sampled_from([b".", b".."])))
    def lookup(self, parent: int, name: bytes) -> None:
        directory = self._directory(parent)
        bad = name in BAD_NAMES
        self.both.attr(lambda side: side.fs.lookup(side.inodes[directory], name), any_error=bad)

    @rule(
        parts=st.lists(st.sampled_from([b"a", b"b", b"c", b".", b"..", b""]), max_size=5),
        follow=st.booleans(),
    )
    def resolve(self, parts: list[bytes], follow: bool) -> None:
        self.both.attr(lambda side: side.fs.resolve(b"/".join(parts), follow))

    # --- inodes ----------------------------------------------------------------------

    @rule(inode=PICK, mode=st.none() | MODES, uid=st.sampled_from([None, 0, 5]),
          gid=st.sampled_from([None, 7]), times=st.tuples(TIMES, TIMES), caller=CALLERS)  # fmt: skip
    def set_attributes(
        self,
        inode: int,
        mode: int | None,
        uid: int | None,
        gid: int | None,
        times: tuple[int | None, int | None],
        caller: Caller,
    ) -> None:
        index = self._any(inode)
        changes = SetAttr(mode=mode, uid=uid, gid=gid, atime_ns=times[0], mtime_ns=times[1])
        self.both.attr(lambda side: side.fs.setattr(side.inodes[index], changes, caller))

    @rule(inode=PICK, size=SIZES, caller=CALLERS)
    def set_size(self, inode: int, size: int, caller: Caller) -> None:
        index = self._file(inode)
        self.both.attr(lambda side: side.fs.setattr(side.inodes[index], SetAttr(size=size), caller))

    @rule(inode=PICK, name=XATTR_NAMES, length=st.sampled_from([0, 3, 1500, 2048, 65536, 65537]),
          flags=st.sampled_from(XATTR_FLAGS), caller=CALLERS)  # fmt: skip
    def setxattr(self, inode: int, name: bytes, length: int, flags: XattrFlags, caller: Caller) -> None:
        index, value = self._any(inode), pattern(inode, length)
        self.both.same(lambda side: side.fs.setxattr(side.inodes[index], name, value, flags, caller))

    @rule(inode=PICK, name=XATTR_NAMES)
    def getxattr(self, inode: int, name: bytes) -> None:
        index = self._any(inode)
        self.both.same(lambda side: side.fs.getxattr(side.inodes[index], name))

    @rule(inode=PICK, name=XATTR_NAMES, caller=CALLERS)
    def removexattr(self, inode: int, name: bytes, caller: Caller) -> None:
        index = self._any(inode)
        self.both.same(lambda side: side.fs.removexattr(side.inodes[index], name, caller))

    @rule(inode=PICK, count=st.integers(1, 2))
    def retain(self, inode: int, count: int) -> None:
        """The kernel refers to what a call has just shown it, so only to what is there."""
        alive = self._alive()
        index = alive[inode % len(alive)]
        self.both.same(lambda side: side.fs.retain(side.inodes[index], count))

    @rule(inode=PICK, count=st.integers(1, 2))
    def release(self, inode: int, count: int) -> None:
        index = self._any(inode)
        node = self.both.model._nodes.get(self.both.expected.inodes[index])
        if node is not None and node.references >= count:
            self.both.same(lambda side: side.fs.release(side.inodes[index], count))

    # --- open files ------------------------------------------------------------------

    @rule(inode=PICK, flags=ACCESS, caller=CALLERS)
    def open(self, inode: int, flags: int, caller: Caller) -> None:
        index = self._file(inode)
        self._opened(self.both.call(lambda side: side.fs.open(side.inodes[index], flags, caller)))

    @rule(inode=PICK, flags=ACCESS, offset=OFFSETS, length=LENGTHS)
    def write_whole(self, inode: int, flags: int, offset: int, length: int) -> None:
        """Open, write, close."""
        index, data = self._file(inode), pattern(inode, length)

        def action(side: Side) -> None:
            handle = side.fs.open(side.inodes[index], flags, ROOT_CALLER)
            try:
                side.fs.write(handle, offset, data)
            finally:
                side.fs.close(handle)

        self.both.same(action)

    @precondition(lambda self: self.files)
    @rule(pick=PICK, offset=OFFSETS, seed=st.integers(0, 99), length=LENGTHS)
    def write(self, pick: int, offset: int, seed: int, length: int) -> None:
        handle, data = self.files[pick % len(self.files)], pattern(seed, length)
        self.both.same(lambda side: side.fs.write(side.handles[handle], offset, data))

    @precondition(lambda self: self.files)
    @rule(pick=PICK, offset=OFFSETS, size=LENGTHS)
    def read(self, pick: int, offset: int, size: int) -> None:
        handle = self.files[pick % len(self.files)]
        self.both.same(lambda side: side.fs.read(side.handles[handle], offset, size))

    @precondition(lambda self: self.files)
    @rule(pick=PICK, how=st.sampled_from(["flush", "fsync"]))
    def save(self, pick: int, how: str) -> None:
        handle = self.files[pick % len(self.files)]
        self.both.same(lambda side: getattr(side.fs, how)(side.handles[handle]))

    @precondition(lambda self: self.files)
    @rule(pick=PICK)
    def close(self, pick: int) -> None:
        handle = self.files.pop(pick % len(self.files))
        self.both.same(lambda side: side.fs.close(side.handles[handle]))
        self.both.drop_handle(handle)

    # --- uploads and trees -----------------------------------------------------------

    @rule(mode=MODES, caller=CALLERS)
    def stage(self, mode: int, caller: Caller) -> None:
        self._opened(self.both.call(lambda side: side.fs.stage(mode, caller)))

    @precondition(lambda self: self.files)
    @rule(pick=PICK, parent=PICK, name=NAMES, replace=st.booleans(), caller=CALLERS)
    def publish(self, pick: int, parent: int, name: bytes, replace: bool, caller: Caller) -> None:
        handle, directory = self.files[pick % len(self.files)], self._directory(parent)
        index = self.both.attr(
            lambda side: side.fs.publish(side.handles[handle], side.inodes[directory], name, replace, caller),
            any_error=self._two_wrongs(directory, name),
        )
        if index is not None:
            self.files.remove(handle)
            self.both.drop_handle(handle)

    @rule(inode=PICK, parent=PICK, name=NAMES, replace=st.booleans(), caller=CALLERS)
    def clone(self, inode: int, parent: int, name: bytes, replace: bool, caller: Caller) -> None:
        index, directory = self._any(inode), self._directory(parent)
        node = self.both.model._nodes.get(self.both.expected.inodes[index])
        if node is not None and node.is_directory and not node.nlink:
            return  # when it became empty is open, and the copy would have that time

        def action(side: Side) -> Attr:
            attr: Attr = side.fs.clone(side.inodes[index], side.inodes[directory], name, replace, caller)
            return attr

        above = self.both.model._nodes.get(self.both.expected.inodes[directory])
        any_error = above is None or not above.is_directory or not above.nlink
        if self.both.attr(action, settle=True, any_error=any_error) is not None:
            self.both.compare_trees()

    @rule(parent=PICK, name=NAMES, caller=CALLERS)
    def remove_tree(self, parent: int, name: bytes, caller: Caller) -> None:
        directory, name = self._entry(parent, name)
        self.both.same(
            lambda side: side.fs.remove_tree(side.inodes[directory], name, caller),
            settle=True,
            any_error=self._two_wrongs(directory, name),
        )

    # --- listings --------------------------------------------------------------------

    @rule(parent=PICK)
    def opendir(self, parent: int) -> None:
        directory = self._directory(parent)
        results = self.both.call(lambda side: side.fs.opendir(side.inodes[directory]))
        if results is not None:
            handle = self.both.add_handle(*results)
            node = self.both.model._nodes[self.both.expected.inodes[directory]]
            self.listings.append(OpenListing(handle, node))

    @precondition(lambda self: self.listings)
    @rule(pick=PICK, taken=st.integers(1, 5))
    def readdir(self, pick: int, taken: int) -> None:
        listing = self.listings[pick % len(self.listings)]
        fs = self.both.real.fs
        entries: list[Any] = fs.readdir(self.both.real.handles[listing.handle], listing.cookie)
        if entries:
            listing.take(entries[:taken])
            return
        listing.check_end()
        self.listings.remove(listing)
        self.both.same(lambda side: side.fs.closedir(side.handles[listing.handle]))
        self.both.drop_handle(listing.handle)

    # --- the drive -------------------------------------------------------------------

    @rule()
    def sync(self) -> None:
        self.both.same(lambda side: side.fs.sync())

    @rule()
    def seal(self) -> None:
        self.drive.seal()

    @rule()
    def publish_changes(self) -> None:
        self.drive.publish()

    @rule(kinds=st.lists(st.tuples(st.sampled_from(MEANWHILE), PICK, PICK, NAMES), max_size=8))
    def publish_meanwhile(self, kinds: list[tuple[str, int, int, bytes]]) -> None:
        """Names come and go between the sealings of one publication."""
        waiting = list(kinds)

        def next_deed() -> None:
            if waiting:
                self._do(*waiting.pop(0))

        with self.drive.meanwhile(next_deed):
            self.drive.publish()

    def _do(self, kind: str, pick: int, other: int, name: bytes) -> None:
        """Nothing that is gone is tried, for what is gone for good shows only after the housekeeping."""
        pick, other = min(pick, 14), min(other, 14)
        if kind == "create":
            self.create(pick, name, 0o644, os.O_RDWR, ROOT_CALLER)
        elif kind == "mkdir":
            self.mkdir(pick, name, 0o755, ROOT_CALLER)
        elif kind == "write":
            self.write_whole(pick, os.O_WRONLY, other * 300, 700)
        elif kind == "rename":
            self.rename((pick, other), (name, name), True, RenameFlags.NONE, ROOT_CALLER)
        elif kind == "unlink":
            self.unlink(pick, name, ROOT_CALLER)
        elif kind == "chmod":
            self.set_attributes(pick, 0o640 + other % 8, None, None, (None, None), ROOT_CALLER)

    @rule()
    def compare(self) -> None:
        self.both.compare_trees()

    @rule()
    def drop_caches(self) -> None:
        self.drive.drop_caches()

    @rule()
    def reopen(self) -> None:
        self.files.clear()
        self.listings.clear()
        self.both.reopen()
        self.both.compare_trees()
