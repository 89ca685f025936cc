"""What goes over the socket: bodies, connections, paths."""

import io
import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cryptdrive.config import WebDavOptions
from cryptdrive.types import ROOT_INODE
from cryptdrive.vfs.values import Caller, SetAttr
from cryptdrive.webdav import gateway, server, tls
from cryptdrive.webdav.gateway import ChunkedBody
from tests.support.webdav import Client, eventually, serving


@pytest.fixture
def dav(tmp_path: Path) -> Iterator[Client]:
    with serving(tmp_path) as client:
        yield client


def read_all(body: ChunkedBody, size: int) -> list[bytes]:
    pieces = []
    while piece := body.read(size):
        pieces.append(piece)
    return pieces


def test_a_chunk_is_given_in_pieces_of_any_size() -> None:
    stream = io.BytesIO(
        b"a;name=value\r\n0123456789\r\n3\r\nabc\r\n0\r\nTrailer: x\r\n\r\nGET / HTTP/1.1\r\n"
    )
    assert read_all(ChunkedBody(stream), 4) == [b"0123", b"4567", b"89", b"abc"]
    assert stream.read() == b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"5\r\nabc",
        b"5\r\nabcde",
        b"5\r\nabcde\r\n",
        b"3\r\nabcde\r\n0\r\n\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"\r\n",
        b"+5\r\nabcde\r\n0\r\n\r\n",
        b"0x5\r\nabcde\r\n0\r\n\r\n",
        b"0\r\n",
        b"11111111111111111\r\n",
        b"0\r\n" + b"a: b\r\n" * 99,
    ],
)
def test_a_body_that_is_cut_or_malformed_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"body|chunk|trailers"):
        read_all(ChunkedBody(io.BytesIO(data)), 1024)


def test_a_huge_chunk_does_not_lie_in_memory(dav: Client) -> None:
    """The announced size of a chunk is the client's word; nothing is allocated for it."""
    request = (
        b"PUT /f HTTP/1.1\r\nHost: @HOST@\r\nAuthorization: @AUTH@\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    answer = dav.raw(request + b"ffffffffffff\r\nonly this", closing=True)
    assert answer.startswith(b"HTTP/1.1 400")
    assert dav("GET", "/f").status == 404


def test_an_unwanted_body_is_discarded_and_the_connection_stays(dav: Client) -> None:
    connection = dav.connection()
    for authorized in (False, True):
        headers = dav.authorization() if authorized else {}
        connection.request("PUT", "/f", b"x" * 500_000, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == (201 if authorized else 401)
    connection.request("PUT", "/f", iter([b"GET / HTTP/1.1\r\n"] * 100), {}, encode_chunked=True)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 401
    connection.request("GET", "/f", headers=dav.authorization())
    answer = connection.getresponse()
    assert (answer.status, len(answer.read())) == (200, 500_000)
    connection.close()


def test_the_connection_is_cut_when_too_much_is_left(dav: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "DISCARDED_BYTES_MAX", 1000)
    head = b"PUT /f HTTP/1.1\r\nHost: @HOST@\r\nContent-Length: 5000\r\n\r\n"
    answer = dav.raw(head + b"GET / HTTP/1.1\r\n" * 100)
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"Connection: close" in answer
    assert answer.count(b"HTTP/1.1") == 1


def test_a_put_without_any_length_makes_an_empty_file(dav: Client) -> None:
    answer = dav.raw(
        b"PUT /empty HTTP/1.1\r\nHost: @HOST@\r\nAuthorization: @AUTH@\r\nConnection: close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 201")
    assert dav("GET", "/empty").body == b""


def test_the_client_is_told_to_go_on(dav: Client) -> None:
    host, port = dav.address
    with socket.create_connection((host, port), timeout=20) as connection:
        authorization = dav.authorization()["Authorization"]
        head = f"PUT /f HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: {authorization}\r\n"
        connection.sendall(head.encode() + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(b"body")
        assert connection.recv(1000).startswith(b"HTTP/1.1 201")


def test_silent_connections_keep_nobody_waiting(dav: Client) -> None:
    with ExitStack() as stack:
        for _ in range(100):
            # A browser opens some in advance.
            stack.enter_context(socket.create_connection(dav.address, timeout=20))
        started = time.monotonic()
        assert dav("OPTIONS", "/").status == 200
        assert time.monotonic() - started < 5


def test_too_many_silent_connections_are_closed(dav: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.Server, "keep_alive_conn_limit", 5)
    with ExitStack() as stack:
        waiting = [stack.enter_context(socket.create_connection(dav.address, timeout=20)) for _ in range(8)]
        assert [each.recv(1) for each in waiting[5:]] == [b"", b"", b""]


def test_a_silent_connection_is_closed_before_one_that_was_of_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "HEADER_TIMEOUT_S", 0.2)
    with serving(tmp_path) as dav:
        used = dav.connection()
        used.request("OPTIONS", "/", headers=dav.authorization())
        used.getresponse().read()
        with socket.create_connection(dav.address, timeout=20) as silent:
            assert silent.recv(1) == b""
        used.request("OPTIONS", "/", headers=dav.authorization())
        assert used.getresponse().status == 200
        used.close()


def test_a_slow_upload_takes_longer_than_the_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CLIENT_TIMEOUT_S", 1)

    def slowly() -> Iterator[bytes]:
        for _ in range(8):
            time.sleep(0.2)
            yield b"x" * 1000

    with serving(tmp_path) as dav:
        assert dav("PUT", "/f", slowly(), Transfer_Encoding="chunked").status == 201
        assert len(dav("GET", "/f").body) == 8000
        started = time.monotonic()
        head = b"PUT /g HTTP/1.1\r\nHost: @HOST@\r\nAuthorization: @AUTH@\r\nContent-Length: 9\r\n\r\n"
        assert dav.raw(head + b"stuck").startswith(b"HTTP/1.1 400")
        assert time.monotonic() - started < 5
        assert dav("GET", "/g").status == 404


def test_a_file_that_shrinks_while_it_is_sent_cuts_the_connection(dav: Client) -> None:
    dav("PUT", "/f", os.urandom(40 << 20))
    fs = dav.fs
    host, port = dav.address
    with socket.create_connection((host, port), timeout=20) as connection:
        authorization = dav.authorization()["Authorization"]
        connection.sendall(
            f"GET /f HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: {authorization}\r\n\r\n".encode()
        )
        received = len(connection.recv(1000))
        fs.setattr(fs.lookup(ROOT_INODE, b"f").inode, SetAttr(size=10), Caller())
        while piece := connection.recv(1 << 20):
            received += len(piece)
    assert received < 40 << 20


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/a%20b", 200),
        ("/a%20b?query", 200),
        ("//a%20b", 200),
        ("/./a%20b", 200),
        ("http://@HOST@/a%20b", 200),
        ("/x%2Fb", 400),
        ("/x%2fb", 400),
        ("/x%00", 400),
        ("/../a%20b", 400),
        ("/%2e%2e/a%20b", 400),
        ("/a%2520b", 404),
    ],
)
def test_targets(dav: Client, target: str, status: int) -> None:
    dav("PUT", "/a%20b", b"text")
    for method in ("HEAD", "OPTIONS") if status != 404 else ("HEAD",):
        head = f"{method} {target} HTTP/1.1\r\nHost: @HOST@\r\nAuthorization: @AUTH@\r\n"
        answer = dav.raw(head.encode() + b"Connection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 %d" % status), (method, answer)
        if (method, status) == ("OPTIONS", 200):
            assert b"PROPFIND" in answer


def test_options_of_the_whole_server(dav: Client) -> None:
    answer = dav.raw(
        b"OPTIONS * HTTP/1.1\r\nHost: @HOST@\r\nAuthorization: @AUTH@\r\nConnection: close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"DAV: 1,2" in answer


def test_tls_and_what_stalls_it(tmp_path: Path) -> None:
    certificate, key = tls.load_or_make(tmp_path, "127.0.0.1")
    options = WebDavOptions(address=("127.0.0.1", 0), certificate_file=certificate, key_file=key)
    with serving(tmp_path, options=options) as dav, socket.create_connection(dav.address) as stalled:
        stalled.sendall(b"\x16\x03\x01")
        started = time.monotonic()
        assert dav("PUT", "/f", b"text").status == 201
        assert dav("GET", "/f").body == b"text"
        assert time.monotonic() - started < 5
        assert dav.server.url.startswith("https://127.0.0.1:")
        assert dav.server.fingerprint == tls.fingerprint(certificate)
        assert dav.raw(b"GET / HTTP/1.1\r\n\r\n").endswith(b"This address speaks HTTPS only.\n")


def test_old_tls_is_refused(tmp_path: Path) -> None:
    certificate, key = tls.load_or_make(tmp_path, "127.0.0.1")
    adapter = gateway.TlsAdapter(str(certificate), str(key))
    assert adapter.context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_stopping_waits_for_a_request_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SHUTDOWN_TIMEOUT_S", 1)
    with serving(tmp_path) as dav:
        stalled = dav.connection()
        stalled.putrequest("PUT", "/never")
        for name, value in {**dav.authorization(), "Content-Length": "1000"}.items():
            stalled.putheader(name, value)
        stalled.endheaders(b"some")
        assert eventually(lambda: dav.fs.open_handles() == 1)
        started = time.monotonic()
        dav.server.stop()
        assert time.monotonic() - started < 5
        assert eventually(lambda: dav.fs.open_handles() == 0)
        stalled.close()
