"""Web pages, other hosts and strangers get nothing."""

import base64
import hashlib
import re
import socket
import stat
from pathlib import Path

import pytest

from cryptdrive.config import WebDavOptions
from cryptdrive.errors import ConfigError
from cryptdrive.types import ROOT_INODE
from cryptdrive.vfs.values import Caller
from cryptdrive.webdav import tls
from cryptdrive.webdav.credential import load_or_create
from tests.support.webdav import serving


def test_hosts_origins_and_credentials(tmp_path: Path) -> None:
    with serving(tmp_path) as dav:
        dav("PUT", "/page.html", b"<script>alert(1)</script>")
        host, port = dav.address
        assert dav("GET", "/page.html", Host=f"localhost:{port}").status == 200
        for refused in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", ""):
            assert dav("GET", "/page.html", Host=refused).status in (400, 421), refused
        assert dav("GET", "/page.html", Origin="http://evil.example").status == 403
        assert dav("GET", "/page.html", Origin="null").status == 403
        assert dav("GET", "/page.html", Origin=f"http://{host}:{port}").status == 200
        assert dav("GET", "/page.html", Sec_Fetch_Site="cross-site").status == 403
        assert dav("GET", "/page.html", Sec_Fetch_Site="same-site").status == 403
        assert dav("GET", "/page.html", Authorization="Basic bm86bm8=").status == 401
        assert dav("GET", "/page.html", Authorization="Basic !!!").status == 401
        for method in ("OPTIONS", "PROPFIND", "PUT", "GET"):
            answer = dav(method, "/page.html", Authorization="")
            assert answer.status == 401
            assert "www-authenticate" in answer.headers
        page = dav("GET", "/page.html")
        assert "sandbox" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["content-disposition"] == "attachment"
        assert not any(name.startswith("access-control") for name in page.headers)


def test_the_port_is_part_of_the_host(tmp_path: Path) -> None:
    with serving(tmp_path) as dav:
        _, port = dav.address
        for name in ("localhost", "LocalHost", "127.0.0.1", "[::1]"):
            assert dav("OPTIONS", "/", Host=f"{name}:{port}").status == 200
            assert dav("OPTIONS", "/", Host=name).status == 421
            assert dav("OPTIONS", "/", Host=f"{name}:{port + 1}").status == 421
        for name in ("10.0.0.1", "[fe80::1]", "127.0.0.2", f"localhost:{port}.evil"):
            assert dav("OPTIONS", "/", Host=f"{name}:{port}").status in (400, 421)


def test_configured_names_are_ours_too(tmp_path: Path) -> None:
    options = WebDavOptions(address=("127.0.0.1", 0), allowed_hosts=("drive.example",))
    with serving(tmp_path, options=options) as dav:
        _, port = dav.address
        assert dav("OPTIONS", "/", Host="drive.example").status == 200
        assert dav("OPTIONS", "/", Host=f"Drive.Example:{port}").status == 200
        assert dav("OPTIONS", "/", Host="evil.drive.example").status == 421


def test_bound_to_everything_any_address_is_ours_but_no_name(tmp_path: Path) -> None:
    options = WebDavOptions(address=("0.0.0.0", 0))
    with serving(tmp_path, options=options) as dav:
        port = dav.address[1]
        assert dav.server.fingerprint is not None
        for host in ("192.0.2.7", "[2001:db8::1]", "127.0.0.1", socket.gethostname()):
            assert dav("OPTIONS", "/", Host=f"{host}:{port}").status == 200, host
        for host in ("evil.example", "192.0.2.7.evil.example", "0x7f000001", "[::1", "192.0.2.7:1"):
            assert dav("OPTIONS", "/", Host=f"{host}:{port}").status in (400, 421), host
        assert dav("OPTIONS", "/", Host="192.0.2.7").status == 421


def test_refusals_come_before_anything_else(tmp_path: Path) -> None:
    """Even with the right credential, and whatever the method."""
    with serving(tmp_path) as dav:
        dav("PUT", "/f", b"x")
        for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PROPFIND", "MOVE", "LOCK", "POST"):
            assert dav(method, "/f", Host="evil.example").status == 421
            assert dav(method, "/f", Origin="https://evil.example").status == 403
            assert dav(method, "/f", Sec_Fetch_Site="cross-site").status == 403
        assert dav("GET", "/f").body == b"x"
        preflight = {"Origin": "https://evil.example", "Access_Control_Request_Method": "PUT"}
        assert not any("access-control" in name for name in dav("OPTIONS", "/f", **preflight).headers)


@pytest.mark.parametrize(
    ("name", "active"),
    [("a.html", True), ("a.svg", True), ("a.xml", True), ("a.js", True), ("a.pdf", True), ("a.xhtml", True),
     ("a.txt", False), ("a.jpg", False), ("a", False), ("a.html.gz", False)],
)  # fmt: skip
def test_stored_files_cannot_run_in_the_drives_name(tmp_path: Path, name: str, active: bool) -> None:
    with serving(tmp_path) as dav:
        dav("PUT", f"/{name}", b"<script>alert(1)</script>")
        for method in ("GET", "HEAD"):
            headers = dav(method, f"/{name}").headers
            assert headers["content-security-policy"].startswith("sandbox;")
            assert headers["x-content-type-options"] == "nosniff"
            assert headers.get("content-disposition") == ("attachment" if active else None)


def test_a_folders_page_runs_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as dav:
        fs, caller = dav.fs, Caller()
        names = [b"<script>alert(1)<", b"javascript:alert(1)", b'"onload="x', b"a&b", b"\xff", b"folder #?"]
        for name in names:
            fs.mknod(ROOT_INODE, name, 0o100644, 0, caller)
        dav("MKCOL", "/sub")
        page = dav("GET", "/")
        assert page.status == 200
        assert "script" not in page.headers["content-security-policy"].replace("default-src", "")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        text = page.body.decode()
        assert "<script" not in text
        links = re.findall(r'href="([^"]*)"', text)
        assert len(links) == len(names) + 1
        for link in links:
            assert link.startswith("./")
            assert dav("GET", link[1:]).status == 200
        style = re.search(r"<style>(.*)</style>", text)
        assert style is not None
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        assert f"'sha256-{digest}'" in page.headers["content-security-policy"]
        assert "WsgiDAV" not in text
        assert page.headers["server"] == "cryptdrive"
        assert 'href="../"' in dav("GET", "/sub/").body.decode()
        again = dav("GET", "/", If_None_Match=page.headers["etag"])
        assert again.status == 200, "the sizes of the files in it are not part of the folder's ETag"


def test_a_page_without_the_slash_leads_to_the_right_place(tmp_path: Path) -> None:
    with serving(tmp_path) as dav:
        dav("MKCOL", "/sub")
        dav("PUT", "/sub/f", b"x")
        answer = dav("GET", "/sub")
        assert (answer.status, answer.headers["location"]) == (301, "/sub/")
        assert dav("HEAD", "/sub").status == 200


def test_errors_do_not_tell_of_the_software(tmp_path: Path) -> None:
    with serving(tmp_path) as dav:
        for method, path in (("GET", "/missing"), ("POST", "/"), ("BREW", "/"), ("PUT", "/"), ("MKCOL", "/")):
            answer = dav(method, path)
            assert answer.status in (404, 405)
            text = answer.body.decode().lower() + str(answer.headers).lower()
            assert not any(word in text for word in ("wsgidav", "cheroot", "python", "missing"))


def test_an_address_in_use_is_told(tmp_path: Path) -> None:
    with serving(tmp_path) as dav:
        options = WebDavOptions(address=dav.address)
        with (
            pytest.raises(ConfigError, match=r"cannot serve on .*: something else uses that port"),
            serving(tmp_path, options=options),
        ):
            pass


def test_a_broken_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("not a certificate")
    options = WebDavOptions(
        address=("127.0.0.1", 0), certificate_file=tmp_path / "c", key_file=tmp_path / "c"
    )
    with pytest.raises(ConfigError), serving(tmp_path, options=options):
        pass


def test_a_domain_before_the_user_name_is_ignored(tmp_path: Path) -> None:
    with serving(tmp_path) as dav:
        credential = dav.server.credential
        text = f"OFFICE\\{credential.user}:{credential.password}".encode()
        token = base64.b64encode(text).decode()
        assert dav("PROPFIND", "/", Authorization=f"Basic {token}", Depth="0").status == 207


def test_paths_cannot_leave_the_drive(tmp_path: Path) -> None:
    with serving(tmp_path) as dav:
        for path in ("/../etc/passwd", "/%2e%2e/etc/passwd", "/a/../../etc/passwd", "//etc/passwd"):
            answer = dav("GET", path)
            assert answer.status in (400, 404)
            assert b"root:" not in answer.body
        assert dav("PUT", "/nul%00name", b"x").status == 400


def test_the_credential_is_random_kept_and_private(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = load_or_create(tmp_path / "a")
    assert load_or_create(tmp_path / "a") == first
    assert load_or_create(tmp_path / "b").password != first.password
    assert len(first.password) >= 20
    assert first.password not in repr(first)
    path = tmp_path / "a" / "webdav-credential"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(ConfigError):
        load_or_create(tmp_path / "a")


def test_a_self_made_certificate_is_kept(tmp_path: Path) -> None:
    certificate, key = tls.load_or_make(tmp_path, "192.0.2.1")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    printed = tls.fingerprint(certificate)
    assert tls.load_or_make(tmp_path, "192.0.2.1") == (certificate, key)
    assert tls.fingerprint(certificate) == printed
    assert len(printed) == 95


@pytest.mark.parametrize("damage", ["", "nonsense", "another"])
@pytest.mark.parametrize("which", [0, 1])
def test_a_damaged_certificate_is_made_anew(tmp_path: Path, damage: str, which: int) -> None:
    paths = tls.load_or_make(tmp_path, "192.0.2.1")
    another = tls.load_or_make(tmp_path, "192.0.2.2")
    if damage:
        paths[which].write_bytes(another[which].read_bytes() if damage == "another" else b"nonsense")
    else:
        paths[which].unlink()
    options = WebDavOptions(
        address=("127.0.0.1", 0),
        certificate_file=tls.load_or_make(tmp_path, "192.0.2.1")[0],
        key_file=paths[1],
    )
    with serving(tmp_path, options=options) as dav:
        assert dav("OPTIONS", "/").status == 200
