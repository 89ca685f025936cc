"""Requests on the control socket → calls of the drive → answers."""

import logging
from collections.abc import Callable, Generator
from typing import Protocol

from cryptdrive.control.files import LocalFiles
from cryptdrive.control.protocol import (
    ENTRIES_MAX,
    Header,
    attr_to_header,
    error_to_header,
    name_to_text,
    text_to_name,
)
from cryptdrive.errors import BadHandle, Busy, CryptdriveError, Invalid
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.values import Attr

_log = logging.getLogger(__name__)

Answer = tuple[Header, bytes]


class ControlledDrive(Protocol):
    """What the server asks the process that runs a drive."""

    @property
    def fs(self) -> FileSystem: ...

    def describe(self) -> Header:
        """The status, as JSON has it."""

    def flush(self) -> None:
        """Everything so far is on the store when it returns."""

    def credential(self) -> Header:
        """How to reach WebDAV: url, user, password."""

    def request_stop(self, *, lazy: bool, wait: bool) -> None:
        """Begin to end: save, send if ``wait``, and unmount.

        Raises Busy, and what kept changes from being saved on this machine; then it goes on running.
        """


class Answers:
    """Requests of one connection → answers."""

    def __init__(self, drive: ControlledDrive, files: LocalFiles) -> None:
        self.files = files
        self._drive = drive
        self._listings: dict[int, Generator[tuple[bytes, Attr], None, None]] = {}
        self._next_listing = 1
        self._requests: dict[str, Callable[[Header, bytes], Answer]] = {
            "status": lambda header, content: (drive.describe(), b""),
            "credential": lambda header, content: (drive.credential(), b""),
            "flush": self._flush,
            "stat": self._stat,
            "list": self._list,
            "read_link": lambda header, content: ({}, files.read_link(_path(header))),
            "open": lambda header, content: ({"handle": files.open(_path(header))}, b""),
            "read": self._read,
            "stage": lambda header, content: ({"handle": files.stage()}, b""),
            "write": self._write,
            "publish": self._publish,
            "close": self._close,
            "make_directory": self._make_directory,
            "make_link": self._make_link,
            "set_attributes": self._set_attributes,
            "remove": self._remove,
            "rename": self._rename,
            "clone": self._clone,
        }

    def close(self) -> None:
        """The client has gone: close what it left open."""
        for listing in self._listings.values():
            listing.close()
        self.files.close_all()

    def answer(self, header: Header, content: bytes) -> Answer:
        """Never raises."""
        handler = self._requests.get(str(header.get("request")))
        try:
            if handler is None:
                raise Invalid("the running drive does not know this request; is it of an older version?")
            return handler(header, content)
        except CryptdriveError as error:
            return error_to_header(error), b""
        except (KeyError, TypeError, ValueError):
            return error_to_header(Invalid("a malformed request")), b""
        except Exception as error:  # noqa: BLE001 - the connection goes on, and so does the drive
            # The message may hold names: it is for DEBUG alone.
            _log.error("a request on the control socket failed unexpectedly: %s", type(error).__name__)
            _log.debug("it failed here", exc_info=True)
            return error_to_header(error), b""

    def _flush(self, header: Header, content: bytes) -> Answer:
        self._drive.flush()
        return {}, b""

    def _stat(self, header: Header, content: bytes) -> Answer:
        return attr_to_header(self.files.stat(_path(header), follow=bool(header["follow"]))), b""

    def _list(self, header: Header, content: bytes) -> Answer:
        """Some entries, and the number to ask for more with; none with the last ones."""
        number = header.get("listing")
        if number is None:
            if len(self._listings) >= ENTRIES_MAX:
                raise Busy("too many listings are open on one connection")
            number, self._next_listing = self._next_listing, self._next_listing + 1
            self._listings[number] = self.files.entries(_path(header))
        entries = []
        for name, attr in self._listings[number]:
            entries.append([name_to_text(name), attr_to_header(attr)])
            if len(entries) == ENTRIES_MAX:
                return {"entries": entries, "listing": number}, b""
        del self._listings[number]
        return {"entries": entries}, b""

    def _read(self, header: Header, content: bytes) -> Answer:
        return {}, self.files.read(self._handle(header), int(header["offset"]), int(header["size"]))

    def _write(self, header: Header, content: bytes) -> Answer:
        self.files.write(self._handle(header), int(header["offset"]), content)
        return {}, b""

    def _handle(self, header: Header) -> int:
        """Only handles of this connection: the other ones are the front ends'."""
        handle = int(header["handle"])
        if not self.files.has_open(handle):
            raise BadHandle("the handle is closed")
        return handle

    def _publish(self, header: Header, content: bytes) -> Answer:
        handle, replace = self._handle(header), bool(header["replace"])
        self.files.publish(handle, _path(header), header["mode"], header["mtime_ns"], replace=replace)
        return {}, b""

    def _close(self, header: Header, content: bytes) -> Answer:
        self.files.close(self._handle(header))
        return {}, b""

    def _make_directory(self, header: Header, content: bytes) -> Answer:
        self.files.make_directory(_path(header), int(header["mode"]))
        return {}, b""

    def _make_link(self, header: Header, content: bytes) -> Answer:
        self.files.make_link(_path(header), content)
        return {}, b""

    def _set_attributes(self, header: Header, content: bytes) -> Answer:
        self.files.set_attributes(_path(header), header["mode"], header["mtime_ns"])
        return {}, b""

    def _remove(self, header: Header, content: bytes) -> Answer:
        self.files.remove(_path(header), recursive=bool(header["recursive"]))
        return {}, b""

    def _rename(self, header: Header, content: bytes) -> Answer:
        self.files.rename(_path(header), _path(header, "new_path"), replace=bool(header["replace"]))
        return {}, b""

    def _clone(self, header: Header, content: bytes) -> Answer:
        self.files.clone(_path(header), _path(header, "new_path"), replace=bool(header["replace"]))
        return {}, b""


def _path(header: Header, key: str = "path") -> bytes:
    return text_to_name(header[key])
