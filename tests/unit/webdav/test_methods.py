"""What each method does, over a real socket."""

import os
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from cryptdrive.errors import Integrity, NotFound, StoreFull, Unavailable
from cryptdrive.types import ROOT_INODE
from cryptdrive.vfs.values import Caller, RenameFlags
from tests.support.webdav import Client, MemoryValue, eventually, serving

CALLER = Caller(origin="test")


@pytest.fixture
def dav(tmp_path: Path) -> Iterator[Client]:
    with serving(tmp_path) as client:
        yield client


def test_put_get_and_ranges(dav: Client) -> None:
    data = os.urandom(300_000)
    created = dav("PUT", "/file.bin", data)
    assert created.status == 201
    answer = dav("GET", "/file.bin")
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["etag"] == created.headers["etag"]
    assert answer.headers["etag"].startswith('"')
    assert "last-modified" in answer.headers
    part = dav("GET", "/file.bin", Range="bytes=1000-1999")
    assert (part.status, part.body) == (206, data[1000:2000])
    assert part.headers["content-range"] == "bytes 1000-1999/300000"
    assert dav("GET", "/file.bin", Range="bytes=-10").body == data[-10:]
    assert dav("GET", "/file.bin", Range="bytes=300000-").status == 416
    assert dav("HEAD", "/file.bin").headers["content-length"] == "300000"
    assert dav("PUT", "/file.bin", b"new").status == 204
    assert dav("GET", "/file.bin").body == b"new"


def test_if_range_and_conditions(dav: Client) -> None:
    first = dav("PUT", "/f", b"first").headers["etag"]
    assert dav("GET", "/f", Range="bytes=0-1", If_Range=first).status == 206
    second = dav("PUT", "/f", b"other").headers["etag"]
    assert first != second
    whole = dav("GET", "/f", Range="bytes=0-1", If_Range=first)
    assert (whole.status, whole.body) == (200, b"other")
    assert dav("GET", "/f", If_None_Match=second).status == 304
    assert dav("PUT", "/f", b"x", If_Match=first).status == 412
    assert dav("PUT", "/f", b"x", If_None_Match="*").status == 412
    assert dav("PUT", "/absent", b"x", If_Match="*").status == 412
    assert dav("GET", "/absent").status == 404
    assert dav("PUT", "/f", b"third", If_Match=second).status == 204


def test_a_broken_put_leaves_the_old_file(dav: Client) -> None:
    dav("PUT", "/kept", b"old content")
    connection = dav.connection()
    connection.putrequest("PUT", "/kept")
    for name, value in {**dav.authorization(), "Content-Length": "100000"}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(b"n" * 50_000)
    assert eventually(lambda: dav.fs.open_handles() == 1)
    connection.close()
    assert eventually(lambda: dav.fs.open_handles() == 0)
    assert dav("GET", "/kept").body == b"old content"


def test_finders_chunks_are_counted(dav: Client) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"12345"
        yield b"67890"

    good = dav("PUT", "/c", chunks(), X_Expected_Entity_Length="10", Transfer_Encoding="chunked")
    assert good.status == 201
    assert dav("GET", "/c").body == b"1234567890"
    bad = dav("PUT", "/d", chunks(), X_Expected_Entity_Length="11", Transfer_Encoding="chunked")
    assert bad.status == 400
    assert dav("GET", "/d").status == 404


def test_put_refusals(dav: Client) -> None:
    dav("MKCOL", "/folder")
    assert dav("PUT", "/missing/f", b"x").status == 409
    assert dav("PUT", "/folder", b"x").status == 405
    assert dav("PUT", "/f", b"x", Content_Range="bytes 0-0/1").status == 400
    assert dav("MKCOL", "/folder").status == 405
    assert dav("MKCOL", "/a/b").status == 409
    assert dav("DELETE", "/").status == 403
    assert dav("MOVE", "/", Destination="/x").status == 403


@pytest.mark.parametrize(
    "escaped",
    [
        "plus%2Band%20space", "%25percent", "hash%23", "question%3F", "amp%26", "semi%3Bcolon",
        "quote%27s%22", "%C3%A9composed", "e%CC%81decomposed", "%FF%FEbytes", "%E2%82%AC", "a%3Ab", "%5Bx%5D",
    ],
)  # fmt: skip
def test_names_survive_everything(dav: Client, escaped: str) -> None:
    path, moved = f"/{escaped}", f"/moved-{escaped}"
    assert dav("PUT", path, b"text").status == 201
    assert dav("GET", path).body == b"text"
    listing = dav("PROPFIND", "/", Depth="1")
    assert listing.status == 207
    assert dav("COPY", path, Destination=dav.server.url.rstrip("/") + moved).status == 201
    assert dav("GET", moved).body == b"text"
    assert dav("MOVE", moved, Destination=path, Overwrite="F").status == 412
    assert dav("DELETE", path).status == 204
    assert dav("GET", path).status == 404
    assert dav("GET", "/").status == 200
    assert dav("MKCOL", path).status == 201
    assert dav("PROPFIND", path, Depth="0").status == 207


def test_a_name_is_found_in_both_forms_and_kept_as_given(dav: Client) -> None:
    dav("PUT", "/e%CC%81", b"decomposed")
    assert dav("GET", "/%C3%A9").body == b"decomposed"
    assert dav("PUT", "/%C3%A9", b"written under the other").status == 204
    names = [entry.name for entry in dav.fs.readdir(dav.fs.opendir(ROOT_INODE))]
    assert names == ["e\u0301".encode()]


def test_copy_and_move_of_trees(dav: Client) -> None:
    for path in ("/t", "/t/u"):
        dav("MKCOL", path)
    dav("PUT", "/t/u/f", b"deep")
    assert dav("COPY", "/t", Destination="/copy").status == 201
    assert dav("GET", "/copy/u/f").body == b"deep"
    assert dav("COPY", "/t", Destination="/t/inside").status == 403
    assert dav("MOVE", "/t", Destination="/copy", Overwrite="F").status == 412
    dav("PUT", "/copy/only-here", b"x")
    assert dav("MOVE", "/t", Destination="/copy").status == 204
    assert dav("GET", "/copy/only-here").status == 404
    assert dav("GET", "/copy/u/f").body == b"deep"
    assert dav("GET", "/t/u/f").status == 404
    assert dav("COPY", "/copy", Destination="/shallow", Depth="0").status == 201
    assert dav("GET", "/shallow/u/f").status == 404
    assert dav("COPY", "/copy", Destination="http://elsewhere/x").status == 502
    assert dav("COPY", "/copy", Destination="/nowhere/x").status == 409
    assert dav("DELETE", "/copy").status == 204
    assert dav("PROPFIND", "/copy", Depth="0").status == 404


def test_dead_properties_stay_with_the_file(dav: Client) -> None:
    dav("PUT", "/f", b"x")
    body = (
        b'<?xml version="1.0"?><propertyupdate xmlns="DAV:" xmlns:Z="urn:schemas-microsoft-com:"><set><prop>'
        b"<Z:Win32CreationTime>Mon, 23 Nov 2026 10:00:00 GMT</Z:Win32CreationTime>"
        b"</prop></set></propertyupdate>"
    )
    assert dav("PROPPATCH", "/f", body).status == 207
    ask = (
        b'<?xml version="1.0"?><propfind xmlns="DAV:"><prop>'
        b'<Win32CreationTime xmlns="urn:schemas-microsoft-com:"/><getetag/></prop></propfind>'
    )
    dav("MOVE", "/f", Destination="/g")
    dav("PUT", "/g", b"new content")
    found = dav("PROPFIND", "/g", ask, Depth="0")
    assert b"Mon, 23 Nov 2026 10:00:00 GMT" in found.body
    assert b'getetag>"' in found.body or b"getetag>&quot;" in found.body


def test_quota_and_lock_properties(dav: Client) -> None:
    ask = (
        b'<?xml version="1.0"?><propfind xmlns="DAV:"><prop><quota-available-bytes/><quota-used-bytes/>'
        b"<supportedlock/><lockdiscovery/></prop></propfind>"
    )
    found = dav("PROPFIND", "/", ask, Depth="0").body
    for part in (b"quota-available-bytes>1", b"quota-used-bytes>", b"exclusive"):
        assert part in found


LOCK = (
    b'<?xml version="1.0"?><lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope>'
    b"<locktype><write/></locktype><owner>me</owner></lockinfo>"
)


def test_locks_hold_and_survive_a_restart(tmp_path: Path) -> None:
    locks = MemoryValue()
    with serving(tmp_path, locks=locks) as dav:
        answer = dav("LOCK", "/new", LOCK, Timeout="Second-3600")
        assert answer.status == 201
        token = answer.headers["lock-token"]
        assert dav("PUT", "/new", b"x").status == 423
        assert dav("PUT", "/new", b"mine", If=f"({token})").status == 204
        assert dav("DELETE", "/new").status == 423
        fs = dav.fs
    with serving(tmp_path, locks=locks, fs=fs) as dav:
        assert dav("PUT", "/new", b"x").status == 423
        assert dav("GET", "/new").body == b"mine"
        assert dav("UNLOCK", "/new", Lock_Token=token).status == 204
        assert dav("PUT", "/new", b"x").status == 204


def test_damaged_locks_do_not_stop_the_server(tmp_path: Path) -> None:
    locks = MemoryValue()
    locks.value = b"{not json"
    with serving(tmp_path, locks=locks) as dav:
        assert dav("PUT", "/f", b"x").status == 201


def test_a_folder_with_a_lock_inside_is_not_deleted(dav: Client) -> None:
    dav("MKCOL", "/d")
    dav("PUT", "/d/f", b"x")
    assert dav("LOCK", "/d/f", LOCK).status == 200
    assert dav("DELETE", "/d").status == 423
    assert dav("MOVE", "/d", Destination="/e").status == 423


def test_read_only(tmp_path: Path) -> None:
    with serving(tmp_path) as dav:
        dav("PUT", "/f", b"x")
        fs = dav.fs
    with serving(tmp_path, fs=fs, read_only=True) as dav:
        assert dav("GET", "/f").body == b"x"
        for method, headers in (
            ("PUT", {}), ("DELETE", {}), ("MKCOL", {}), ("LOCK", {}),
            ("MOVE", {"Destination": "/g"}), ("COPY", {"Destination": "/g"}),
        ):  # fmt: skip
            assert dav(method, "/f" if method != "MKCOL" else "/d", b"", **headers).status == 403


def test_links_are_followed_within_the_drive(dav: Client) -> None:
    dav("MKCOL", "/real")
    dav("PUT", "/real/f", b"text")
    fs = dav.fs
    fs.symlink(ROOT_INODE, b"link", b"real/f", CALLER)
    fs.symlink(ROOT_INODE, b"folder", b"/real", CALLER)
    fs.symlink(ROOT_INODE, b"loop", b"loop", CALLER)
    fs.symlink(ROOT_INODE, b"dangling", b"../../etc/passwd", CALLER)
    fs.mknod(ROOT_INODE, b"fifo", 0o010644, 0, CALLER)
    assert dav("GET", "/link").body == b"text"
    assert dav("GET", "/folder/f").body == b"text"
    for name in ("loop", "dangling", "fifo"):
        assert dav("GET", f"/{name}").status == 404
    listing = dav("PROPFIND", "/", Depth="1").body
    assert b"/link" in listing
    assert b"fifo" not in listing
    assert b"dangling" not in listing
    assert dav("DELETE", "/link").status == 204
    assert dav("GET", "/real/f").body == b"text"


def test_errors_of_the_store_are_told_without_detail(dav: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    dav("PUT", "/f", b"x")
    for error, status in (
        (Unavailable("secret"), 503),
        (StoreFull("secret"), 507),
        (Integrity("secret"), 500),
        (NotFound("secret"), 404),
        (RuntimeError("secret"), 500),
    ):

        def failing(*_: object, error: Exception = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(dav.fs, "open", failing)
            answer = dav("GET", "/f")
            assert b"secret" not in answer.body
            assert answer.status == status or not answer.body
        with monkeypatch.context() as patch:
            patch.setattr(dav.fs, "stage", failing)
            answer = dav("PUT", "/f", b"y")
            assert answer.status == status
            assert answer.body.decode() == f"{status} {HTTPStatus(status).phrase}\n"
            assert b"secret" not in answer.body
            assert ("retry-after" in answer.headers) == (status == 503)


def test_what_fuse_does_is_seen_at_once(dav: Client) -> None:
    fs = dav.fs
    dav("PUT", "/f", b"one")
    before = dav("GET", "/f").headers["etag"]
    handle = fs.open(fs.lookup(ROOT_INODE, b"f").inode, os.O_RDWR, CALLER)
    fs.write(handle, 0, b"two")
    after = dav("GET", "/f")
    assert after.body == b"two"
    assert after.headers["etag"] != before
    fs.close(handle)
    fs.rename(ROOT_INODE, b"f", ROOT_INODE, b"g", RenameFlags.NONE, CALLER)
    assert dav("GET", "/f").status == 404
    assert dav("GET", "/g").body == b"two"
