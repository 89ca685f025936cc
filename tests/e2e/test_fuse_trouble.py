"""A call that fails or waits is one program's trouble: the mount goes on."""

import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.fuse_support import Mounted, mounted_at

NAME = "the-name-of-a-file"


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    folder = tmp_path_factory.mktemp("trouble")
    with mounted_at("trouble", folder / "mount", folder / "vault") as mounted:
        yield mounted


@pytest.mark.parametrize(
    ("trouble", "number"),
    [("unexpected", errno.EIO), ("damaged", errno.EIO), ("late", errno.ETIMEDOUT)],
)
def test_errors_reach_the_program(mount: Mounted, here: Path, trouble: str, number: int) -> None:
    (here / "file").write_text(trouble)
    os.posix_fadvise(descriptor := os.open(here / "file", os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
    with pytest.raises(OSError) as caught:
        os.read(descriptor, 100)
    os.close(descriptor)
    assert caught.value.errno == number
    (here / "file").write_text("well")
    assert (here / "file").read_text() == "well"
    assert mount.process.poll() is None


def test_what_is_logged_names_nothing(mount: Mounted, here: Path) -> None:
    test_errors_reach_the_program(mount, here, "unexpected", errno.EIO)
    test_errors_reach_the_program(mount, here, "damaged", errno.EIO)
    assert "read failed unexpectedly: KeyError" in mount.errors()
    assert "read failed: Integrity" in mount.errors()
    assert NAME not in mount.errors()


def test_one_who_waits_holds_nobody_up(here: Path) -> None:
    for number in range(4):
        (here / f"slow{number}").write_text("slow")
    (here / "quick").write_text("quick")

    def read_slowly(number: int) -> None:
        with (here / f"slow{number}").open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert file.read(10) == b"slow"

    readers = [threading.Thread(target=read_slowly, args=(number,)) for number in range(4)]
    started = time.monotonic()
    for reader in readers:
        reader.start()
    rounds = 0
    while any(reader.is_alive() for reader in readers):
        os.rename(here / "quick", here / "quick2")
        os.rename(here / "quick2", here / "quick")
        assert (here / "quick").read_text() == "quick"
        rounds += 1
    assert rounds > 50
    assert time.monotonic() - started < 6  # they waited at the same time
