"""Names, passwords and nonces."""

import base64
import hmac
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptdrive.webdav import authentication
from cryptdrive.webdav.authentication import NONCE_LIFE_S, Nonces
from tests.support.webdav import Client, serving
from tests.unit.webdav.test_clients import digest


@pytest.fixture
def dav(tmp_path: Path) -> Iterator[Client]:
    with serving(tmp_path) as client:
        yield client


def test_nonces_are_ours_and_end() -> None:
    now = 5.0
    nonces = Nonces(lambda: now)
    made, signature = nonces.make().split("-")
    assert nonces.is_fresh(made, signature)
    assert not nonces.is_fresh("ff", signature)
    assert not Nonces(lambda: now).is_fresh(made, signature)
    now += NONCE_LIFE_S
    assert not nonces.is_fresh(made, signature)


def test_a_stale_nonce_is_told_to_be_one(dav: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    user = dav.server.credential.user
    monkeypatch.setattr(authentication, "NONCE_LIFE_S", 0)
    answer = digest(dav, user, "GET", "/")
    assert answer.status == 401
    assert "stale=true" in answer.headers["www-authenticate"]
    monkeypatch.setattr(authentication, "NONCE_LIFE_S", 60)
    assert digest(dav, user, "GET", "/").status == 200


def test_a_digest_is_good_for_one_path_and_method(dav: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    dav("PUT", "/a", b"a")
    dav("PUT", "/b", b"b")
    seen = []
    call = Client.__call__

    def spying(self: Client, method: str, path: str, body: bytes | None = None, **headers: str) -> object:
        seen.append(headers["Authorization"])
        return call(self, method, path, body, **headers)

    with monkeypatch.context() as patched:
        patched.setattr(Client, "__call__", spying)
        assert digest(dav, dav.server.credential.user, "GET", "/a").status == 200
    assert dav("GET", "/a", Authorization=seen[-1]).status == 200
    assert dav("GET", "/b", Authorization=seen[-1]).status == 401
    assert dav("DELETE", "/a", Authorization=seen[-1]).status == 401


def basic(text: str | bytes) -> str:
    return "Basic " + base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        "Basic",
        "Basic ",
        "Basic !!!",
        basic("no colon"),
        basic(b"\xff:\xff"),
        basic(":"),
        basic("cryptdrive:"),
        basic("cryptdrive:wrong"),
        "Bearer x",
        "Digest",
        "Digest username",
        'Digest username="x", nonce="0-0"',
        'Digest nonce="1-zz"',
        "Negotiate abc",
        "Digest nonce=\xe9",
    ],
)
def test_whatever_is_wrong_is_401(dav: Client, header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "_FAILURE_DELAY_S", 0)
    for method in ("GET", "OPTIONS", "PUT"):
        answer = dav(method, "/", Authorization=header)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Digest")
        assert "Basic" in answer.headers["www-authenticate"]


def test_malformed_digests_with_a_good_nonce(dav: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "_FAILURE_DELAY_S", 0)
    nonce = dav("GET", "/", Authorization="").headers["www-authenticate"].split('nonce="')[1].split('"')[0]
    user = dav.server.credential.user
    for rest in (
        "", f'username="{user}"', f'username="{user}", uri="/"', f'username="{user}", uri="/", response="x"',
        f'username="{user}", uri="/", response="x", qop=auth', 'username="", uri="/", response="x"',
        f'username="{user}", uri="/", response="x", qop=auth, nc=1, cnonce="y", algorithm=SHA-256',
    ):  # fmt: skip
        header = f'Digest realm="cryptdrive", nonce="{nonce}"{", " if rest else ""}{rest}'
        assert dav("GET", "/", Authorization=header).status == 401, rest


def test_passwords_are_compared_in_constant_time(dav: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def spying(a: bytes, b: bytes) -> bool:
        compared.append(b)
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", spying)
    assert dav("GET", "/").status == 200
    assert any(dav.server.credential.password.encode() in each for each in compared)


def test_failures_do_not_keep_the_others_waiting(dav: Client) -> None:
    wrong = basic("cryptdrive:wrong")
    threads = [threading.Thread(target=lambda: dav("GET", "/", Authorization=wrong)) for _ in range(40)]
    for each in threads:
        each.start()
    started = time.monotonic()
    assert dav("GET", "/").status == 200
    assert time.monotonic() - started < 3
    for each in threads:
        each.join()


def test_nothing_secret_is_logged(dav: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        dav("PUT", "/confidential-name", b"x")
        dav("GET", "/confidential-name/x")
        dav("GET", "/confidential-name", Authorization=basic("cryptdrive:confidential-guess"))
        dav("PROPPATCH", "/confidential-name", b"<x")
        digest(dav, dav.server.credential.user, "GET", "/confidential-name")
    assert "confidential" not in caplog.text
    assert dav.server.credential.password not in caplog.text
