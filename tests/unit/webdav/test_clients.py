"""The requests of real clients, replayed."""

import base64
import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from hashlib import md5
from pathlib import Path

import pytest

from cryptdrive.types import ROOT_INODE
from cryptdrive.vfs.values import Caller
from tests.support.webdav import Client, MemoryValue, Response, serving

XML = b'<?xml version="1.0" encoding="utf-8"?>'
LOCK = (
    XML + b'<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>'
    b"<D:locktype><D:write/></D:locktype><D:owner><D:href>me</D:href></D:owner></D:lockinfo>"
)
WINDOWS_TIMES = (
    XML + b'<D:propertyupdate xmlns:D="DAV:" xmlns:Z="urn:schemas-microsoft-com:"><D:set><D:prop>'
    b"<Z:Win32CreationTime>Mon, 02 Mar 2020 10:11:12 GMT</Z:Win32CreationTime>"
    b"<Z:Win32LastAccessTime>Mon, 02 Mar 2020 10:11:12 GMT</Z:Win32LastAccessTime>"
    b"<Z:Win32LastModifiedTime>Tue, 03 Mar 2020 10:11:12 GMT</Z:Win32LastModifiedTime>"
    b"<Z:Win32FileAttributes>00000020</Z:Win32FileAttributes></D:prop></D:set></D:propertyupdate>"
)


@pytest.fixture
def dav(tmp_path: Path) -> Iterator[Client]:
    with serving(tmp_path) as client:
        yield client


def ask(*names: str) -> bytes:
    """A PROPFIND body; names of DAV: as they are, others in Clark notation."""
    parts = []
    for name in names:
        space, _, local = name.rpartition("}")
        parts.append(f'<x:{local} xmlns:x="{space[1:] or "DAV:"}"/>')
    return XML + f'<D:propfind xmlns:D="DAV:"><D:prop>{"".join(parts)}</D:prop></D:propfind>'.encode()


def lock(dav: Client, path: str, **headers: str) -> str:
    """Its token, with the brackets."""
    answer = dav("LOCK", path, LOCK, **{"Depth": "0", "Timeout": "Second-600", **headers})
    assert answer.status in (200, 201)
    return answer.headers["lock-token"]


# --- every client ------------------------------------------------------------------------------


def test_class_2_is_announced_with_its_methods(dav: Client) -> None:
    answer = dav("OPTIONS", "/")
    assert answer.status == 200
    assert answer.headers["dav"].split(",")[:2] == ["1", "2"]
    assert answer.headers["ms-author-via"] == "DAV"
    assert {"PROPFIND", "LOCK", "UNLOCK", "MOVE"} <= set(answer.headers["allow"].split(", "))


def test_a_read_only_drive_announces_class_1(tmp_path: Path) -> None:
    with serving(tmp_path, read_only=True) as dav:
        answer = dav("OPTIONS", "/")
        assert answer.headers["dav"] == "1"
        assert "PUT" not in answer.headers["allow"]
        assert b"lockentry" not in dav("PROPFIND", "/", ask("supportedlock"), Depth="0").body


def test_etag_and_last_modified_on_every_resource(dav: Client) -> None:
    dav("MKCOL", "/folder")
    dav("PUT", "/folder/file", b"text")
    for path in ("/", "/folder", "/folder/", "/folder/file"):
        head = dav("HEAD", path)
        assert head.status == 200
        assert re.fullmatch(r'"[0-9a-f]+-[0-9a-f]+"', head.headers["etag"])
        assert parsedate_to_datetime(head.headers["last-modified"])
        found = dav("PROPFIND", path, ask("getetag", "getlastmodified"), Depth="0").body.decode()
        assert f"<D:getetag>{head.headers['etag']}</D:getetag>" in found
        assert f"<D:getlastmodified>{head.headers['last-modified']}</D:getlastmodified>" in found


def test_quoted_and_bare_etags_in_if_match(dav: Client) -> None:
    for form in ('"{}"', "{}", '"other", "{}"', 'W/"x" , "{}"', "*"):
        etag = dav("PUT", "/f", b"one").headers["etag"]
        assert dav("PUT", "/f", b"two", If_Match=form.format(etag.strip('"'))).status == 204, form
    assert dav("PUT", "/f", b"three", If_Match='"other"').status == 412


@pytest.mark.parametrize(
    ("header", "status", "expected"),
    [
        ("bytes=0-0", 206, (0, 1)),
        ("bytes=5-", 206, (5, 10)),
        ("bytes=-3", 206, (7, 10)),
        ("bytes=-99", 206, (0, 10)),
        ("bytes=0-99", 206, (0, 10)),
        ("bytes=10-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=3-2", 200, (0, 10)),
        ("bytes=a-b", 200, (0, 10)),
        ("bytes=-", 200, (0, 10)),
        ("lines=1-2", 200, (0, 10)),
        ("bytes=0-1,5-6", 200, (0, 10)),
    ],
)
def test_ranges(dav: Client, header: str, status: int, expected: tuple[int, int] | None) -> None:
    data = b"0123456789"
    dav("PUT", "/f", data)
    answer = dav("GET", "/f", Range=header)
    assert answer.status == status
    if expected is None:
        assert answer.headers["content-range"] == "bytes */10"
        return
    start, stop = expected
    assert answer.body == data[start:stop]
    assert answer.headers["content-length"] == str(stop - start)
    if status == 206:
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/10"


def test_a_range_of_an_empty_file(dav: Client) -> None:
    dav("PUT", "/f", b"")
    assert dav("GET", "/f", Range="bytes=0-").status == 416
    assert dav("GET", "/f").body == b""


def test_if_range_by_date_and_by_weak_tag(dav: Client) -> None:
    dav("PUT", "/f", b"0123456789")
    date = dav("HEAD", "/f").headers["last-modified"]
    assert dav("GET", "/f", Range="bytes=0-1", If_Range=date).status == 206
    assert dav("GET", "/f", Range="bytes=0-1", If_Range="Mon, 02 Mar 2020 10:11:12 GMT").status == 200
    etag = dav("HEAD", "/f").headers["etag"]
    assert dav("GET", "/f", Range="bytes=0-1", If_Range=f"W/{etag}").status == 200


def test_a_cached_file_is_not_sent_again(dav: Client) -> None:
    dav("PUT", "/f", b"text")
    head = dav("HEAD", "/f").headers
    assert dav("GET", "/f", If_Modified_Since=head["last-modified"]).status == 304
    answer = dav("GET", "/f", If_None_Match=head["etag"], If_Modified_Since="Mon, 02 Mar 2020 10:11:12 GMT")
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", head["etag"])
    assert dav("PUT", "/f", b"x", If_Unmodified_Since="Mon, 02 Mar 2020 10:11:12 GMT").status == 412


def test_quota(dav: Client) -> None:
    dav("PUT", "/f", b"x" * 100_000)
    found = dav("PROPFIND", "/", ask("quota-available-bytes", "quota-used-bytes"), Depth="0").body.decode()
    used = re.search(r"<D:quota-used-bytes>(\d+)<", found)
    available = re.search(r"<D:quota-available-bytes>(\d+)<", found)
    assert used is not None
    assert available is not None
    assert int(used[1]) >= 100_000
    assert int(available[1]) > 1 << 40
    assert b"quota" not in dav("PROPFIND", "/", Depth="0").body


def test_a_missing_parent_is_a_conflict(dav: Client) -> None:
    dav("PUT", "/file", b"x")
    for parent in ("/missing", "/file"):
        assert dav("PUT", f"{parent}/f", b"x").status == 409
        assert dav("MKCOL", f"{parent}/f").status == 409
        assert dav("LOCK", f"{parent}/f", LOCK).status == 409
        assert dav("COPY", "/file", Destination=f"{parent}/f").status == 409
        assert dav("MOVE", "/file", Destination=f"{parent}/f").status == 409
        assert dav("GET", f"{parent}/f").status == 404


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_overwrite_f(dav: Client, method: str) -> None:
    dav("PUT", "/a", b"a")
    dav("PUT", "/b", b"b")
    assert dav(method, "/a", Destination="/b", Overwrite="F").status == 412
    assert dav("GET", "/b").body == b"b"
    assert dav(method, "/a", Destination="/c", Overwrite="F").status == 201
    assert dav(method, "/c", Destination="/b", Overwrite="T").status == 204
    assert dav("GET", "/b").body == b"a"
    assert dav(method, "/b", Destination="/d", Overwrite="maybe").status == 400


def test_overwrite_f_spares_what_is_not_shown(dav: Client) -> None:
    fs, caller = dav.fs, Caller()
    fs.symlink(ROOT_INODE, b"dangling", b"nowhere", caller)
    fs.mknod(ROOT_INODE, b"fifo", 0o010644, 0, caller)
    dav("PUT", "/a", b"a")
    for hidden in ("/dangling", "/fifo"):
        assert dav("GET", hidden).status == 404
        assert dav("MOVE", "/a", Destination=hidden, Overwrite="F").status == 412
        assert dav("COPY", "/a", Destination=hidden, Overwrite="F").status == 412
        assert dav("MKCOL", hidden).status == 405
        assert dav("LOCK", hidden, LOCK).status == 403
    assert dav("PUT", "/fifo", b"x").status == 405
    assert dav("GET", "/a").body == b"a"


# --- macOS Finder ------------------------------------------------------------------------------


def test_finder_saves_a_file(dav: Client) -> None:
    """Empty PUT, LOCK, chunked PUT with the length in a header of its own, UNLOCK."""
    assert dav("PUT", "/new", b"").status == 201
    token = lock(dav, "/new")

    def chunks() -> Iterator[bytes]:
        for _ in range(10):
            yield b"x" * 10_000

    headers = {"Transfer_Encoding": "chunked", "X_Expected_Entity_Length": "100000", "If": f"({token})"}
    assert dav("PUT", "/new", chunks(), **headers).status == 204
    assert dav("UNLOCK", "/new", Lock_Token=token).status == 204
    assert dav("GET", "/new").body == b"x" * 100_000


@pytest.mark.parametrize("announced", ["99999", "100001", "0", "-1", "many"])
def test_finders_length_is_compared(dav: Client, announced: str) -> None:
    dav("PUT", "/f", b"old")
    headers = {"Transfer_Encoding": "chunked", "X_Expected_Entity_Length": announced}
    assert dav("PUT", "/f", iter([b"x" * 100_000]), **headers).status == 400
    assert dav("GET", "/f").body == b"old"


@pytest.mark.parametrize("name", ["._file", ".DS_Store", ".Spotlight-V100", "Backups.backupdb", ".hidden"])
def test_finders_probes_are_cheap(dav: Client, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dav("MKCOL", "/folder")
    dav("PUT", "/folder/file", b"x")
    dav.fs.sync()
    dav("PROPFIND", f"/folder/{name}", ask("getetag"), Depth="0")

    def store(*_: object) -> None:
        pytest.fail("the store was asked")

    monkeypatch.setattr(type(dav.fs._publisher), "publish", store)
    started = time.monotonic()
    for _ in range(50):
        assert dav("PROPFIND", f"/folder/{name}", ask("getetag"), Depth="0").status == 404
    assert time.monotonic() - started < 5


def test_finders_names_are_found_in_the_other_form(dav: Client) -> None:
    dav("MKCOL", "/e%CC%81")
    dav("PUT", "/e%CC%81/o%CC%88", b"decomposed")
    assert dav("GET", "/%C3%A9/%C3%B6").body == b"decomposed"
    assert dav("PUT", "/%C3%A9/%C3%B6", b"again").status == 204
    listing = dav("PROPFIND", "/%C3%A9", Depth="1").body
    assert b"<D:href>/%C3%A9/o%CC%88</D:href>" in listing
    assert listing.count(b"<D:response>") == 2


def test_answers_have_a_length_and_dates_are_utc(dav: Client) -> None:
    dav("PUT", "/f", b"x")
    for method, path in (("GET", "/f"), ("PROPFIND", "/"), ("HEAD", "/f"), ("OPTIONS", "/")):
        answer = dav(method, path, Depth="1") if method == "PROPFIND" else dav(method, path)
        assert "content-length" in answer.headers
        assert answer.headers["date"].endswith(" GMT")
    assert dav("HEAD", "/f").headers["last-modified"].endswith(" GMT")
    found = dav("PROPFIND", "/f", ask("creationdate"), Depth="0").body
    assert re.search(rb"<D:creationdate>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ<", found)


# --- Windows -----------------------------------------------------------------------------------


def digest(dav: Client, user: str, method: str, path: str, *, password: str | None = None) -> Response:
    """A request by Digest; ``user`` as the client sends it, with the header's escapes."""
    challenge = dav(method, path, Authorization="").headers["www-authenticate"]
    assert challenge.startswith("Digest")
    nonce = re.search(r'nonce="([^"]+)"', challenge)
    assert nonce is not None
    hashed = user.replace("\\\\", "\\")

    def h(*parts: str) -> str:
        return md5(":".join(parts).encode(), usedforsecurity=False).hexdigest()

    secret = h(hashed, "cryptdrive", password or dav.server.credential.password)
    response = h(secret, nonce[1], "00000001", "c", "auth", h(method, path))
    header = (
        f'Digest username="{user}", realm="cryptdrive", nonce="{nonce[1]}", uri="{path}", '
        f'response="{response}", qop=auth, nc=00000001, cnonce="c", algorithm=MD5'
    )
    return dav(method, path, Authorization=header)


@pytest.mark.parametrize("domain", ["", "OFFICE\\\\"])
def test_windows_logs_in_by_digest(dav: Client, domain: str) -> None:
    dav("PUT", "/a%2Cb%20%C3%A9", b"text")
    user = domain + dav.server.credential.user
    for path in ("/", "/a%2Cb%20%C3%A9"):
        assert digest(dav, user, "PROPFIND", path).status == 207
    assert digest(dav, user, "GET", "/a%2Cb%20%C3%A9").body == b"text"
    assert digest(dav, user, "GET", "/", password="wrong").status == 401
    assert digest(dav, domain + "someone", "GET", "/").status == 401


def test_windows_logs_in_by_basic_with_its_domain(dav: Client) -> None:
    credential = dav.server.credential
    for user in (credential.user, f"OFFICE\\{credential.user}"):
        given = base64.b64encode(f"{user}:{credential.password}".encode()).decode()
        assert dav("PROPFIND", "/", Depth="0", Authorization=f"Basic {given}").status == 207


def test_windows_saves_a_file(dav: Client) -> None:
    """MiniRedirector: PUT (empty), LOCK, PROPPATCH, HEAD, PUT, PROPPATCH, UNLOCK."""
    assert dav("PUT", "/doc.txt", b"").status == 201
    token = lock(dav, "/doc.txt", Timeout="Second-3600")
    held = {"If": f"({token})"}
    for body in (b"content", b"other content"):
        assert b"200 OK" in dav("PROPPATCH", "/doc.txt", WINDOWS_TIMES, **held).body
        assert dav("HEAD", "/doc.txt").status == 200
        assert dav("PUT", "/doc.txt", body, **held).status == 204
        patched = dav("PROPPATCH", "/doc.txt", WINDOWS_TIMES, **held)
        assert patched.status == 207
        assert b"403" not in patched.body
    assert dav("UNLOCK", "/doc.txt", Lock_Token=token.strip("<>")).status == 204, "a token without <>"
    assert dav("GET", "/doc.txt").body == b"other content"
    found = dav("PROPFIND", "/doc.txt", Depth="0").body
    assert b"Mon, 02 Mar 2020 10:11:12 GMT" in found
    assert b"00000020" in found
    assert b"<D:getlastmodified>Tue, 03 Mar 2020 10:11:12 GMT<" in found


def test_windows_sees_the_time_of_a_later_change(dav: Client) -> None:
    """Its own property of the time must not hide what another program wrote since."""
    dav("PUT", "/f", b"one")
    dav("PROPPATCH", "/f", WINDOWS_TIMES)
    name = "{urn:schemas-microsoft-com:}Win32LastModifiedTime"
    assert b"Tue, 03 Mar 2020 10:11:12 GMT" in dav("PROPFIND", "/f", ask(name), Depth="0").body
    dav("PUT", "/f", b"two")
    modified = dav("HEAD", "/f").headers["last-modified"]
    assert modified.encode() in dav("PROPFIND", "/f", ask(name), Depth="0").body


# --- Office, LibreOffice -----------------------------------------------------------------------


def test_office_saves_by_a_move_over_the_old(dav: Client) -> None:
    dav("PUT", "/doc.docx", b"old")
    before = dav("HEAD", "/doc.docx").headers["etag"]
    token = lock(dav, "/doc.docx")
    assert dav("PUT", "/~WRD0001.tmp", b"new").status == 201
    target = dav.server.url + "doc.docx"
    assert dav("MOVE", "/~WRD0001.tmp", Destination=target, Overwrite="T").status == 423
    held = {"If": f"<{target}> ({token})"}
    assert dav("MOVE", "/~WRD0001.tmp", Destination=target, Overwrite="T", **held).status == 204
    assert dav("GET", "/doc.docx").body == b"new"
    assert dav("HEAD", "/doc.docx").headers["etag"] != before
    assert dav("GET", "/~WRD0001.tmp").status == 404
    assert dav("UNLOCK", "/doc.docx", Lock_Token=token).status == 204


def test_office_heads_collections(dav: Client) -> None:
    dav("MKCOL", "/folder")
    assert dav("HEAD", "/folder").status == 200
    assert dav("HEAD", "/folder/").status == 200
    assert dav("HEAD", "/missing/").status == 404


def test_office_patches_what_it_locked_without_the_token(dav: Client) -> None:
    dav("PUT", "/f", b"x")
    lock(dav, "/f")
    patched = dav("PROPPATCH", "/f", WINDOWS_TIMES)
    assert patched.status == 207
    assert b"200 OK" in patched.body
    other = re.sub(rb"<Z:.*</Z:[^>]*>", b'<a xmlns="b">c</a>', WINDOWS_TIMES)
    assert dav("PROPPATCH", "/f", other).status == 423
    both = WINDOWS_TIMES.replace(b"</D:prop>", b'<a xmlns="b">c</a></D:prop>')
    assert dav("PROPPATCH", "/f", both).status == 423


def test_libreoffice_is_told_which_locks_there_are(dav: Client) -> None:
    dav("PUT", "/f", b"x")
    found = dav("PROPFIND", "/f", ask("supportedlock", "lockdiscovery"), Depth="0").body
    assert found.count(b"<D:lockentry>") == 2
    token = lock(dav, "/f", Timeout="Second-180")
    found = dav("PROPFIND", "/f", ask("lockdiscovery"), Depth="0").body
    assert token.strip("<>").encode() in found
    assert re.search(rb"<D:timeout>Second-1[678]\d</D:timeout>", found)
    assert b">me</" in found
    assert b"<D:lockroot><D:href>/f</D:href></D:lockroot>" in found
    refreshed = dav("LOCK", "/f", b"", If=f"({token})", Timeout="Second-600")
    assert refreshed.status == 200
    assert re.search(rb"Second-(600|59\d)", refreshed.body)
    assert dav("LOCK", "/f", LOCK).status == 423


# --- GNOME gvfs, davfs2, rclone ----------------------------------------------------------------


def test_gvfs_makes_an_empty_file_without_a_length(dav: Client) -> None:
    head = b"PUT /empty HTTP/1.1\r\nHost: @HOST@\r\nAuthorization: @AUTH@\r\nConnection: close\r\n\r\n"
    assert dav.raw(head).startswith(b"HTTP/1.1 201")
    assert dav("GET", "/empty").status == 200


def test_gvfs_makes_a_folder_and_renames_it(dav: Client) -> None:
    assert dav("MKCOL", "/New%20Folder").status == 201
    assert dav("MOVE", "/New%20Folder/", Destination=dav.server.url + "%C3%A4%26b/").status == 201
    assert dav("PROPFIND", "/%c3%a4&b/", Depth="0").status == 207


def test_escapes_in_either_case(dav: Client) -> None:
    dav("PUT", "/%C3%A9%2B", b"text")
    assert dav("GET", "/%c3%a9%2b").body == b"text"
    assert dav("GET", "/%C3%A9+").body == b"text"


@pytest.mark.parametrize("name", ["a?b", "a#b", "a;b", "a&b", "a b", "é"])
def test_a_destination_that_is_not_escaped(dav: Client, name: str) -> None:
    dav("PUT", "/f", b"text")
    destination = (dav.server.url + name).encode("utf-8").decode("latin-1")
    assert dav("MOVE", "/f", Destination=destination).status == 201
    assert [entry.name for entry in dav.fs.readdir(dav.fs.opendir(ROOT_INODE))] == [name.encode()]


def test_davfs2_creates_by_locking(dav: Client) -> None:
    token = lock(dav, "/new")
    assert dav("GET", "/new").body == b""
    etag = dav("HEAD", "/new").headers["etag"]
    held = {"If": f"({token})", "If_Match": etag}
    assert dav("PUT", "/new", b"text", **held).status == 204
    assert dav("PUT", "/new", b"text", **held).status == 412
    assert dav("UNLOCK", "/new", Lock_Token=token).status == 204
    assert dav("LOCK", "/new", LOCK).status == 200


def test_rclone_keeps_times(dav: Client) -> None:
    answer = dav("PUT", "/f", b"text", X_OC_Mtime="1583230272")
    assert (answer.status, answer.headers["x-oc-mtime"]) == (201, "accepted")
    head = dav("HEAD", "/f")
    assert head.headers["last-modified"] == "Tue, 03 Mar 2020 10:11:12 GMT"
    assert head.headers["etag"] == answer.headers["etag"]
    for bad in ("yesterday", "nan", "inf", "1e30"):
        assert dav("PUT", "/f", b"x", X_OC_Mtime=bad).status == 400
    assert dav("GET", "/f").body == b"text"


# --- what wsgidav and cheroot do by themselves -------------------------------------------------


def test_chunks_that_look_like_chunks_are_not_decoded_twice(dav: Client) -> None:
    data = b"5\r\nhello\r\n0\r\n\r\n"
    assert dav("PUT", "/f", iter([data]), Transfer_Encoding="chunked").status == 201
    assert dav("GET", "/f").body == data


def test_chunked_xml_is_read(dav: Client) -> None:
    body = ask("getetag")
    found = dav("PROPFIND", "/", iter([body[:10], body[10:]]), Transfer_Encoding="chunked", Depth="0")
    assert b"getetag" in found.body
    assert b"displayname" not in found.body


def test_locks_survive_a_restart_with_their_owner(tmp_path: Path) -> None:
    locks = MemoryValue()
    with serving(tmp_path, locks=locks) as dav:
        dav("MKCOL", "/folder")
        token = lock(dav, "/folder/%C3%A9 f".replace(" ", "%20"))
        fs = dav.fs
    with serving(tmp_path, locks=locks, fs=fs) as dav:
        found = dav("PROPFIND", "/folder/%C3%A9%20f", ask("lockdiscovery"), Depth="0").body
        assert token.strip("<>").encode() in found
        assert b">me</" in found
        assert dav("PUT", "/folder/%C3%A9%20f", b"x", If=f"({token})").status == 204
        assert dav("DELETE", "/folder").status == 423
