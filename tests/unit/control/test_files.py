"""Files by paths, from the drive's own process and through the control socket: one behaviour."""

import stat

import pytest

from cryptdrive.control.files import CONTENT_BYTES_MAX, DriveFiles, kind_at
from cryptdrive.errors import (
    BadHandle,
    Exists,
    Invalid,
    IsADirectory,
    NotADirectory,
    NotFound,
)
from cryptdrive.vfs.filesystem import FileSystem


def put(files: DriveFiles, path: bytes, content: bytes, *, replace: bool = True) -> None:
    handle = files.stage()
    files.write(handle, 0, content)
    files.publish(handle, path, None, None, replace=replace)


def content(files: DriveFiles, path: bytes) -> bytes:
    handle = files.open(path)
    pieces = []
    offset = 0
    while piece := files.read(handle, offset, CONTENT_BYTES_MAX):
        pieces.append(piece)
        offset += len(piece)
    files.close(handle)
    return b"".join(pieces)


def names(files: DriveFiles, path: bytes) -> list[bytes]:
    return sorted(name for name, _ in files.entries(path))


def test_a_file_comes_back(files: DriveFiles) -> None:
    put(files, b"/a", b"content")
    assert content(files, b"/a") == b"content"
    assert files.stat(b"/a").size == 7


def test_names_of_any_bytes(files: DriveFiles) -> None:
    name = b"\xff\n \x01" + "ü".encode() + b"\\x"
    put(files, b"/" + name, b"1")
    assert names(files, b"/") == [name]
    assert content(files, b"/" + name) == b"1"


def test_large_files_in_pieces(files: DriveFiles) -> None:
    pieces = [bytes([number]) * CONTENT_BYTES_MAX for number in range(1, 4)]
    handle = files.stage()
    for number, piece in enumerate(pieces):
        files.write(handle, number * CONTENT_BYTES_MAX, piece)
    files.publish(handle, b"/large", None, None, replace=False)
    assert content(files, b"/large") == b"".join(pieces)


def test_reads_are_bounded(files: DriveFiles) -> None:
    put(files, b"/a", b"x" * CONTENT_BYTES_MAX)
    handle = files.open(b"/a")
    assert len(files.read(handle, 0, CONTENT_BYTES_MAX * 100)) == CONTENT_BYTES_MAX


def test_mode_and_time_are_set(files: DriveFiles) -> None:
    handle = files.stage()
    files.publish(handle, b"/a", 0o4751, 1_234_567_890_123_456_789, replace=False)
    attr = files.stat(b"/a")
    assert (stat.S_IMODE(attr.mode), attr.mtime_ns) == (0o4751, 1_234_567_890_123_456_789)


def test_a_replaced_file_hands_on_its_mode(files: DriveFiles) -> None:
    put(files, b"/a", b"1")
    files.set_attributes(b"/a", 0o640, None)
    put(files, b"/a", b"2")
    assert stat.S_IMODE(files.stat(b"/a").mode) == 0o640


def test_without_replace_the_old_file_stays(files: DriveFiles) -> None:
    put(files, b"/a", b"old")
    with pytest.raises(Exists):
        put(files, b"/a", b"new", replace=False)
    assert content(files, b"/a") == b"old"


def test_a_stage_is_seen_by_nobody(files: DriveFiles) -> None:
    handle = files.stage()
    files.write(handle, 0, b"x")
    assert names(files, b"/") == []
    files.close(handle)
    assert names(files, b"/") == []


def test_many_entries(files: DriveFiles, fs: FileSystem) -> None:
    files.make_directory(b"/d", 0o755)
    expected = [b"%05d" % number for number in range(1000)]
    for name in expected:
        files.make_link(b"/d/" + name, b"target")
    assert names(files, b"/d") == expected
    assert fs.open_handles() == 0


def test_several_listings_at_once(files: DriveFiles) -> None:
    for folder in (b"/a", b"/b"):
        files.make_directory(folder, 0o755)
        for number in range(300):
            files.make_link(folder + b"/%03d" % number, folder)
    pairs = zip(files.entries(b"/a"), files.entries(b"/b"), strict=True)
    assert sum(one[0] == other[0] for one, other in pairs) == 300


def test_links_in_the_middle_are_followed(files: DriveFiles) -> None:
    files.make_directory(b"/real", 0o755)
    files.make_link(b"/link", b"real")
    put(files, b"/link/a", b"1")
    assert content(files, b"/real/a") == b"1"
    assert stat.S_ISLNK(files.stat(b"/link").mode)
    assert stat.S_ISDIR(files.stat(b"/link", follow=True).mode)
    assert stat.S_ISDIR(files.stat(b"/link/").mode)
    assert files.read_link(b"/link") == b"real"
    files.remove(b"/link", recursive=True)
    assert names(files, b"/real") == [b"a"]


def test_remove(files: DriveFiles) -> None:
    files.make_directory(b"/d", 0o755)
    put(files, b"/d/a", b"1")
    with pytest.raises(IsADirectory, match="recursive"):
        files.remove(b"/d", recursive=False)
    files.remove(b"/d/a", recursive=False)
    put(files, b"/d/b", b"1")
    files.remove(b"/d", recursive=True)
    assert names(files, b"/") == []


def test_rename(files: DriveFiles) -> None:
    put(files, b"/a", b"1")
    put(files, b"/b", b"2")
    with pytest.raises(Exists):
        files.rename(b"/a", b"/b", replace=False)
    files.rename(b"/a", b"/b", replace=True)
    assert names(files, b"/") == [b"b"]
    assert content(files, b"/b") == b"1"


def test_clone(files: DriveFiles) -> None:
    files.make_directory(b"/d", 0o755)
    put(files, b"/d/a", b"1")
    files.clone(b"/d", b"/e", replace=False)
    assert content(files, b"/e/a") == b"1"
    with pytest.raises(Invalid):
        files.clone(b"/d", b"/d/inner", replace=False)


def test_the_root_stays(files: DriveFiles) -> None:
    for path in (b"/", b"", b"///"):
        assert stat.S_ISDIR(files.stat(path).mode)
        with pytest.raises(Invalid, match="root"):
            files.remove(path, recursive=True)


def test_what_is_not_there(files: DriveFiles) -> None:
    put(files, b"/a", b"1")
    with pytest.raises(NotFound):
        files.stat(b"/missing")
    with pytest.raises(NotFound):
        files.open(b"/missing/a")
    with pytest.raises(NotADirectory):
        files.make_directory(b"/a/b", 0o755)
    with pytest.raises(NotADirectory):
        files.stat(b"/a/")
    with pytest.raises(IsADirectory):
        files.open(b"/")
    assert kind_at(files, b"/missing") == 0
    assert kind_at(files, b"/a") == stat.S_IFREG


def test_closed_handles(files: DriveFiles) -> None:
    put(files, b"/a", b"1")
    handle = files.open(b"/a")
    files.close(handle)
    with pytest.raises(BadHandle):
        files.read(handle, 0, 1)


def test_sync(files: DriveFiles) -> None:
    put(files, b"/a", b"1")
    files.sync()
