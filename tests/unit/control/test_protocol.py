"""Messages of the control socket: what is sent arrives, and nothing unbounded or foreign is taken."""

import socket
import struct
from collections.abc import Iterator

import pytest

from cryptdrive.control.protocol import (
    CONTENT_BYTES_MAX,
    HEADER_BYTES_MAX,
    ConnectionEnded,
    attr_to_header,
    error_to_header,
    header_to_attr,
    name_to_text,
    raise_error,
    receive_message,
    send_message,
    text_to_name,
)
from cryptdrive.errors import Busy, CryptdriveError, NotFound, Unsupported
from cryptdrive.types import InodeNumber
from cryptdrive.vfs.values import Attr

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def prefix(magic: bytes = b"CDCS", version: int = 1, header: int = 2, content: int = 0) -> bytes:
    return struct.pack(">4sHxxII", magic, version, header, content)


def test_header_and_content_arrive(pair: Pair) -> None:
    send_message(pair[0], {"request": "write", "offset": 1 << 60}, b"\0\xff" * 1000)
    assert receive_message(pair[1]) == ({"request": "write", "offset": 1 << 60}, b"\0\xff" * 1000)


@pytest.mark.parametrize(
    "sent",
    [
        prefix(magic=b"HTTP") + b"{}",
        prefix(header=HEADER_BYTES_MAX + 1),
        prefix(content=CONTENT_BYTES_MAX + 1) + b"{}",
        prefix(header=4) + b"null",
        prefix(header=1) + b"{",
        prefix(header=4) + b"\xff\xfe\xfd\xfc",
    ],
)
def test_foreign_messages_are_refused(pair: Pair, sent: bytes) -> None:
    pair[0].sendall(sent)
    with pytest.raises(ConnectionEnded, match="does not speak"):
        receive_message(pair[1])


def test_another_version_is_told_apart(pair: Pair) -> None:
    pair[0].sendall(prefix(version=2) + b"{}")
    with pytest.raises(Unsupported, match="another version"):
        receive_message(pair[1])


@pytest.mark.parametrize("length", range(18))
def test_a_connection_that_breaks_off(pair: Pair, length: int) -> None:
    pair[0].sendall((prefix(content=1) + b"{}")[:length])
    pair[0].close()
    with pytest.raises(ConnectionEnded, match="closed the connection"):
        receive_message(pair[1])


def test_sending_to_nobody(pair: Pair) -> None:
    pair[1].close()
    with pytest.raises(ConnectionEnded, match="broke"):
        send_message(pair[0], {}, b"x" * CONTENT_BYTES_MAX)


def test_too_large_messages_are_not_sent(pair: Pair) -> None:
    with pytest.raises(ValueError, match="larger"):
        send_message(pair[0], {}, b"x" * (CONTENT_BYTES_MAX + 1))


@pytest.mark.parametrize(
    "name", [b"plain", "grün".encode(), b"\xff\xfe not UTF-8", b"line\nbreak", bytes(range(1, 256))]
)
def test_names_of_any_bytes(pair: Pair, name: bytes) -> None:
    send_message(pair[0], {"path": name_to_text(name)})
    assert text_to_name(receive_message(pair[1])[0]["path"]) == name


def test_attributes_arrive_whole(pair: Pair) -> None:
    attr = Attr(InodeNumber((1 << 64) - 1), 0o100644, 1, 2, 3, 1 << 62, 5, 6, -7, 8, 9, 10, (1 << 64) - 1)
    send_message(pair[0], attr_to_header(attr))
    assert header_to_attr(receive_message(pair[1])[0]) == attr


@pytest.mark.parametrize(
    "error", [NotFound("/a: no such file"), Busy("in use by bash (17)"), CryptdriveError("x")]
)
def test_typed_errors_arrive_as_themselves(error: CryptdriveError) -> None:
    with pytest.raises(type(error)) as caught:
        raise_error(error_to_header(error))
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)


def test_other_errors_say_nothing_of_their_values() -> None:
    header = error_to_header(KeyError("secret name"))
    assert "secret" not in str(header)
    with pytest.raises(CryptdriveError, match="KeyError"):
        raise_error(header)


@pytest.mark.parametrize("name", ["os", "SystemExit", "CryptdriveError.__init__", "", "annotations"])
def test_only_typed_errors_are_raised_by_name(name: str) -> None:
    with pytest.raises(CryptdriveError) as caught:
        raise_error({"error": name, "message": "m"})
    assert type(caught.value) is CryptdriveError


def test_an_answer_without_an_error() -> None:
    raise_error({"handle": 1})
