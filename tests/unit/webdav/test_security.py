"""Web pages, other hosts and strangers get nothing."""

import stat
from pathlib import Path

import pytest

from cryptdrive.errors import ConfigError
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
        assert dav("GET", "/page.html", Authorization="Basic !!!").status in (400, 401, 500)
        for method in ("OPTIONS", "PROPFIND", "PUT", "GET"):
            answer = dav(method, "/page.html", Authorization="")
            assert answer.status == 401
            assert "www-authenticate" in answer.headers
        page = dav("GET", "/page.html")
        assert "sandbox" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["content-disposition"] == "attachment"
        assert not any(name.startswith("access-control") for name in page.headers)


def test_a_domain_before_the_user_name_is_ignored(tmp_path: Path) -> None:
    import base64

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
