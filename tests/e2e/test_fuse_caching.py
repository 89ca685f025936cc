"""The kernel keeps names, attributes and pages for minutes, and yet shows what is."""

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.fuse_support import Mounted, run

SECONDS_MAX = 5.0


def soon(condition: Callable[[], bool]) -> bool:
    """Whether ``condition`` holds within the time a thread needs to tell the kernel."""
    end = time.monotonic() + SECONDS_MAX
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def exists(path: Path) -> bool:
    return os.path.lexists(path)


# --- changes through the mount itself: right at once -------------------------------------


def test_a_hard_link_at_once(here: Path) -> None:
    one = here / "one"
    one.write_text("content")
    before = one.stat()
    os.link(one, here / "two")
    assert one.stat().st_nlink == (here / "two").stat().st_nlink == 2
    assert one.stat().st_ctime_ns > before.st_ctime_ns
    assert one.stat().st_ino == (here / "two").stat().st_ino
    between = one.stat()
    os.unlink(here / "two")
    assert one.stat().st_nlink == 1
    assert one.stat().st_ctime_ns > between.st_ctime_ns


def test_hard_links_while_open(here: Path) -> None:
    with (here / "one").open("wb") as file:
        for count in range(2, 20):
            os.link(here / "one", here / f"link{count}")
            assert os.fstat(file.fileno()).st_nlink == count
        for count in range(18, 0, -1):
            os.unlink(here / f"link{count + 1}")
            assert os.fstat(file.fileno()).st_nlink == count
        os.unlink(here / "one")
        assert os.fstat(file.fileno()).st_nlink == 0


def test_a_rename_over_another_at_once(here: Path) -> None:
    (here / "old").write_text("old")
    os.link(here / "old", here / "kept")
    (here / "new").write_text("new")
    before = (here / "kept").stat()
    new = (here / "new").stat()
    assert (before.st_nlink, new.st_nlink) == (2, 1)
    os.rename(here / "new", here / "old")
    assert (here / "kept").stat().st_nlink == 1
    assert (here / "kept").stat().st_ctime_ns > before.st_ctime_ns
    assert (here / "old").stat().st_ino == new.st_ino
    assert (here / "old").stat().st_ctime_ns > new.st_ctime_ns


def test_directories_at_once(here: Path) -> None:
    """Link counts and times of both parents."""
    left, right = here / "left", here / "right"
    left.mkdir()
    right.mkdir()
    assert (left.stat().st_nlink, right.stat().st_nlink, here.stat().st_nlink) == (2, 2, 4)
    (left / "moved").mkdir()
    assert left.stat().st_nlink == 3
    for change in (
        lambda: os.rename(left / "moved", right / "moved"),
        lambda: os.rename(right / "moved", left / "moved"),
    ):
        before = (left.stat(), right.stat())
        change()
        after = (left.stat(), right.stat())
        assert sorted(status.st_nlink for status in after) == [2, 3]
        for then, now in zip(before, after, strict=True):
            assert now.st_mtime_ns > then.st_mtime_ns
            assert now.st_ctime_ns > then.st_ctime_ns
    os.rmdir(left / "moved")
    assert left.stat().st_nlink == 2


@pytest.mark.parametrize("name", ["file", "folder", "fifo", "link"])
def test_every_new_name_and_its_end_touch_the_folder(here: Path, name: str) -> None:
    makers: dict[str, Callable[[Path], object]] = {
        "file": Path.touch,
        "folder": Path.mkdir,
        "fifo": os.mkfifo,
        "link": lambda path: path.symlink_to("target"),
    }
    before = here.stat()
    makers[name](here / name)
    between = here.stat()
    (os.rmdir if name == "folder" else os.unlink)(here / name)
    after = here.stat()
    assert before.st_mtime_ns < between.st_mtime_ns < after.st_mtime_ns
    assert before.st_ctime_ns < between.st_ctime_ns < after.st_ctime_ns


def test_a_write_at_once(here: Path) -> None:
    path = here / "file"
    path.write_text("content")
    before = path.stat()
    with path.open("r+b", buffering=0) as file:
        file.write(b"CON")
        during = path.stat()
        assert (during.st_size, during.st_mtime_ns > before.st_mtime_ns) == (7, True)
        file.seek(100)
        file.write(b"end")
        assert path.stat().st_size == 103
    assert path.stat().st_mtime_ns > during.st_mtime_ns


def test_extended_attributes_touch_ctime_at_once(here: Path) -> None:
    (here / "file").touch()
    before = (here / "file").stat().st_ctime_ns
    os.setxattr(here / "file", "user.a", b"1")
    between = (here / "file").stat().st_ctime_ns
    os.removexattr(here / "file", "user.a")
    assert before < between < (here / "file").stat().st_ctime_ns


def test_names_and_attributes_are_kept(mount: Mounted, here: Path) -> None:
    """A second look at a tree asks nothing of the file system."""
    (here / "file").touch()
    for path in (here / "file", here / "missing"):
        exists(path)
    before = read_count(mount)
    for _ in range(100):
        (here / "file").stat()
        assert not exists(here / "missing")
    assert read_count(mount) - before < 20


def read_count(mount: Mounted) -> int:
    """How many requests the process has read so far."""
    lines = Path(f"/proc/{mount.process.pid}/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("syscr")).split()[1])


def test_pages_are_kept_over_close(mount: Mounted, here: Path) -> None:
    (here / "file").write_bytes(b"x" * 100_000)
    assert (here / "file").read_bytes() == b"x" * 100_000
    before = bytes_out(mount)
    for _ in range(20):
        assert (here / "file").read_bytes() == b"x" * 100_000
    assert bytes_out(mount) - before < 100_000


def bytes_out(mount: Mounted) -> int:
    """How many bytes the process has answered so far."""
    lines = Path(f"/proc/{mount.process.pid}/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("wchar")).split()[1])


# --- changes by another front end: as soon as the kernel was told ------------------------


@pytest.fixture
def folder(mount: Mounted, here: Path) -> str:
    """The path of ``here`` inside the drive."""
    return "/" + here.relative_to(mount.path).as_posix()


def test_a_new_name(mount: Mounted, here: Path, folder: str) -> None:
    assert not exists(here / "new")  # the kernel now keeps that it is missing
    before = here.stat().st_mtime_ns
    mount.elsewhere("put", f"{folder}/new", "content")
    assert soon(lambda: exists(here / "new"))
    assert (here / "new").read_text() == "content"
    assert os.listdir(here) == ["new"]
    assert soon(lambda: here.stat().st_mtime_ns > before)


def test_a_name_that_the_kernel_never_saw(mount: Mounted, here: Path, folder: str) -> None:
    """The folder's times and link count change although no name is to be forgotten."""
    before = here.stat()
    mount.elsewhere("mkdir", f"{folder}/inner")
    assert soon(lambda: here.stat().st_nlink == before.st_nlink + 1)
    assert here.stat().st_mtime_ns > before.st_mtime_ns


def test_a_removed_name(mount: Mounted, here: Path, folder: str) -> None:
    (here / "file").write_text("content")
    os.link(here / "file", here / "other")
    assert (here / "other").stat().st_nlink == 2
    mount.elsewhere("unlink", f"{folder}/file")
    assert soon(lambda: not exists(here / "file"))
    assert soon(lambda: (here / "other").stat().st_nlink == 1)


def test_a_link_elsewhere(mount: Mounted, here: Path, folder: str) -> None:
    (here / "file").write_text("content")
    assert (here / "file").stat().st_nlink == 1
    mount.elsewhere("link", f"{folder}/file", f"{folder}/link")
    assert soon(lambda: (here / "file").stat().st_nlink == 2)
    assert (here / "link").read_text() == "content"


def test_a_renamed_folder(mount: Mounted, here: Path, folder: str) -> None:
    (here / "old" / "inner").mkdir(parents=True)
    (here / "old" / "inner" / "file").write_text("content")
    mount.elsewhere("rename", f"{folder}/old", f"{folder}/new")
    assert soon(lambda: not exists(here / "old"))
    assert (here / "new" / "inner" / "file").read_text() == "content"


def test_a_replaced_file(mount: Mounted, here: Path, folder: str) -> None:
    (here / "file").write_text("old content")
    with (here / "file").open() as still_open:
        mount.elsewhere("put", f"{folder}/file", "new")
        assert soon(lambda: (here / "file").read_text() == "new")
        assert still_open.read() == "old content"
        assert soon(lambda: os.fstat(still_open.fileno()).st_nlink == 0)


def test_changed_bytes(mount: Mounted, here: Path, folder: str) -> None:
    (here / "file").write_bytes(b"0" * 10_000)
    with (here / "file").open("rb", buffering=0) as still_open:
        assert still_open.read() == b"0" * 10_000
        mount.elsewhere("overwrite", f"{folder}/file", 5000, "changed")
        assert soon(lambda: os.pread(still_open.fileno(), 7, 5000) == b"changed")
    assert (here / "file").read_bytes() == b"0" * 5000 + b"changed" + b"0" * 4993


def test_changed_bytes_are_seen_by_the_next_open_at_once(mount: Mounted, here: Path, folder: str) -> None:
    for number in range(50):
        (here / "file").write_text(f"here {number:04}")
        mount.elsewhere("overwrite", f"{folder}/file", 0, f"else {number:04}")
        with (here / "file").open() as file:
            assert file.read() == f"else {number:04}"


def test_a_changed_size(mount: Mounted, here: Path, folder: str) -> None:
    (here / "file").write_bytes(b"0" * 10)
    assert (here / "file").stat().st_size == 10
    mount.elsewhere("truncate", f"{folder}/file", 5)
    assert soon(lambda: (here / "file").stat().st_size == 5)
    assert (here / "file").read_bytes() == b"0" * 5
    mount.elsewhere("overwrite", f"{folder}/file", 5, "more")
    assert soon(lambda: (here / "file").read_bytes() == b"0" * 5 + b"more")


def test_a_changed_mode(mount: Mounted, here: Path, folder: str) -> None:
    (here / "file").touch()
    assert stat.S_IMODE((here / "file").stat().st_mode) == 0o644
    mount.elsewhere("chmod", f"{folder}/file", 0o600)
    assert soon(lambda: stat.S_IMODE((here / "file").stat().st_mode) == 0o600)


def test_whole_trees(mount: Mounted, here: Path, folder: str) -> None:
    for number in range(20):
        (here / "tree" / f"d{number}").mkdir(parents=True)
        (here / "tree" / f"d{number}" / "file").write_text(str(number))
    assert not exists(here / "copy")
    mount.elsewhere("copy", f"{folder}/tree", f"{folder}/copy")
    assert soon(lambda: exists(here / "copy"))
    run("diff", "-r", here / "tree", here / "copy")
    mount.elsewhere("remove_tree", f"{folder}/tree")
    assert soon(lambda: not exists(here / "tree"))
    assert soon(lambda: here.stat().st_nlink == 3)


def test_what_is_written_here_is_seen_elsewhere_at_once(mount: Mounted, here: Path, folder: str) -> None:
    for number in range(20):
        with (here / "file").open("wb", buffering=0) as file:
            file.write(b"%d" % number)
            assert mount.elsewhere("read", f"{folder}/file") == str(number)  # before it is closed
    os.rename(here / "file", here / "moved")
    assert mount.elsewhere("list", folder) == ["moved"]


def test_changes_from_both_sides_at_the_same_time(mount: Mounted, here: Path, folder: str) -> None:
    """Many invalidations while handlers run: nobody waits for himself."""
    for number in range(300):
        (here / f"file{number % 7}").write_text("here" * 100)
        mount.elsewhere("put", f"{folder}/file{(number + 3) % 7}", "elsewhere" * 100)
        names = os.listdir(here)
        assert len(names) <= 7
    for number in range(7):
        mount.elsewhere("put", f"{folder}/file{number}", "end")
        assert soon(lambda path=here / f"file{number}": path.read_text() == "end")  # type: ignore[misc]
