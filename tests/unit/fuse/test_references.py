"""What the kernel holds is counted, and given back."""

import logging
import os

import pytest

from cryptdrive.errors import BadHandle, Stale
from cryptdrive.fuse.references import KernelReferences
from cryptdrive.types import HandleId, InodeNumber
from cryptdrive.vfs.values import Caller
from tests.model.clock import ManualClock
from tests.model.posix import PosixModel

CALLER = Caller(0, 0, "fuse")


@pytest.fixture
def fs() -> PosixModel:
    return PosixModel(ManualClock())


def removed_file(fs: PosixModel, references: KernelReferences, count: int) -> InodeNumber:
    """A file that only the kernel's references keep."""
    attr = fs.mknod(fs.root, b"file", 0o644, 0, CALLER)
    for _ in range(count):
        references.retain(attr.inode)
    fs.unlink(fs.root, b"file", CALLER)
    return attr.inode


def test_an_unlinked_file_lives_until_it_is_forgotten(fs: PosixModel) -> None:
    references = KernelReferences(fs)
    inode = removed_file(fs, references, 3)
    references.forget(inode, 2)
    assert fs.getattr(inode).nlink == 0
    references.forget(inode, 1)
    with pytest.raises(Stale):
        fs.getattr(inode)


def test_no_more_is_given_back_than_was_taken(fs: PosixModel) -> None:
    references = KernelReferences(fs)
    inode = removed_file(fs, references, 1)
    fs.retain(inode)  # somebody else's
    references.forget(inode, 5)
    assert fs.getattr(inode).nlink == 0
    references.forget(inode, 1)
    references.give_all_back()
    assert fs.getattr(inode).nlink == 0


def test_the_rest_is_given_back_at_the_end(fs: PosixModel) -> None:
    references = KernelReferences(fs)
    inode = removed_file(fs, references, 3)
    handle, attr = fs.create(fs.root, b"open", 0o644, os.O_RDWR, CALLER)
    references.opened(handle)
    directory = fs.opendir(fs.root)
    references.opened_directory(directory, fs.root)
    assert references.directory_of(directory) == fs.root
    references.give_all_back()
    with pytest.raises(Stale):
        fs.getattr(inode)
    with pytest.raises(BadHandle):
        fs.write(handle, 0, b"x")
    with pytest.raises(BadHandle):
        fs.readdir(directory)
    assert fs.getattr(attr.inode).nlink == 1


def test_what_was_closed_is_not_closed_again(fs: PosixModel, caplog: pytest.LogCaptureFixture) -> None:
    references = KernelReferences(fs)
    handle, _ = fs.create(fs.root, b"open", 0o644, os.O_RDWR, CALLER)
    references.opened(handle)
    references.closed(handle)
    directory = fs.opendir(fs.root)
    references.opened_directory(directory, fs.root)
    references.closed_directory(directory)
    with caplog.at_level(logging.INFO):
        references.give_all_back()
    assert caplog.text == ""
    fs.close(handle)
    fs.closedir(directory)


def test_retain_of_what_is_gone_counts_nothing(fs: PosixModel) -> None:
    references = KernelReferences(fs)
    inode = removed_file(fs, references, 0)
    with pytest.raises(Stale):
        references.retain(inode)
    references.forget(inode, 1)


def test_giving_back_never_raises(fs: PosixModel, caplog: pytest.LogCaptureFixture) -> None:
    references = KernelReferences(fs)
    inode = removed_file(fs, references, 1)
    references.opened(HandleId(12345))

    def broken(*_: object) -> None:
        raise ValueError("secret-name")

    fs.release = broken  # type: ignore[method-assign]
    references.forget(inode, 1)
    references.give_all_back()
    assert "ValueError" in caplog.text
    assert "BadHandle" in caplog.text
    assert "secret-name" not in caplog.text
