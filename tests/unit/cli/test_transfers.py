"""Folders from this machine into a drive and back: bytes, modes, times, links, holes; whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from cryptdrive.cli.download import Download
from cryptdrive.cli.paths import about, last_part, path_in_drive, placed
from cryptdrive.cli.terminal import SilentMeter
from cryptdrive.cli.upload import Upload
from cryptdrive.clock import SystemClock
from cryptdrive.control.files import CONTENT_BYTES_MAX, LocalFiles
from cryptdrive.errors import Exists, IsADirectory, NotADirectory, NotFound
from cryptdrive.store.memory import MemoryStore
from tests.support.vault import SmallVault

ODD_NAME = b"\xff line\nbreak \xc3\xbc"


@pytest.fixture
def files() -> LocalFiles:
    return LocalFiles(SmallVault(MemoryStore(), SystemClock()).open())


def upload(files: LocalFiles, local: Path, path: bytes) -> None:
    Upload(files, SilentMeter()).put(os.fsencode(local), path)


def download(files: LocalFiles, path: bytes, local: Path) -> None:
    Download(files, SilentMeter()).get(path, os.fsencode(local))


def make_tree(top: Path) -> None:
    (top / "empty").mkdir(parents=True)
    (top / "deep/er").mkdir(parents=True)
    (top / "deep/er/file").write_bytes(b"content")
    (top / "deep/er/file").chmod(0o754)
    (top / "large").write_bytes(os.urandom(2 * CONTENT_BYTES_MAX + 17))
    (top / "nothing").write_bytes(b"")
    (top / "link").symlink_to("deep/er/file")
    (top / "dangling").symlink_to("/no/where")
    Path(os.fsdecode(os.path.join(os.fsencode(top), ODD_NAME))).write_bytes(b"odd")
    (top / "deep").chmod(0o500)
    for number, name in enumerate(["large", "deep/er/file", "deep/er", "deep", "empty"]):
        time_ns = 1_500_000_000_123_456_789 + number
        os.utime(top / name, ns=(time_ns, time_ns))


def described(top: Path) -> dict[bytes, tuple[object, ...]]:
    """Everything that is to survive, by relative path."""
    found: dict[bytes, tuple[object, ...]] = {}
    start = os.fsencode(top)
    for folder, folders, names in os.walk(start):
        for name in [*folders, *names]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            content = b""
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                content = Path(os.fsdecode(path)).read_bytes()
            found[os.path.relpath(path, start)] = (status.st_mode, status.st_mtime_ns, content)
    return found


def test_a_tree_there_and_back(files: LocalFiles, tmp_path: Path) -> None:
    make_tree(tmp_path / "from")
    upload(files, tmp_path / "from", b"/tree")
    download(files, b"/tree", tmp_path / "to")
    assert described(tmp_path / "to") == described(tmp_path / "from")


def test_a_second_time_replaces_files(files: LocalFiles, tmp_path: Path) -> None:
    make_tree(tmp_path / "from")
    upload(files, tmp_path / "from", b"/tree")
    download(files, b"/tree", tmp_path / "to")
    (tmp_path / "from/deep/er/file").write_bytes(b"another")
    (tmp_path / "from/link").unlink()
    (tmp_path / "from/link").symlink_to("large")
    upload(files, tmp_path / "from", b"/tree")
    download(files, b"/tree", tmp_path / "to")
    assert described(tmp_path / "to") == described(tmp_path / "from")


def test_holes_stay_holes(files: LocalFiles, tmp_path: Path) -> None:
    source = tmp_path / "from"
    with source.open("wb") as file:
        file.seek(64 << 20)
        file.write(b"in the middle")
        file.truncate(128 << 20)
    upload(files, source, b"/a")
    assert files.stat(b"/a").size == 128 << 20
    assert files.stat(b"/a").allocated < 1 << 20
    download(files, b"/a", tmp_path / "to")
    assert (tmp_path / "to").stat().st_blocks * 512 < 4 << 20
    with (tmp_path / "to").open("rb") as file:
        file.seek((64 << 20) - 1)
        assert file.read(15) == b"\0in the middle\0"


def test_special_files_are_left_out(
    files: LocalFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "from").mkdir()
    os.mkfifo(tmp_path / "from/fifo")
    upload(files, tmp_path / "from", b"/a")
    assert list(files.entries(b"/a")) == []
    assert "fifo: left out" in capsys.readouterr().err


def test_a_failed_download_leaves_the_old_file(
    files: LocalFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "from").write_bytes(b"new")
    upload(files, tmp_path / "from", b"/a")
    (tmp_path / "to").write_bytes(b"old")

    def broken(handle: int, offset: int, size: int) -> bytes:
        raise NotFound("gone")

    monkeypatch.setattr(files, "read", broken)
    with pytest.raises(NotFound, match="/a: gone"):
        download(files, b"/a", tmp_path / "to")
    assert (tmp_path / "to").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["from", "to"]


def test_a_failed_upload_leaves_the_old_file(
    files: LocalFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "from").write_bytes(b"old")
    upload(files, tmp_path / "from", b"/a")

    def broken(handle: int, offset: int, data: bytes) -> None:
        raise NotFound("gone")

    monkeypatch.setattr(files, "write", broken)
    (tmp_path / "from").write_bytes(b"new and longer")
    with pytest.raises(NotFound):
        upload(files, tmp_path / "from", b"/a")
    assert files.stat(b"/a").size == 3
    assert [name for name, _ in files.entries(b"/")] == [b"a"]


def test_a_link_made_by_an_earlier_download_leads_nowhere(files: LocalFiles, tmp_path: Path) -> None:
    """A drive in which a link became a folder must not write where the link leads."""
    (tmp_path / "outside").mkdir()
    files.make_directory(b"/tree", 0o755)
    files.make_link(b"/tree/x", os.fsencode(tmp_path / "outside"))
    download(files, b"/tree", tmp_path / "to")
    files.remove(b"/tree/x", recursive=False)
    files.make_directory(b"/tree/x", 0o755)
    (tmp_path / "payload").write_bytes(b"!")
    upload(files, tmp_path / "payload", b"/tree/x/payload")
    with pytest.raises(Exists, match="no folder"):
        download(files, b"/tree", tmp_path / "to")
    assert list((tmp_path / "outside").iterdir()) == []


def test_kinds_do_not_replace_each_other(files: LocalFiles, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "folder").mkdir()
    files.make_directory(b"/folder", 0o755)
    upload(files, tmp_path / "file", b"/file")
    with pytest.raises(IsADirectory, match="/folder: "):
        upload(files, tmp_path / "file", b"/folder")
    with pytest.raises(NotADirectory, match="/file: "):
        upload(files, tmp_path / "folder", b"/file")


def test_set_user_id_does_not_come_down(files: LocalFiles, tmp_path: Path) -> None:
    (tmp_path / "from").write_bytes(b"1")
    upload(files, tmp_path / "from", b"/a")
    files.set_attributes(b"/a", 0o4755, None)
    download(files, b"/a", tmp_path / "to")
    assert stat.S_IMODE((tmp_path / "to").stat().st_mode) == 0o755


# --- paths -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path"),
    [("a", b"/a"), ("/a/b", b"/a/b"), ("//a/", b"/a/"), ("/", b"/"), ("", b"/"), ("\udcff", b"/\xff")],
)
def test_paths_as_typed(text: str, path: bytes) -> None:
    assert path_in_drive(text) == path


@pytest.mark.parametrize(("path", "name"), [(b"/a/b/", b"b"), (b"/", b""), (b"/a/.", b"a")])
def test_last_part(path: bytes, name: bytes) -> None:
    assert last_part(path) == name


def test_where_things_are_placed(files: LocalFiles) -> None:
    files.make_directory(b"/folder", 0o755)
    assert placed(files, b"/folder", b"/x/a") == b"/folder/a"
    assert placed(files, b"/new", b"/x/a") == b"/new"
    assert placed(files, b"/", b"a") == b"/a"
    with pytest.raises(NotADirectory):
        placed(files, b"/new/", b"/x/a")
    with pytest.raises(NotADirectory):
        placed(files, b"/new", b"/x/a", several=True)


def test_errors_name_their_path_once() -> None:
    with pytest.raises(NotFound) as caught, about(b"/a\n\xff"), about(b"/a\n\xff"):
        raise NotFound("no such file")
    assert str(caught.value) == r"/a\n\xff: no such file"
