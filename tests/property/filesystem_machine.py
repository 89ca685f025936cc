"""The rules by which a file system and the model are driven side by side."""

import os
import stat
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cryptdrive.types import HandleId
from cryptdrive.vfs.values import NOW, Attr, Caller, RenameFlags, SetAttr, XattrFlags
from tests.model.clock import ManualClock
from tests.model.listings import OpenListing
from tests.model.posix import PosixModel
from tests.model.side_by_side import Drive, Side, SideBySide

PICK = st.integers(0, 15)
GOOD_NAMES = [b"a", b"b", b"c", b"\xff\xfe\n", b"n" * 255]
NAMES = st.sampled_from(GOOD_NAMES * 4 + [b"n" * 256, b"x/y", b"nul\0", b""])
MODES = st.sampled_from([0o755, 0o644, 0o600, 0o000, 0o7777, 0o2755, 0o2745, 0o4711, 0o1777])
CALLERS = st.sampled_from([Caller(0, 0, "webdav"), Caller(1000, 1001, "fuse")])
PLACES = [0, 0, 0, 500, 4096, 65536, 1 << 20, 4 << 20, (1 << 32) + 5, 1 << 50, 1 << 62]
OFFSETS = st.builds(lambda place, step: place + step, st.sampled_from(PLACES), st.integers(0, 600))
END = (1 << 63) - 1
SIZES = st.one_of(OFFSETS, st.sampled_from([0, END, END + 1, -1]))
LENGTHS = st.one_of(st.integers(0, 1000), st.sampled_from([4096, 65536, 70_000, 300_000]))
TIMES = st.one_of(st.none(), st.sampled_from([NOW, 0, -1, 1_600_000_000_123_456_789]))
XATTR_NAMES = st.sampled_from(
    [
        b"user.a",
        b"user.b",
        b"trusted.c",
        b"security.d",
        b"user." + b"n" * 250,
        b"system.x",
        b"plain",
        b"user.",
    ]
)
XATTR_FLAGS = [XattrFlags.NONE, XattrFlags.NONE, XattrFlags.CREATE, XattrFlags.REPLACE]
ACCESS = st.sampled_from(
    [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_TRUNC]
)
CREATE = st.sampled_from([os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_EXCL, os.O_RDWR | os.O_TRUNC])
FILE_TYPES = st.sampled_from([0, stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK])


def pattern(seed: int, length: int) -> bytes:
    """Bytes without zeros that differ from place to place."""
    block = bytes((seed * 31 + place * 7) % 255 + 1 for place in range(251))
    return (block * (length // 251 + 1))[:length]


class FileSystemMachine(RuleBasedStateMachine):
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

    def make_drive(self, clock: ManualClock) -> Drive:
        """What is tried; subclasses say."""
        raise NotImplementedError

    def teardown(self) -> None:
        self.both.compare_trees()
        self.both.reopen()
        self.both.compare_trees()
        self.drive.close()

    @invariant()
    def attributes_agree(self) -> None:
        self.both.compare_attributes()
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

    def _file(self, pick: int) -> int:
        """Mostly a regular file, where there is one."""
        found = self._of_type(pick, stat.S_IFREG)
        return self._any(pick) if pick == 15 or found is None else found

    def _opened(self, results: tuple[HandleId, HandleId] | None) -> None:
        if results is not None:
            self.files.append(self.both.add_handle(*results))

    # --- names -----------------------------------------------------------------------

    @rule(parent=PICK, name=NAMES, mode=MODES, flags=CREATE, caller=CALLERS)
    def create(self, parent: int, name: bytes, mode: int, flags: int, caller: Caller) -> None:
        directory = self._directory(parent)
        results = self.both.call(
            lambda side: side.fs.create(side.inodes[directory], name, mode, flags | os.O_CREAT, caller)
        )
        if results is not None:
            (real, real_attr), (expected, expected_attr) = results
            self._opened((real, expected))
            self.both.learn(real_attr, expected_attr)

    @rule(parent=PICK, name=NAMES, kind=FILE_TYPES, mode=MODES, device=st.integers(0, 70000), caller=CALLERS)
    def mknod(self, parent: int, name: bytes, kind: int, mode: int, device: int, caller: Caller) -> None:
        directory = self._directory(parent)
        self.both.attr(lambda side: side.fs.mknod(side.inodes[directory], name, kind | mode, device, caller))

    @rule(parent=PICK, name=NAMES, mode=MODES, caller=CALLERS)
    def mkdir(self, parent: int, name: bytes, mode: int, caller: Caller) -> None:
        directory = self._directory(parent)
        self.both.attr(lambda side: side.fs.mkdir(side.inodes[directory], name, mode, caller))

    @rule(parent=PICK, name=NAMES, length=st.sampled_from([0, 1, 3, 512, 513, 4095, 4096]), caller=CALLERS)
    def symlink(self, parent: int, name: bytes, length: int, caller: Caller) -> None:
        directory, target = self._directory(parent), (b"a/../b/" * 600)[:length]
        self.both.attr(lambda side: side.fs.symlink(side.inodes[directory], name, target, caller))

    @rule(inode=PICK, parent=PICK, name=NAMES, caller=CALLERS)
    def link(self, inode: int, parent: int, name: bytes, caller: Caller) -> None:
        index, directory = self._any(inode), self._directory(parent)
        self.both.attr(lambda side: side.fs.link(side.inodes[index], side.inodes[directory], name, caller))

    @rule(parent=PICK, name=NAMES, caller=CALLERS)
    def unlink(self, parent: int, name: bytes, caller: Caller) -> None:
        directory = self._directory(parent)
        self.both.same(lambda side: side.fs.unlink(side.inodes[directory], name, caller))

    @rule(parent=PICK, name=NAMES, caller=CALLERS)
    def rmdir(self, parent: int, name: bytes, caller: Caller) -> None:
        directory = self._directory(parent)
        self.both.same(lambda side: side.fs.rmdir(side.inodes[directory], name, caller))

    @rule(
        parents=st.tuples(PICK, PICK),
        names=st.tuples(NAMES, NAMES),
        flags=st.sampled_from([RenameFlags.NONE] * 3 + [RenameFlags.NOREPLACE, RenameFlags.EXCHANGE]),
        caller=CALLERS,
    )
    def rename(
        self, parents: tuple[int, int], names: tuple[bytes, bytes], flags: RenameFlags, caller: Caller
    ) -> None:
        old, new = map(self._directory, parents)
        self.both.same(
            lambda side: side.fs.rename(side.inodes[old], names[0], side.inodes[new], names[1], flags, caller)
        )

    @rule(parent=PICK, name=st.one_of(NAMES, st.sampled_from([b".", b".."])))
    def lookup(self, parent: int, name: bytes) -> None:
        directory = self._directory(parent)
        self.both.attr(lambda side: side.fs.lookup(side.inodes[directory], name))

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
            lambda side: side.fs.publish(side.handles[handle], side.inodes[directory], name, replace, caller)
        )
        if index is not None:
            self.files.remove(handle)
            self.both.drop_handle(handle)

    @rule(inode=PICK, parent=PICK, name=NAMES, replace=st.booleans(), caller=CALLERS)
    def clone(self, inode: int, parent: int, name: bytes, replace: bool, caller: Caller) -> None:
        index, directory = self._any(inode), self._directory(parent)

        def action(side: Side) -> Attr:
            attr: Attr = side.fs.clone(side.inodes[index], side.inodes[directory], name, replace, caller)
            return attr

        copied = self.both.attr(action)
        self.drive.settle()
        if copied is not None:
            self.both.compare_trees()

    @rule(parent=PICK, name=NAMES, caller=CALLERS)
    def remove_tree(self, parent: int, name: bytes, caller: Caller) -> None:
        directory = self._directory(parent)
        self.both.same(lambda side: side.fs.remove_tree(side.inodes[directory], name, caller))
        self.drive.settle()

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
    def publish_changes(self) -> None:
        self.drive.publish()

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
