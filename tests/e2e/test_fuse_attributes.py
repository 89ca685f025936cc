"""Directories and attributes through a real mount, by system calls."""

import errno
import os
import stat
import sys
from pathlib import Path

import pytest

from tests.e2e.fuse_support import Mounted, as_nobody, refused, run

# --- directories -------------------------------------------------------------------------


def test_a_listing_has_the_dots(here: Path) -> None:
    (here / "inner").mkdir()
    listed = run("ls", "-ai", here / "inner").split()
    inodes = {listed[1]: int(listed[0]), listed[3]: int(listed[2])}
    assert inodes == {".": (here / "inner").stat().st_ino, "..": here.stat().st_ino}


def test_a_directory_of_5000_entries(here: Path) -> None:
    names = {f"entry {number:05}" for number in range(5000)}
    for name in names:
        os.close(os.open(here / name, os.O_CREAT | os.O_WRONLY))
    assert set(os.listdir(here)) == names
    with os.scandir(here) as listing:
        assert {entry.name for entry in listing if entry.stat().st_size == 0} == names
    run("rm", "-r", here)
    assert not here.exists()


def test_a_listing_while_entries_go_and_come(here: Path) -> None:
    for number in range(1000):
        (here / f"old{number}").touch()
    seen = []
    with os.scandir(here) as listing:
        for count, entry in enumerate(listing):
            seen.append(entry.name)
            if entry.name.startswith("old"):
                os.unlink(entry.path)
                if count < 500:
                    (here / f"new{count}").touch()
    assert sorted(name for name in seen if name.startswith("old")) == sorted(f"old{n}" for n in range(1000))
    assert len(set(seen)) == len(seen)


def test_rewinding_a_listing(here: Path) -> None:
    code = (
        "import ctypes; c = ctypes.CDLL(None); c.opendir.restype = c.readdir.restype = ctypes.c_void_p\n"
        "d = ctypes.c_void_p(c.opendir(b'.')); count = lambda: len(list(iter(lambda: c.readdir(d), None)))\n"
        "print(count(), count()); c.rewinddir(d); open('b', 'w').close(); c.rewinddir(d); print(count())"
    )
    (here / "a").touch()
    assert run(sys.executable, "-c", code, cwd=here).split() == ["3", "0", "4"]


@pytest.mark.slow
def test_a_directory_of_100000_entries(here: Path) -> None:
    names = {f"{number:06}" for number in range(100_000)}
    for name in names:
        os.close(os.open(here / name, os.O_CREAT | os.O_WRONLY))
    assert set(os.listdir(here)) == names
    os.unlink(here / "050000")
    os.rename(here / "060000", here / "new")
    assert set(os.listdir(here)) == names - {"050000", "060000"} | {"new"}
    run("rm", "-r", here)
    assert not here.exists()


# --- attributes --------------------------------------------------------------------------


def test_times_to_the_nanosecond(here: Path) -> None:
    path = here / "file"
    path.touch()
    for atime, mtime in [(1, 2), (-1, -999_999_999), (2**32 * 10**9, 2**33 * 10**9 + 999_999_999)]:
        os.utime(path, ns=(atime, mtime))
        status = path.stat()
        assert (status.st_atime_ns, status.st_mtime_ns) == (atime, mtime)
        assert status.st_ctime_ns > 1_600_000_000 * 10**9
    os.utime(path, ns=(0, 2**40 * 10**9))  # a silly time becomes the last that can be kept
    assert path.stat().st_mtime > 9 * 10**9


def test_modes_and_owners(here: Path) -> None:
    path = here / "file"
    path.touch()
    for mode in (0o000, 0o7777, 0o4711, 0o644):
        os.chmod(path, mode)
        assert stat.S_IMODE(path.stat().st_mode) == mode
    os.chown(path, 1234, 4_000_000_000)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4_000_000_000)
    os.chown(path, -1, 7)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 7)


def test_the_umask_counts(here: Path) -> None:
    code = "import os; os.umask(0o027); os.mkdir('d'); open('f', 'w'); os.mkfifo('p')"
    run(sys.executable, "-c", code, cwd=here)
    modes = [stat.S_IMODE((here / name).stat().st_mode) for name in ("d", "f", "p")]
    assert modes == [0o750, 0o640, 0o640]


def test_the_kernel_checks_permissions(here: Path) -> None:
    here.chmod(0o777)
    (here / "private").write_text("secret")
    (here / "private").chmod(0o600)
    code = (
        "for call in (lambda: open('private'), lambda: os.chmod('private', 0o777),\n"
        "             lambda: os.chown('.', 65534, 65534)):\n"
        "    try: call()\n"
        "    except PermissionError as error: print(error.errno)\n"
        "open('own', 'w').close(); print(os.stat('own').st_uid, os.stat('own').st_gid)"
    )
    assert as_nobody(code, here).split() == ["13", "1", "1", "65534", "65534"]


def test_set_user_id_goes_when_another_writes(here: Path) -> None:
    here.chmod(0o777)
    for call in ("open('f', 'r+').write('x')", "os.truncate('f', 0)", "open('f', 'w')"):
        (here / "f").write_text("content")
        (here / "f").chmod(0o6777)
        as_nobody(call, here)
        assert stat.S_IMODE((here / "f").stat().st_mode) == 0o777, call
    (here / "f").chmod(0o6777)
    os.chown(here / "f", 5, 5)
    assert stat.S_IMODE((here / "f").stat().st_mode) == 0o777


def test_set_group_id_directories(here: Path) -> None:
    os.chown(here, -1, 4321)
    here.chmod(0o2777)
    as_nobody("open('f', 'w'); os.mkdir('d')", here)
    assert ((here / "f").stat().st_uid, (here / "f").stat().st_gid) == (65534, 4321)
    assert (here / "d").stat().st_gid == 4321
    assert (here / "d").stat().st_mode & stat.S_ISGID


def test_sticky_directories(here: Path) -> None:
    here.chmod(0o1777)
    (here / "roots").touch()
    code = "try: os.unlink('roots')\nexcept PermissionError as error: print(error.errno)"
    assert as_nobody(code, here).strip() == "1"


def test_extended_attributes(here: Path) -> None:
    path = here / "file"
    path.touch()
    run("setfattr", "-n", "user.colour", "-v", "blue", path)
    run("setfattr", "-n", "trusted.overlay", "-v", "0x00ff", path)
    os.setxattr(path, "user.long", b"x" * 60_000)
    os.setxattr(path, "user.empty", b"")
    assert sorted(os.listxattr(path)) == ["trusted.overlay", "user.colour", "user.empty", "user.long"]
    assert os.getxattr(path, "user.long") == b"x" * 60_000
    assert os.getxattr(path, "user.empty") == b""
    assert 'user.colour="blue"' in run("getfattr", "-d", path)
    with refused(errno.EEXIST):
        os.setxattr(path, "user.colour", b"red", os.XATTR_CREATE)
    with refused(errno.ENODATA):
        os.setxattr(path, "user.shape", b"round", os.XATTR_REPLACE)
    os.setxattr(path, "user.colour", b"red", os.XATTR_REPLACE)
    run("setfattr", "-x", "user.colour", path)
    with refused(errno.ENODATA):
        os.getxattr(path, "user.colour")


def test_access_control_lists_are_refused(here: Path) -> None:
    (here / "file").touch()
    assert "Operation not supported" in run("setfacl", "-m", "u:nobody:r", here / "file", ok=False)
    with refused(errno.EOPNOTSUPP):
        os.setxattr(here / "file", "system.posix_acl_access", b"\2\0\0\0")


def test_figures_of_the_file_system(mount: Mounted, here: Path) -> None:
    figures = os.statvfs(here)
    assert figures.f_blocks >= figures.f_bfree > 0
    assert figures.f_ffree > 0
    assert "cryptdrive" in run("df", mount.path)
