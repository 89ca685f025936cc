"""Files, directories and their attributes through a real mount, by system calls."""

import ctypes
import errno
import fcntl
import mmap
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.fuse_support import Mounted, run

GIB = 1 << 30
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
AT_FDCWD = -100


def renameat2(old: Path, new: Path, flags: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def refused(number: int) -> pytest.RaisesExc[OSError]:
    return pytest.raises(OSError, check=lambda error: error.errno == number)


def as_nobody(code: str, folder: Path) -> str:
    """Run Python code as an ordinary user in ``folder``, whose parents that user may not enter."""
    become = "import os; os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3)\n"
    return run(sys.executable, "-c", become + code, cwd=folder)


# --- content -----------------------------------------------------------------------------


def test_write_and_read(here: Path) -> None:
    content = bytes(range(256)) * 5000
    (here / "file").write_bytes(content)
    assert (here / "file").read_bytes() == content
    with (here / "file").open("r+b") as file:
        file.seek(100_000)
        file.write(b"changed")
        file.seek(99_999)
        assert file.read(9) == content[99_999:100_000] + b"changed" + content[100_007:100_008]


def test_append(here: Path) -> None:
    path = here / "log"
    one, two = (os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for _ in range(2))
    for number in range(20):
        os.write((one, two)[number % 2], b"%02d\n" % number)
    os.close(one)
    os.close(two)
    assert path.read_bytes() == b"".join(b"%02d\n" % number for number in range(20))


def test_append_from_many_processes(here: Path) -> None:
    code = "import os; f = os.open('log', 1025 | 64); [os.write(f, b'x' * 99 + b'\\n') for _ in range(50)]"
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=here) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert (here / "log").read_bytes() == (b"x" * 99 + b"\n") * 150


def test_truncate_both_ways(here: Path) -> None:
    path = here / "file"
    path.write_bytes(b"0123456789")
    os.truncate(path, 4)
    assert path.read_bytes() == b"0123"
    os.truncate(path, 8)
    assert path.read_bytes() == b"0123\0\0\0\0"
    with path.open("r+b") as file:
        file.truncate(2)
        assert os.fstat(file.fileno()).st_size == 2
    path.open("wb").close()
    assert path.stat().st_size == 0


def test_a_sparse_file_of_more_than_4_gib(here: Path) -> None:
    path = here / "sparse"
    with path.open("wb") as file:
        for offset in (0, 4 * GIB - 3, 5 * GIB, 9 * GIB):
            file.seek(offset)
            file.write(b"at %d" % offset)
    assert path.stat().st_size == 9 * GIB + len(b"at %d" % (9 * GIB))
    assert path.stat().st_blocks * 512 < 16 << 20
    with path.open("rb") as file:
        for offset in (0, 4 * GIB - 3, 5 * GIB, 9 * GIB):
            file.seek(offset)
            assert file.read(len(b"at %d" % offset)) == b"at %d" % offset
        file.seek(2 * GIB)
        assert file.read(100_000) == bytes(100_000)


def test_holes_of_petabytes(here: Path) -> None:
    path = here / "hole"
    path.touch()
    size = 3 << 50
    os.truncate(path, size)
    assert path.stat().st_size == size
    descriptor = os.open(path, os.O_RDWR)
    os.pwrite(descriptor, b"end", size - 3)
    assert os.pread(descriptor, 10, size - 5) == b"\0\0end"
    os.close(descriptor)


def test_a_shared_mapping(here: Path) -> None:
    path = here / "mapped"
    path.write_bytes(b"a" * 10_000)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[5000:5005] = b"bbbbb"
        mapping.flush()
        assert path.read_bytes()[4999:5006] == b"abbbbba"
        os.pwrite(file.fileno(), b"ccc", 100)
        assert mapping[99:104] == b"accca"
        mapping[0:1] = b"z"
    assert path.read_bytes()[:2] == b"za"


def test_a_mapping_of_a_file_open_for_appending(here: Path) -> None:
    """Its pages go where they belong, not to the end."""
    path = here / "mapped"
    path.write_bytes(b"a" * 5000)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    with mmap.mmap(descriptor, 0) as mapping:
        mapping[10:13] = b"bbb"
        mapping.flush()
        os.write(descriptor, b"end")
        mapping[4000:4003] = b"ccc"
        mapping.flush()
    os.close(descriptor)
    expected = bytearray(b"a" * 5000 + b"end")
    expected[10:13], expected[4000:4003] = b"bbb", b"ccc"
    run("sync", "-f", path)
    assert path.read_bytes() == expected


def test_a_mapping_that_outlives_its_descriptor(here: Path) -> None:
    path = here / "mapped"
    path.write_bytes(b"a" * 5000)
    descriptor = os.open(path, os.O_RDWR)
    mapping = mmap.mmap(descriptor, 0)
    os.close(descriptor)
    mapping[0:3] = b"new"
    mapping.close()
    assert path.read_bytes()[:4] == b"newa"


def test_direct_io(here: Path) -> None:
    path = here / "direct"
    buffer = mmap.mmap(-1, 8192)
    buffer[:] = b"d" * 8192
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    assert os.write(descriptor, buffer) == 8192
    assert os.preadv(descriptor, [buffer], 4096) == 4096
    os.close(descriptor)
    assert path.read_bytes() == b"d" * 8192


def test_an_unlinked_file_stays_open(here: Path) -> None:
    path = here / "file"
    with path.open("w+b") as file:
        file.write(b"before")
        file.flush()
        path.unlink()
        assert not path.exists()
        assert os.fstat(file.fileno()).st_nlink == 0
        file.write(b" and after")
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), 0o600)
        file.seek(0)
        assert file.read() == b"before and after"


def test_a_replaced_file_stays_open(here: Path) -> None:
    (here / "old").write_bytes(b"old")
    (here / "new").write_bytes(b"new")
    with (here / "old").open("rb") as file:
        os.rename(here / "new", here / "old")
        assert file.read() == b"old"
        assert os.fstat(file.fileno()).st_nlink == 0
    assert (here / "old").read_bytes() == b"new"


def test_exclusive_creation(here: Path) -> None:
    (here / "file").touch()
    with refused(errno.EEXIST):
        os.open(here / "file", os.O_CREAT | os.O_EXCL)


def test_what_the_kernel_does_in_our_place(here: Path) -> None:
    """There is no fallocate, lseek or copy_file_range in pyfuse3."""
    source, target = here / "source", here / "target"
    source.write_bytes(b"0123456789" * 1000)
    with source.open("rb") as reading, target.open("w+b") as writing:
        copied = 0
        while count := os.copy_file_range(reading.fileno(), writing.fileno(), 1 << 20):
            copied += count
        assert copied == 10_000
        os.posix_fallocate(writing.fileno(), 0, 20_000)
        assert os.lseek(writing.fileno(), 0, os.SEEK_DATA) == 0
        assert os.lseek(writing.fileno(), 0, os.SEEK_HOLE) == 20_000
    assert target.read_bytes() == source.read_bytes() + bytes(10_000)


def test_locks(here: Path) -> None:
    (here / "file").touch()
    code = "import fcntl; f = open('file', 'r+'); fcntl.{}(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"
    for kind in ("flock", "lockf"):
        with (here / "file").open("r+") as file:
            getattr(fcntl, kind)(file, fcntl.LOCK_EX)
            assert "BlockingIOError" in run(sys.executable, "-c", code.format(kind), cwd=here, ok=False)
        run(sys.executable, "-c", code.format(kind), cwd=here)


# --- names -------------------------------------------------------------------------------


def test_rename_exchange_and_noreplace(here: Path) -> None:
    one, two = here / "one", here / "two"
    one.write_text("1")
    two.mkdir()
    (two / "inner").touch()
    with refused(errno.EEXIST):
        renameat2(one, two, RENAME_NOREPLACE)
    renameat2(one, two, RENAME_EXCHANGE)
    assert two.read_text() == "1"
    assert os.listdir(one) == ["inner"]
    renameat2(one, here / "three", RENAME_NOREPLACE)
    assert os.listdir(here / "three") == ["inner"]
    with refused(errno.EINVAL):
        renameat2(two, here / "four", RENAME_WHITEOUT)


def test_rename_of_directories(here: Path) -> None:
    (here / "a" / "b" / "c").mkdir(parents=True)
    (here / "full").mkdir()
    (here / "full" / "file").touch()
    with refused(errno.EINVAL):
        os.rename(here / "a", here / "a" / "b" / "d")
    with refused(errno.ENOTEMPTY):
        os.rename(here / "a", here / "full")
    os.rename(here / "a" / "b", here / "b")
    assert os.stat(here / "b" / "..").st_ino == here.stat().st_ino
    assert (here / "b" / "c").is_dir()


def test_symbolic_links(here: Path) -> None:
    target = "x" * 4000
    (here / "long").symlink_to(target)
    assert os.readlink(here / "long") == target
    assert os.lstat(here / "long").st_size == 4000
    (here / "file").write_text("content")
    (here / "link").symlink_to("file")
    assert (here / "link").read_text() == "content"
    (here / "loop").symlink_to("loop")
    with refused(errno.ELOOP):
        os.stat(here / "loop")


@pytest.mark.parametrize("name", [b"a" * 255, "ü€𝄞".encode() * 28, b"\xff\xfe\x80", b"\n \\'\"*?", b"\x01"])
def test_names(here: Path, name: bytes) -> None:
    path = os.fsencode(here) + b"/" + name
    with open(path, "wb") as file:
        file.write(b"content")
    assert os.listdir(os.fsencode(here)) == [name]
    os.rename(path, path[:-1] + b"z")
    os.unlink(path[:-1] + b"z")
    assert os.listdir(here) == []


def test_names_that_are_too_long(here: Path) -> None:
    with refused(errno.ENAMETOOLONG):
        (here / ("a" * 256)).touch()
    assert os.statvfs(here).f_namemax == 255
    assert os.pathconf(here, "PC_NAME_MAX") == 255


def test_special_files(here: Path) -> None:
    os.mkfifo(here / "fifo", 0o640)
    os.mknod(here / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(here / "disk", stat.S_IFBLK | 0o600, os.makedev(259, 70000))
    os.chdir(here)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        assert stat.S_ISSOCK(os.stat("socket").st_mode)
    os.chdir("/")
    assert os.stat(here / "null").st_rdev == os.makedev(1, 3)
    assert os.stat(here / "disk").st_rdev == os.makedev(259, 70000)
    assert stat.S_ISFIFO(os.stat(here / "fifo").st_mode)
    writer = subprocess.Popen(["sh", "-c", "echo through > fifo"], cwd=here)
    assert (here / "fifo").read_text() == "through\n"
    assert writer.wait(10) == 0


def test_devices_are_inert(here: Path) -> None:
    """The mount is ``nodev`` unless it is asked for."""
    os.mknod(here / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with refused(errno.EACCES):
        os.open(here / "null", os.O_RDONLY)


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
