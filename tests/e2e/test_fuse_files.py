"""Content and names of files through a real mount, by system calls."""

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

from tests.e2e.fuse_support import refused, run

GIB = 1 << 30
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
AT_FDCWD = -100


def renameat2(old: Path, new: Path, flags: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


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
