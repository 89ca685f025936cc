"""The model does what this machine's Linux does: the same operations on both, and the same tree."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptdrive.errors import FileError, Invalid
from cryptdrive.vfs.values import Caller
from tests.model.clock import ManualClock
from tests.model.posix import PosixModel
from tests.model.replay import LinuxReplay, ModelReplay, Replay, translated

Operation = tuple[str, tuple[object, ...]]

IS_ROOT = os.geteuid() == 0

NAMES = st.sampled_from([b"a", b"b", b"c"])
LAST_NAMES = st.sampled_from([b"a", b"b", b"c"] * 8 + [b".", b"..", b"n" * 255, b"n" * 256])


@st.composite
def paths(draw: st.DrawFn) -> bytes:
    """Paths of up to three names; ``..`` only below a name, so that none leaves the folder."""
    above = draw(st.lists(NAMES, max_size=2))
    last = draw(LAST_NAMES)
    return b"/".join([*above, b"a" if last == b".." and not above else last])


# The owner may always do everything, so that who runs the tests makes no difference.
MODES = st.sampled_from([0o700, 0o755, 0o777, 0o4755, 0o2755, 0o6711, 0o2745, 0o1700])
DIRECTORY_MODES = st.sampled_from([0o700, 0o755, 0o777, 0o1755])
IDS = st.sampled_from([0, 1, 1234])
OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    st.tuples(st.just("create"), st.tuples(paths(), MODES, st.sampled_from([0, os.O_EXCL, os.O_TRUNC]))),
    st.tuples(st.just("write"), st.tuples(paths(), st.integers(0, 9000), st.binary(max_size=20))),
    st.tuples(st.just("append"), st.tuples(paths(), st.binary(max_size=20))),
    st.tuples(st.just("truncate"), st.tuples(paths(), st.integers(0, 9000))),
    st.tuples(st.just("mkdir"), st.tuples(paths(), DIRECTORY_MODES)),
    st.tuples(st.just("mkdir"), st.tuples(paths(), DIRECTORY_MODES)),
    st.tuples(st.just("mkfifo"), st.tuples(paths(), MODES)),
    st.tuples(st.just("symlink"), st.tuples(paths(), st.sampled_from([b"a", b"a/b", b"b"]))),
    st.tuples(st.just("link"), st.tuples(paths(), paths())),
    st.tuples(st.just("unlink"), st.tuples(paths())),
    st.tuples(st.just("rmdir"), st.tuples(paths())),
    st.tuples(st.just("rename"), st.tuples(paths(), paths(), st.sampled_from([0, 0, 1, 2]))),
    st.tuples(st.just("rename"), st.tuples(paths(), paths(), st.sampled_from([0, 0, 1, 2]))),
    st.tuples(st.just("chmod"), st.tuples(paths(), MODES)),
    st.tuples(st.just("chown"), st.tuples(paths(), IDS, IDS)) if IS_ROOT else st.nothing(),
    st.tuples(
        st.just("setxattr"),
        st.tuples(
            paths(),
            st.sampled_from([b"user.x", b"user.y", b"user."]),
            st.binary(max_size=9),
            st.integers(0, 3),
        ),
    ),
    st.tuples(st.just("removexattr"), st.tuples(paths(), st.sampled_from([b"user.x", b"user.y"]))),
)


@pytest.fixture(scope="module", autouse=True)
def _no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on a file system that counts a directory's links as POSIX has it, and has attributes."""
    for parent in (tmp_path_factory.mktemp("linux"), Path("/dev/shm")):
        with tempfile.TemporaryDirectory(prefix="cryptdrive-test-", dir=parent) as name:
            top = Path(name)
            (top / "directory").mkdir()
            if top.stat().st_nlink == 3 and _takes_xattrs(top):
                yield top
                return
    pytest.skip("no local file system with attributes and link counts of directories")


def _takes_xattrs(top: Path) -> bool:
    try:
        os.setxattr(top, b"user.probe", b"1")
    except OSError:
        return False
    return True


def _pair(folder: Path) -> tuple[LinuxReplay, ModelReplay]:
    """An empty folder and an empty model that look the same."""
    top = Path(tempfile.mkdtemp(dir=folder))
    top.chmod(0o755)
    model = PosixModel(ManualClock(), uid=os.geteuid(), gid=os.getegid())
    return LinuxReplay(top), ModelReplay(model, Caller(os.geteuid(), os.getegid()))


def _outcome(replay: Replay, operation: Operation) -> type[FileError] | None:
    name, arguments = operation
    try:
        getattr(replay, name)(*arguments)
    except OSError as error:
        return type(translated(error))
    except FileError as error:
        return type(error)
    return None


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations=st.lists(OPERATIONS, max_size=50))
def test_random_operations_leave_the_same_tree(folder: Path, operations: list[Operation]) -> None:
    linux, model = _pair(folder)
    for operation in operations:
        assert _outcome(model, operation) == _outcome(linux, operation), operation
        assert model.tree() == linux.tree(), operation


def _populate(replay: Replay) -> None:
    replay.mkdir(b"d", 0o755)
    replay.mkdir(b"e", 0o755)
    replay.mkdir(b"d/sub", 0o755)
    replay.create(b"f", 0o644, 0)
    replay.write(b"f", 0, b"12345")
    replay.create(b"d/g", 0o644, 0)
    replay.link(b"f", b"hard")
    replay.symlink(b"s", b"f")


WATCHED = [b"", b"d", b"e", b"d/sub", b"f", b"hard", b"d/g", b"s"]
STAMPED: list[Operation] = [
    ("create", (b"new", 0o644, 0)),
    ("create", (b"f", 0o644, 0)),
    ("create", (b"f", 0o644, os.O_TRUNC)),
    ("write", (b"f", 0, b"x")),
    ("write", (b"f", 0, b"")),
    ("append", (b"f", b"x")),
    ("truncate", (b"f", 2)),
    ("truncate", (b"f", 5)),
    ("truncate", (b"f", 100)),
    ("mkdir", (b"new", 0o755)),
    ("mkfifo", (b"new", 0o644)),
    ("symlink", (b"new", b"f")),
    ("link", (b"f", b"e/new")),
    ("unlink", (b"hard",)),
    ("unlink", (b"d/g",)),
    ("rmdir", (b"d/sub",)),
    ("rename", (b"f", b"new", 0)),
    ("rename", (b"f", b"e/new", 0)),
    ("rename", (b"f", b"hard", 0)),
    ("rename", (b"f", b"f", 0)),
    ("rename", (b"f", b"d/g", 0)),
    ("rename", (b"hard", b"d/g", 0)),
    ("rename", (b"d/sub", b"e", 0)),
    ("rename", (b"d/sub", b"e/sub", 0)),
    ("rename", (b"f", b"d/g", 2)),
    ("rename", (b"f", b"hard", 2)),
    ("rename", (b"d/sub", b"s", 2)),
    ("chmod", (b"f", 0o600)),
    ("chmod", (b"d", 0o700)),
    ("chown", (b"f", os.geteuid(), os.getegid())),
    ("setxattr", (b"f", b"user.x", b"1", 0)),
    ("setxattr", (b"d", b"user.x", b"1", 0)),
]


@pytest.mark.parametrize(
    "operation", STAMPED, ids=lambda operation: "-".join(map(str, (operation[0], *operation[1])))
)
def test_the_same_times_change(folder: Path, operation: Operation) -> None:
    linux, model = _pair(folder)
    _populate(linux)
    _populate(model)
    linux_before, model_before = _times(linux), _times(model)
    # The kernel's stamps move with its tick, every 1 to 10 ms.
    time.sleep(0.021)
    clock = model.model._clock
    assert isinstance(clock, ManualClock)
    clock.advance()
    assert _outcome(linux, operation) is None
    assert _outcome(model, operation) is None
    assert _changed(model_before, _times(model)) == _changed(linux_before, _times(linux))


Times = dict[bytes, tuple[int, int, int]]


def _times(replay: Replay) -> Times:
    present = replay.tree()
    return {path: replay.times(path) for path in WATCHED if path in present}


def _changed(before: Times, after: Times) -> dict[bytes, tuple[bool, bool]]:
    """For each watched path that means the same inode as before: whether mtime, whether ctime moved."""
    return {
        path: (before[path][1] != after[path][1], before[path][2] != after[path][2])
        for path in before
        if path in after and before[path][0] == after[path][0]
    }


def test_what_a_write_clears(folder: Path) -> None:
    linux, model = _pair(folder)
    for replay in (linux, model):
        for number, mode in enumerate([0o4755, 0o2755, 0o2745, 0o6711]):
            replay.create(b"%d" % number, mode, 0)
            replay.write(b"%d" % number, 0, b"x")
    assert model.tree() == linux.tree()


@pytest.mark.skipif(not IS_ROOT, reason="only root gives files away and changes who it is")
def test_what_another_users_write_clears(folder: Path) -> None:
    linux, model = _pair(folder)
    writer = ModelReplay(model.model, Caller(1234, 1234))
    for number, mode in enumerate([0o4777, 0o2777, 0o6777]):
        path = b"%d" % number
        for replay in (linux, model):
            replay.create(path, 0, 0)
            replay.chown(path, 1234, 1234)
            replay.chmod(path, mode)
        writer.write(path, 0, b"x")
        _write_as(1234, linux, path)
    assert model.tree() == linux.tree()


def _write_as(user: int, linux: LinuxReplay, path: bytes) -> None:
    """In a child, because the capabilities of a process are hard to win back; from inside the folder."""
    child = os.fork()
    if child == 0:
        try:
            os.chdir(linux.top)
            os.setgid(user)
            os.setuid(user)
            LinuxReplay(Path(".")).write(path, 0, b"x")
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_exchange_excludes_noreplace(folder: Path) -> None:
    for replay in _pair(folder):
        replay.create(b"a", 0o644, 0)
        replay.create(b"b", 0o644, 0)
        assert _outcome(replay, ("rename", (b"a", b"b", 3))) is Invalid


@pytest.mark.parametrize("length", [4095, 4096])
def test_length_of_a_links_target(folder: Path, length: int) -> None:
    linux, model = _pair(folder)
    operation: Operation = ("symlink", (b"s", b"t" * length))
    assert _outcome(model, operation) == _outcome(linux, operation)
    assert model.tree() == linux.tree()
