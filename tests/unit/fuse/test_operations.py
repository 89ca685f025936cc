"""The handlers over the in-memory model, without a kernel."""

import errno
import inspect
import logging
import os
import stat
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pyfuse3
import pytest
import trio

from cryptdrive.errors import BadHandle, CryptdriveError, Integrity, Stale, StoreTimeout
from cryptdrive.fuse.encoding import Presentation
from cryptdrive.fuse.operations import Operations
from cryptdrive.fuse.options import MountOptions
from cryptdrive.fuse.references import KernelReferences
from cryptdrive.types import InodeNumber
from cryptdrive.vfs.values import Caller, Event
from cryptdrive.waiting import before_waiting
from tests.model.clock import ManualClock
from tests.model.posix import PosixModel

ROOT = 1
SECRET = "secret-" + "name"


class Context:
    """As RequestContext, which cannot be filled from Python."""

    uid = 1000
    gid = 100
    pid = 4711
    umask = 0o027


class Mount:
    """Handlers, what they stand on, and a kernel that only takes listings."""

    def __init__(self) -> None:
        self.fs = PosixModel(ManualClock())
        self.references = KernelReferences(self.fs)
        self.old_pages: set[InodeNumber] = set()
        self.operations: Any = Operations(
            self.fs, Presentation(MountOptions()), self.references, self.old_pages.__contains__
        )
        self.listed: list[tuple[bytes, int, int]] = []
        self.room = 1 << 30

    def call(self, name: str, *arguments: object) -> Any:
        """The result of one handler, run as pyfuse3 does."""

        async def run() -> Any:
            return await getattr(self.operations, name)(*arguments)

        return trio.run(run)

    def readdir_reply(self, _token: object, name: bytes, attr: pyfuse3.EntryAttributes, next_id: int) -> bool:
        if len(self.listed) >= self.room:
            return False
        self.listed.append((name, attr.st_ino, next_id))
        return True

    def list(self, handle: int, start: int = 0) -> list[tuple[bytes, int, int]]:
        self.listed = []
        self.call("readdir", handle, start, None)
        return self.listed

    def references_to(self, inode: int) -> int:
        return self.fs._nodes[InodeNumber(inode)].references


@pytest.fixture
def mount(monkeypatch: pytest.MonkeyPatch) -> Mount:
    made = Mount()
    monkeypatch.setattr(pyfuse3, "readdir_reply", made.readdir_reply)
    return made


def errno_when(call: Callable[[], object]) -> int:
    with pytest.raises(pyfuse3.FUSEError) as caught:
        call()
    return caught.value.errno


# --- the wrapping ------------------------------------------------------------------------


def handlers() -> Iterator[tuple[str, Callable[..., Coroutine[Any, Any, object]]]]:
    for name, method in vars(Operations).items():
        if inspect.iscoroutinefunction(method) and hasattr(pyfuse3.Operations, name):
            yield name, method


def test_every_handler_but_forget_is_wrapped() -> None:
    names = {name for name, _ in handlers()}
    assert {"lookup", "create", "rename", "readdir", "write", "setxattr", "statfs"} <= names
    assert [name for name, method in handlers() if not hasattr(method, "__wrapped__")] == ["forget"]


def test_what_is_not_there_is_left_to_pyfuse3() -> None:
    absent = {
        name
        for name, method in vars(pyfuse3.Operations).items()
        if inspect.iscoroutinefunction(method) and name not in vars(Operations)
    }
    assert absent == {"access", "poll"}  # answered ENOSYS: the kernel does both itself


@pytest.mark.parametrize("name", [name for name, _ in handlers() if name != "forget"])
def test_an_unexpected_error_is_eio_and_names_nothing(
    mount: Mount, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def __getattr__(self, _: str) -> object:
            raise KeyError(SECRET)

    mount.operations._fs = mount.operations._references = mount.operations._syncs._fs = Broken()
    method = getattr(mount.operations, name)
    wanted = len(inspect.signature(method.__wrapped__).parameters) - 1
    arguments: list[object] = [0] * wanted
    if inspect.signature(method).parameters.get("ctx"):
        arguments[-1] = Context()
    with caplog.at_level(logging.INFO):
        assert errno_when(lambda: mount.call(name, *arguments)) == errno.EIO
    assert "secret-name" not in caplog.text
    assert f"{name} failed unexpectedly" in caplog.text
    assert "operations.py" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


@pytest.mark.parametrize(
    ("error", "expected", "logged"),
    [
        (Stale("gone"), errno.ESTALE, False),
        (Integrity("secret-name"), errno.EIO, True),
        (StoreTimeout("secret-name"), errno.ETIMEDOUT, True),
    ],
)
def test_typed_errors_become_errno(
    mount: Mount, error: CryptdriveError, expected: int, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise error

    mount.fs.getattr = refuse  # type: ignore[method-assign, assignment]
    with caplog.at_level(logging.INFO):
        assert errno_when(lambda: mount.call("getattr", ROOT, Context())) == expected
    assert (f"getattr failed: {type(error).__name__}" in caplog.text) == logged
    assert "secret-name" not in caplog.text


def test_forget_never_raises(mount: Mount) -> None:
    def broken(*_: object) -> None:
        raise ValueError

    mount.fs.release = broken  # type: ignore[method-assign]
    attr = mount.call("mkdir", ROOT, b"d", 0o755, Context())
    mount.call("forget", [(attr.st_ino, 1), (99, 5), (0, 0)])


# --- in the loop or in a thread ----------------------------------------------------------


def test_what_needs_no_waiting_runs_in_the_loop(mount: Mount) -> None:
    threads: list[int] = []
    getattr_of_model = mount.fs.getattr

    def noting(inode: InodeNumber) -> object:
        threads.append(threading.get_ident())
        return getattr_of_model(inode)

    mount.fs.getattr = noting  # type: ignore[method-assign, assignment]
    mount.call("getattr", ROOT, Context())
    assert threads == [threading.get_ident()]


def test_what_would_wait_runs_again_in_a_thread(mount: Mount) -> None:
    threads: list[int] = []
    mkdir_of_model = mount.fs.mkdir

    def waiting(*arguments: Any) -> object:
        threads.append(threading.get_ident())
        before_waiting()
        return mkdir_of_model(*arguments)

    mount.fs.mkdir = waiting  # type: ignore[method-assign, assignment]
    attr = mount.call("mkdir", ROOT, b"d", 0o755, Context())
    assert threads[0] == threading.get_ident()
    assert len(threads) == 2
    assert threads[1] != threads[0]
    assert mount.references_to(attr.st_ino) == 1


def test_an_error_in_the_thread_is_translated(mount: Mount) -> None:
    def waiting(*_: object) -> None:
        before_waiting()
        raise BadHandle

    mount.fs.read = waiting  # type: ignore[method-assign, assignment]
    assert errno_when(lambda: mount.call("read", 1, 0, 10)) == errno.EBADF


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", ["fsync", "fsyncdir"])
def test_fsync_runs_in_the_loop_only_if_it_is_quick(mount: Mount, name: str, quick: bool) -> None:
    calls: list[tuple[bool, bool, int]] = []

    def noting(_handle: int, data_only: bool, point: int) -> None:
        calls.append((threading.get_ident() == loop_thread, data_only, point))

    loop_thread = threading.get_ident()
    mount.fs.sync_point = lambda: 7  # type: ignore[method-assign]
    mount.fs.save_quickly = lambda point: quick and point == 7  # type: ignore[method-assign]
    mount.fs.fsync = noting  # type: ignore[method-assign, assignment]
    for _ in range(2):
        mount.call(name, 1, True)
    assert calls == [(quick, True, 7)] * 2


def test_many_fsyncs_share_one_save(mount: Mount) -> None:
    saved: list[int] = []
    points = iter(range(1, 100))

    def save_quickly(point: int) -> bool:
        saved.append(point)
        return True

    mount.fs.sync_point = lambda: next(points)  # type: ignore[method-assign]
    mount.fs.save_quickly = save_quickly  # type: ignore[method-assign]
    handles = [mount.call("create", ROOT, b"%d" % n, 0o644, os.O_RDWR, Context())[0].fh for n in range(8)]
    failures = []

    async def one(handle: int) -> None:
        try:
            await mount.operations.fsync(handle, False)
        except pyfuse3.FUSEError as error:
            failures.append(error.errno)

    async def all_of_them() -> None:
        async with trio.open_nursery() as nursery:
            for handle in (*handles, 999):
                nursery.start_soon(one, handle)

    trio.run(all_of_them)
    assert saved == [9]
    assert failures == [errno.EBADF]


# --- names -------------------------------------------------------------------------------


def test_lookup_counts_and_forget_gives_back(mount: Mount) -> None:
    made = mount.fs.mkdir(InodeNumber(ROOT), b"d", 0o755, Caller())
    for _ in range(3):
        assert mount.call("lookup", ROOT, b"d", Context()).st_ino == made.inode
    assert mount.references_to(made.inode) == 3
    mount.call("forget", [(made.inode, 2)])
    assert mount.references_to(made.inode) == 1


def test_a_missing_name_is_an_answer(mount: Mount) -> None:
    answer = mount.call("lookup", ROOT, b"nothing", Context())
    assert answer.st_ino == 0
    assert answer.entry_timeout > 0


@pytest.mark.parametrize(
    ("name", "arguments", "kind"),
    [
        ("mkdir", (b"n", 0o777), stat.S_IFDIR),
        ("mknod", (b"n", stat.S_IFREG | 0o777, 0), stat.S_IFREG),
        ("mknod", (b"n", stat.S_IFIFO | 0o777, 0), stat.S_IFIFO),
    ],
)
def test_new_names(mount: Mount, name: str, arguments: tuple[object, ...], kind: int) -> None:
    events: list[Event] = []
    mount.fs.subscribe(events.append)
    attr = mount.call(name, ROOT, *arguments, Context())
    assert attr.st_mode == kind | 0o750  # the umask is applied
    assert (attr.st_uid, attr.st_gid) == (1000, 100)
    assert mount.references_to(attr.st_ino) == 1
    assert {event.origin for event in events} == {"fuse"}


def test_links(mount: Mount) -> None:
    soft = mount.call("symlink", ROOT, b"soft", b"target", Context())
    assert mount.call("readlink", soft.st_ino, Context()) == b"target"
    hard = mount.call("link", soft.st_ino, ROOT, b"hard", Context())
    assert (hard.st_ino, hard.st_nlink) == (soft.st_ino, 2)
    assert mount.references_to(soft.st_ino) == 2
    mount.call("unlink", ROOT, b"soft", Context())
    assert mount.call("getattr", soft.st_ino, Context()).st_nlink == 1


def test_rename_with_unknown_flags(mount: Mount) -> None:
    mount.call("mkdir", ROOT, b"a", 0o755, Context())
    arguments = (ROOT, b"a", ROOT, b"b")
    assert errno_when(lambda: mount.call("rename", *arguments, 4, Context())) == errno.EINVAL
    mount.call("rename", *arguments, pyfuse3.RENAME_NOREPLACE, Context())
    assert mount.call("lookup", ROOT, b"b", Context()).st_ino != 0


# --- files -------------------------------------------------------------------------------


def test_create_write_read(mount: Mount) -> None:
    info, attr = mount.call("create", ROOT, b"f", 0o666, os.O_RDWR | os.O_CREAT, Context())
    assert attr.st_mode == stat.S_IFREG | 0o640
    assert mount.references_to(attr.st_ino) == 1
    assert mount.call("write", info.fh, 3, b"abc") == 3
    assert mount.call("read", info.fh, 0, 10) == b"\0\0\0abc"
    mount.call("flush", info.fh)
    mount.call("fsync", info.fh, False)
    mount.call("release", info.fh)
    assert errno_when(lambda: mount.call("read", info.fh, 0, 1)) == errno.EBADF
    assert mount.call("getattr", attr.st_ino, Context()).st_size == 6


def test_the_kernel_says_where_an_append_goes(mount: Mount) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    info, attr = mount.call("create", ROOT, b"f", 0o666, flags, Context())
    mount.call("write", info.fh, 0, b"0123456789")
    again = mount.call("open", attr.st_ino, os.O_RDWR | os.O_APPEND, Context())
    for handle in (info.fh, again.fh):  # as a page of a shared mapping comes
        mount.call("write", handle, 0, b"ab")
    assert mount.call("read", info.fh, 0, 20) == b"ab23456789"


def test_pages_are_kept_unless_they_may_be_old(mount: Mount) -> None:
    info, attr = mount.call("create", ROOT, b"f", 0o666, os.O_RDWR, Context())
    assert info.keep_cache
    assert mount.call("open", attr.st_ino, os.O_RDONLY, Context()).keep_cache
    mount.old_pages.add(attr.st_ino)
    assert not mount.call("open", attr.st_ino, os.O_RDONLY, Context()).keep_cache
    assert not mount.call("create", ROOT, b"f", 0o666, os.O_RDWR, Context())[0].keep_cache


def test_what_stays_open_is_closed_at_the_end(mount: Mount) -> None:
    info, _ = mount.call("create", ROOT, b"f", 0o666, os.O_RDWR, Context())
    directory = mount.call("opendir", ROOT, Context())
    mount.references.give_all_back()
    assert errno_when(lambda: mount.call("read", info.fh, 0, 1)) == errno.EBADF
    assert errno_when(lambda: mount.list(directory)) == errno.EBADF


# --- listings ----------------------------------------------------------------------------


def test_a_listing_begins_with_the_dots(mount: Mount) -> None:
    parent = mount.call("mkdir", ROOT, b"d", 0o755, Context())
    child = mount.call("mkdir", parent.st_ino, b"e", 0o755, Context())
    handle = mount.call("opendir", parent.st_ino, Context())
    listed = mount.list(handle)
    assert [(name, inode) for name, inode, _ in listed] == [
        (b".", parent.st_ino),
        (b"..", ROOT),
        (b"e", child.st_ino),
    ]
    assert mount.references_to(parent.st_ino) == 1  # the dots count for nothing
    assert mount.references_to(child.st_ino) == 2
    assert mount.list(handle, listed[-1][2]) == []
    mount.call("releasedir", handle)
    assert errno_when(lambda: mount.list(handle)) == errno.EBADF


@pytest.mark.parametrize("room", [1, 2, 3, 7, 1000])
def test_a_long_listing_in_pieces(mount: Mount, room: int) -> None:
    names = {b"n%d" % number for number in range(600 if room > 100 else 20)}
    for name in names:
        mount.fs.mknod(InodeNumber(ROOT), name, 0o644, 0, Caller())
    mount.room = room
    handle = mount.call("opendir", ROOT, Context())
    found: list[bytes] = []
    position = 0
    while piece := mount.list(handle, position):
        found += [name for name, _, _ in piece]
        position = piece[-1][2]
    assert found[:2] == [b".", b".."]
    assert sorted(found[2:]) == sorted(names)
    for name in names:  # what did not fit was not counted
        attr = mount.fs.lookup(InodeNumber(ROOT), name)
        assert mount.references_to(attr.inode) == 1


def test_an_entry_that_vanishes_while_it_is_listed(mount: Mount) -> None:
    for name in (b"a", b"b"):
        mount.fs.mknod(InodeNumber(ROOT), name, 0o644, 0, Caller())
    readdir_of_model = mount.fs.readdir

    def racing(*arguments: Any) -> object:
        entries = readdir_of_model(*arguments)
        if entries:
            mount.fs.unlink(InodeNumber(ROOT), b"a", Caller())
        return entries

    mount.fs.readdir = racing  # type: ignore[method-assign, assignment]
    handle = mount.call("opendir", ROOT, Context())
    assert [name for name, _, _ in mount.list(handle)] == [b".", b"..", b"b"]


def test_a_removed_directory_lists_nothing_more(mount: Mount) -> None:
    directory = mount.call("mkdir", ROOT, b"d", 0o755, Context())
    handle = mount.call("opendir", directory.st_ino, Context())
    mount.call("rmdir", ROOT, b"d", Context())
    assert b"d" not in [name for name, _, _ in mount.list(handle)]


# --- attributes --------------------------------------------------------------------------


def test_extended_attributes(mount: Mount) -> None:
    arguments = (ROOT, b"user.colour")
    mount.call("setxattr", *arguments, b"blue", Context())
    assert mount.call("getxattr", *arguments, Context()) == b"blue"
    assert list(mount.call("listxattr", ROOT, Context())) == [b"user.colour"]
    mount.call("removexattr", *arguments, Context())
    assert errno_when(lambda: mount.call("getxattr", *arguments, Context())) == errno.ENODATA
    acl = (ROOT, b"system.posix_acl_access")
    assert errno_when(lambda: mount.call("setxattr", *acl, b"x", Context())) == errno.EOPNOTSUPP


def test_statfs(mount: Mount) -> None:
    assert mount.call("statfs", Context()).f_namemax == 255
