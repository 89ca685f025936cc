"""Messages on the control socket.

A message is a fixed prefix, a header in JSON and, where file content travels, bytes after it. Both
lengths are checked before anything is read. The client speaks first; every request has one answer,
and ``stop`` has two: that the end has begun, and how it went. Names and paths are bytes: in JSON
they stand as UTF-8 with surrogate escapes.
"""

import json
import socket
import struct
from dataclasses import asdict
from typing import Any

from cryptdrive import errors
from cryptdrive.errors import CryptdriveError, Unsupported
from cryptdrive.types import InodeNumber
from cryptdrive.vfs.values import Attr

PROTOCOL_VERSION = 1
HEADER_BYTES_MAX = 1 << 20
CONTENT_BYTES_MAX = 1 << 20
ENTRIES_MAX = 256
"""Entries of a directory in one answer: names of 255 bytes and their attributes fit the header."""

_prefix = struct.Struct(">4sHxxII")
_MAGIC = b"CDCS"

Header = dict[str, Any]


class ConnectionEnded(CryptdriveError):
    """The other side is not there, closed the connection, or does not speak this protocol."""


class NoAnswer(ConnectionEnded):
    """The other side is there, and says nothing: it is stopped, or hangs."""


def send_message(connection: socket.socket, header: Header, content: bytes | memoryview = b"") -> None:
    """Send one message. Raises ConnectionEnded; NoAnswer where the connection has a time-out."""
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    if len(text) > HEADER_BYTES_MAX or len(content) > CONTENT_BYTES_MAX:
        raise ValueError("a control message is larger than the protocol allows")
    try:
        connection.sendall(_prefix.pack(_MAGIC, PROTOCOL_VERSION, len(text), len(content)) + text)
        if content:
            connection.sendall(content)
    except TimeoutError:
        raise NoAnswer("the other side takes no messages") from None
    except OSError as error:
        raise ConnectionEnded(f"the connection broke: {error.strerror}") from error


def receive_message(connection: socket.socket) -> tuple[Header, bytes]:
    """Wait for one message. Raises ConnectionEnded, Unsupported for another version's.

    Raises NoAnswer where the connection has a time-out.
    """
    magic, version, header_length, content_length = _prefix.unpack(_receive(connection, _prefix.size))
    if magic != _MAGIC or header_length > HEADER_BYTES_MAX or content_length > CONTENT_BYTES_MAX:
        raise ConnectionEnded("the other side does not speak the control protocol")
    if version != PROTOCOL_VERSION:
        raise Unsupported("the running drive is of another version: unmount it and mount it again")
    text = _receive(connection, header_length)
    content = _receive(connection, content_length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise ConnectionEnded("the other side does not speak the control protocol")
    return header, content


def _receive(connection: socket.socket, count: int) -> bytes:
    received = bytearray(count)
    view = memoryview(received)
    while view:
        try:
            size = connection.recv_into(view)
        except TimeoutError:
            raise NoAnswer("the other side does not answer") from None
        except OSError as error:
            raise ConnectionEnded(f"the connection broke: {error.strerror}") from error
        if not size:
            raise ConnectionEnded("the other side closed the connection")
        view = view[size:]
    return bytes(received)


# --- values ------------------------------------------------------------------------------------


def name_to_text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def text_to_name(text: object) -> bytes:
    """Raises ValueError for what no name becomes."""
    if not isinstance(text, str):
        raise ValueError("a name is a text")
    return text.encode("utf-8", "surrogateescape")


def attr_to_header(attr: Attr) -> Header:
    return asdict(attr)


def header_to_attr(fields: Header) -> Attr:
    """Raises TypeError for other fields than an Attr's."""
    return Attr(**{**fields, "inode": InodeNumber(fields["inode"])})


def error_to_header(error: Exception) -> Header:
    """What the other side is told; of an error that is not a typed one only its class."""
    if isinstance(error, CryptdriveError):
        return {"error": type(error).__name__, "message": str(error)}
    message = f"failed unexpectedly ({type(error).__name__}); the log says more"
    return {"error": CryptdriveError.__name__, "message": message}


def raise_error(header: Header) -> None:
    """Raise the typed error that an answer carries; returns if it carries none."""
    if "error" not in header:
        return
    kind = getattr(errors, str(header["error"]), None)
    if not (isinstance(kind, type) and issubclass(kind, CryptdriveError)):
        kind = CryptdriveError
    raise kind(str(header.get("message", "")))
