"""Mounting, ending well and ending badly."""

import errno
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cryptdrive.errors import Busy, MountpointError
from cryptdrive.fuse.mountpoint import (
    check_mountpoint,
    is_dead,
    unmount,
    who_holds,
)
from cryptdrive.fuse.mountpoint import (
    mounted_at as mount_there,
)
from tests.e2e.conftest import FILE_SYSTEM
from tests.e2e.fuse_support import PROJECT, Mounted, clean_up, mounted_at, run, start

SLEEPER = "import sys; print('ready', flush=True); sys.stdin.read()"


@pytest.fixture
def begin(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Mounted]:
    """Mounts at ``tmp_path/mount``; every mount is taken away at the end."""

    def mount(options: str = "", kind: str = FILE_SYSTEM) -> Mounted:
        mounted = start(kind, tmp_path / "mount", tmp_path / "vault", options)
        request.addfinalizer(lambda: clean_up(mounted))
        return mounted

    return mount


Begin = Callable[..., Mounted]


@contextmanager
def held(command: str, folder: Path) -> Iterator[int]:
    """A program that uses ``folder`` until the end of the block; its process id."""
    process = subprocess.Popen(
        [sys.executable, "-c", command + SLEEPER], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
    finally:
        process.communicate()


# --- the mount itself --------------------------------------------------------------------


def test_how_it_is_shown(begin: Begin) -> None:
    mounted = begin("fsname=my drive")
    there = mount_there(str(mounted.path))
    assert there is not None
    assert (there.kind, there.source, there.is_fuse) == ("fuse.cryptdrive", "my drive", True)
    line = next(line for line in Path("/proc/mounts").read_text().splitlines() if str(mounted.path) in line)
    words = line.split()[3].split(",")
    assert {"rw", "nosuid", "nodev", "default_permissions", "allow_other"} <= set(words)


def test_devices_and_set_user_id_on_demand(begin: Begin) -> None:
    mounted = begin("dev,suid,noexec")
    os.mknod(mounted.path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert (mounted.path / "null").read_bytes() == b""
    flags = os.statvfs(mounted.path).f_flag
    assert not flags & (os.ST_NOSUID | os.ST_NODEV)
    assert flags & os.ST_NOEXEC


def test_read_only(begin: Begin) -> None:
    mounted = begin("ro")
    with pytest.raises(OSError, match="Read-only file system"):
        (mounted.path / "file").touch()


def test_shown_owner_and_mode(begin: Begin) -> None:
    mounted = begin("uid=1234,gid=4321,umask=027")
    (mounted.path / "folder").mkdir(mode=0o777)
    (mounted.path / "file").write_text("content")
    (mounted.path / "file").chmod(0o777)
    for path in (mounted.path, mounted.path / "folder", mounted.path / "file"):
        status = path.stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 4321, 0o750)


def test_a_bad_option_is_refused(begin: Begin) -> None:
    with pytest.raises(AssertionError, match="ConfigError: unknown mount option: colour"):
        begin("colour=blue")


def test_a_mountpoint_that_is_taken(begin: Begin, tmp_path: Path) -> None:
    mounted = begin()
    with pytest.raises(AssertionError, match=r"MountpointError: .* is mounted there already"):
        start(FILE_SYSTEM, tmp_path / "mount", tmp_path / "other")
    (mounted.path / "still").touch()


def test_a_mountpoint_that_holds_files(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    (tmp_path / "mount" / "file").touch()
    with pytest.raises(AssertionError, match=r"MountpointError: .* is not empty"):
        begin()
    mounted = begin("nonempty")
    assert os.listdir(mounted.path) == []
    mounted.stop()
    assert os.listdir(mounted.path) == ["file"]


IN_ONE_PROCESS = """
import os, sys
from cryptdrive.fuse.mount import MountOptions, serve, stop
from tests.model.clock import ManualClock
from tests.model.posix import PosixModel

def mount(place, ready):
    try:
        serve(PosixModel(ManualClock()), place, MountOptions(), ready)
    except Exception as error:
        print(type(error).__name__, error)

one, two = sys.argv[1:]
mount(one, lambda: (mount(two, print), stop()))
mount(one, lambda: 1 / 0)
print(os.path.ismount(one), os.path.ismount(two))
mount(two, stop)
"""


def test_one_mount_at_a_time_in_a_process(tmp_path: Path) -> None:
    """And an error of the caller's takes the mount away."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    answer = run(sys.executable, "-c", IN_ONE_PROCESS, tmp_path / "one", tmp_path / "two", cwd=PROJECT)
    assert answer.splitlines() == [
        "Busy this process has mounted a drive already",
        "ZeroDivisionError division by zero",
        "False False",
    ]


# --- without root ------------------------------------------------------------------------

AS_USER = """
import os, sys, threading
import cryptdrive.fuse.session, concurrent.futures.thread
from cryptdrive.errors import MountpointError
from cryptdrive.fuse.mount import MountOptions, serve, stop, with_option_text
from tests.model.clock import ManualClock
from tests.model.posix import PosixModel

place, options = sys.argv[1], with_option_text(MountOptions(), sys.argv[2])
os.chdir("/")
os.setgroups([])
os.setresgid(*[65534] * 3)
os.setresuid(*[65534] * 3)

def use():
    open(place + "/file", "w").write("content")
    print(os.listdir(place), os.stat(place + "/file").st_uid)
    stop()

try:
    serve(PosixModel(ManualClock(), uid=65534, gid=65534), place, options, threading.Thread(target=use).start)
    print("mounted" if os.path.ismount(place) else "unmounted")
except MountpointError as error:
    print(error)
"""


def as_user(tmp_path: Path, owner: int, options: str = "") -> str:
    """What a program of an ordinary user says, with a /dev/fuse as distributions have it."""
    device = tmp_path / "fuse"
    os.mknod(device, stat.S_IFCHR, os.makedev(10, 229))
    device.chmod(0o666)
    place = Path(tempfile.mkdtemp(prefix="cryptdrive-test-", dir="/tmp"))  # its parents are everybody's
    place.chmod(0o755)
    os.chown(place, owner, owner)
    script = 'mount --bind "$1" /dev/fuse && shift && exec "$@"'
    program = (sys.executable, "-c", AS_USER, place, options)
    try:
        return run("unshare", "-m", "sh", "-c", script, "sh", device, *program, cwd=PROJECT)
    finally:
        place.rmdir()


def test_an_ordinary_user_mounts(tmp_path: Path) -> None:
    assert as_user(tmp_path, owner=65534) == "['file'] 65534\nunmounted\n"


def test_what_libfuse_says_is_passed_on(tmp_path: Path) -> None:
    """The reason, not only that it failed."""
    answer = as_user(tmp_path, owner=0)
    assert "could not be mounted: fusermount3: user has no write access to mountpoint" in answer


def test_allow_other_by_an_ordinary_user(tmp_path: Path) -> None:
    configuration = Path("/etc/fuse.conf")
    if configuration.exists() and re.search("^user_allow_other", configuration.read_text(), re.MULTILINE):
        assert "unmounted" in as_user(tmp_path, owner=65534, options="allow_other")
    else:
        assert "'user_allow_other' in /etc/fuse.conf" in as_user(tmp_path, 65534, "allow_other")


# --- ending well -------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_unmounts(begin: Begin, number: signal.Signals) -> None:
    mounted = begin()
    (mounted.path / "file").write_text("content")
    mounted.process.send_signal(number)
    assert mounted.process.wait(20) == 0
    assert mount_there(str(mounted.path)) is None
    assert mounted.errors() == ""


@pytest.mark.parametrize("command", [("umount",), ("fusermount3", "-u")])
def test_unmounted_by_others(begin: Begin, command: tuple[str, ...]) -> None:
    mounted = begin()
    run(*command, mounted.path)
    assert mounted.process.wait(20) == 0
    assert mounted.errors() == ""


def test_unmount(begin: Begin) -> None:
    mounted = begin()
    unmount(mounted.path)
    assert mounted.process.wait(20) == 0
    with pytest.raises(MountpointError, match="nothing is mounted"):
        unmount(mounted.path)


def test_mapped_pages_are_written_before_the_end(begin: Begin) -> None:
    """A program maps a file, changes it and stays, while the drive is stopped."""
    mounted = begin()
    (mounted.path / "file").write_bytes(b"a" * 10_000)
    change = "import mmap, os; f = os.open('file', os.O_RDWR); m = mmap.mmap(f, 0); m[5000:5003] = b'new'\n"
    with held(change, mounted.path):
        mounted.process.terminate()
        end = time.monotonic() + 20
        while mount_there(str(mounted.path)) is not None:
            assert time.monotonic() < end
            time.sleep(0.05)
        content = mounted.elsewhere("read", "/file")  # the drive is still open behind the mount
        assert content[4999:5004] == "anewa"
    assert mounted.process.wait(20) == 0


def test_a_stopped_drive_does_not_wait_for_its_users_for_ever(begin: Begin) -> None:
    mounted = begin()
    with held("f = open('file', 'w'); ", mounted.path) as program:
        started = time.monotonic()
        mounted.process.terminate()
        assert mounted.process.wait(30) == 0
        assert time.monotonic() - started < 20
    assert mount_there(str(mounted.path)) is None
    assert f"({program})" in mounted.errors()


# --- busy --------------------------------------------------------------------------------


def test_a_busy_mount_names_its_users(begin: Begin) -> None:
    mounted = begin()
    (mounted.path / "folder").mkdir()
    (mounted.path / "file").write_text("content")
    reading = "import os; f = open('file'); os.chdir('/'); "
    with held("", mounted.path / "folder") as inside, held(reading, mounted.path) as reader:
        with pytest.raises(Busy, match="is in use by") as caught:
            unmount(mounted.path)
        assert f"({inside})" in str(caught.value)
        assert f"({reader})" in str(caught.value)
        assert [pid for pid, _ in who_holds(mounted.path)] == sorted((inside, reader))
        (mounted.path / "still").touch()
    unmount(mounted.path)
    assert mounted.process.wait(20) == 0


def test_a_lazy_unmount(begin: Begin) -> None:
    mounted = begin()
    with (mounted.path / "file").open("w+") as file:
        unmount(mounted.path, lazy=True)
        assert mount_there(str(mounted.path)) is None
        assert os.listdir(mounted.path) == []
        file.write("still works")
        file.flush()
        assert mounted.elsewhere("read", "/file") == "still works"
        assert mounted.process.poll() is None
    assert mounted.process.wait(20) == 0


# --- ending badly ------------------------------------------------------------------------


def test_a_dead_mount_is_recognised_and_cleared(begin: Begin, caplog: pytest.LogCaptureFixture) -> None:
    mounted = begin()
    mounted.kill()
    place = str(mounted.path)
    assert is_dead(place)
    with pytest.raises(OSError) as caught:
        os.listdir(place)
    assert caught.value.errno == errno.ENOTCONN
    assert check_mountpoint(place) is True
    assert "cleared a mount that was left at" in caplog.text
    assert not is_dead(place)
    assert mount_there(place) is None
    assert check_mountpoint(place) is False


def test_mounting_over_a_dead_mount(begin: Begin, tmp_path: Path) -> None:
    begin().kill()
    again = begin()
    (again.path / "file").touch()
    assert "cleared a mount that was left at" in again.errors()
    again.stop()


def test_a_dead_mount_that_is_busy(begin: Begin) -> None:
    mounted = begin()
    with held("", mounted.path):
        mounted.kill()
        assert check_mountpoint(mounted.path) is True


def test_an_aborted_connection_ends_the_process(begin: Begin, tmp_path: Path) -> None:
    """As ``echo 1 > /sys/fs/fuse/connections/N/abort`` does to hanging mounts."""
    mounted = begin()
    control = tmp_path / "control"
    control.mkdir()
    run("mount", "-t", "fusectl", "none", control)
    try:
        (control / str(os.minor(os.stat(mounted.path).st_dev)) / "abort").write_text("1")
    finally:
        run("umount", control)
    mounted.process.wait(20)
    check_mountpoint(mounted.path)


def test_the_tests_leave_no_mount(tmp_path: Path) -> None:
    with (
        mounted_at(FILE_SYSTEM, tmp_path / "mount", tmp_path / "vault") as mounted,
        held("", mounted.path),
    ):
        clean_up(mounted)
        assert mount_there(str(tmp_path / "mount")) is None
