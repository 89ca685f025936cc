"""The other end of the control socket: a running drive, seen from another process."""

import logging
import select
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

from cryptdrive.control.protocol import (
    ConnectionEnded,
    Header,
    NoAnswer,
    header_to_attr,
    name_to_text,
    raise_error,
    receive_message,
    send_message,
    text_to_name,
)
from cryptdrive.control.records import RunningRecord, RuntimeFolder
from cryptdrive.errors import CryptdriveError, UnsentData
from cryptdrive.vfs.values import Attr

_log = logging.getLogger(__name__)

LOOK_S = 0.5
STATUS_SECONDS_MAX = 5.0
"""A drive that works says at once how it is: nothing slow is done under the locks that this takes."""
QUIET_SECONDS_MAX = 5.0
"""After so long without an answer it is asked, on another connection, whether it is still there."""
STALL_SECONDS_MAX = 30.0
"""Within a message nothing but a process that is stopped takes long."""


class ControlClient:
    """One connection. Not for several threads at once.

    An answer may take as long as the store does; a process that answers nobody any more is given up.
    """

    def __init__(self, folder: RuntimeFolder, record: RunningRecord) -> None:
        """Raises ConnectionEnded: the process is not there; NoAnswer: it does not answer."""
        self.record = record
        self._folder = folder
        try:
            self._connection = folder.connect(record)
        except BlockingIOError:
            raise self._no_answer() from None
        except OSError as error:
            raise ConnectionEnded(
                f"process {record.pid}, which runs the drive, does not answer: {error}"
            ) from error
        self._connection.settimeout(STALL_SECONDS_MAX)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def request(self, request: str, content: bytes = b"", **fields: object) -> tuple[Header, bytes]:
        """Ask, and wait for the answer. Raises the error that is the answer, ConnectionEnded, NoAnswer."""
        self._send({"request": request, **fields}, content)
        self._wait()
        return self._receive()

    def status(self) -> Header:
        return self._ask_quickly("status", STATUS_SECONDS_MAX)

    def credential(self) -> Header:
        return self._ask_quickly("credential", STATUS_SECONDS_MAX)

    def flush(self, waiting: Callable[[], None] = lambda: None) -> None:
        """Returns when everything is on the store; ``waiting`` is called every LOOK_S meanwhile."""
        self._send({"request": "flush"})
        self._wait(waiting)
        self._receive()

    def stop(self, *, lazy: bool, wait: bool = True, waiting: Callable[[], None] = lambda: None) -> None:
        """Let the drive save, send what it has if ``wait``, and unmount; returns when its process has ended.

        ``waiting`` is called every LOOK_S meanwhile.
        Raises Busy and what saving raises: nothing was stopped; UnsentData: it has ended, and not
        everything is on the store.
        """
        self._send({"request": "stop", "lazy": lazy, "wait": wait})
        self._wait(waiting)
        self._receive()
        try:
            self._wait(waiting)
            self._receive()
        except NoAnswer:
            raise
        except ConnectionEnded:
            raise UnsentData(
                f"process {self.record.pid} ended without saying whether everything was saved"
            ) from None
        self._wait_for_end()

    # --- messages, and how long they may take ----------------------------------------------------

    def _send(self, header: Header, content: bytes = b"") -> None:
        try:
            send_message(self._connection, header, content)
        except NoAnswer:
            raise self._no_answer() from None

    def _receive(self) -> tuple[Header, bytes]:
        try:
            header, data = receive_message(self._connection)
        except NoAnswer:
            raise self._no_answer() from None
        raise_error(header)
        return header, data

    def _ask_quickly(self, request: str, seconds_max: float) -> Header:
        self._connection.settimeout(seconds_max)
        try:
            self._send({"request": request})
            return self._receive()[0]
        finally:
            self._connection.settimeout(STALL_SECONDS_MAX)

    def _wait(self, waiting: Callable[[], None] = lambda: None) -> None:
        """Until something can be received. Raises NoAnswer: nothing can be expected any more."""
        asked = time.monotonic()
        while not select.select([self._connection], [], [], LOOK_S)[0]:
            waiting()
            if time.monotonic() - asked >= QUIET_SECONDS_MAX:
                self._check_process()
                asked = time.monotonic()

    def _check_process(self) -> None:
        """Ask the process on another connection how it is. Raises NoAnswer."""
        try:
            with ControlClient(self._folder, self.record) as other:
                other._ask_quickly("status", 2 * STATUS_SECONDS_MAX)
        except NoAnswer:
            raise
        except CryptdriveError as error:
            _log.debug("the process is ending: %s", error)  # the other connection will tell how

    def _no_answer(self) -> NoAnswer:
        pid = self.record.pid
        return NoAnswer(
            f"process {pid}, which runs the drive, does not answer; if it was stopped, "
            f"kill -CONT {pid} lets it go on"
        )

    def _wait_for_end(self) -> None:
        try:
            while self._connection.recv(4096):
                pass
        except OSError as error:
            _log.debug("the connection broke at the end, or does not end: %s", error)


class RemoteFiles:
    """The files of a drive that runs in another process; a :class:`~cryptdrive.control.files.DriveFiles`."""

    def __init__(self, client: ControlClient) -> None:
        self._client = client

    def stat(self, path: bytes, *, follow: bool = False) -> Attr:
        return header_to_attr(self._client.request("stat", path=name_to_text(path), follow=follow)[0])

    def entries(self, path: bytes) -> Iterator[tuple[bytes, Attr]]:
        listing: int | None = None
        while True:
            header, _ = self._client.request("list", path=name_to_text(path), listing=listing)
            for name, fields in header["entries"]:
                yield text_to_name(name), header_to_attr(fields)
            listing = header.get("listing")
            if listing is None:
                return

    def read_link(self, path: bytes) -> bytes:
        return self._client.request("read_link", path=name_to_text(path))[1]

    def open(self, path: bytes) -> int:
        return int(self._client.request("open", path=name_to_text(path))[0]["handle"])

    def read(self, handle: int, offset: int, size: int) -> bytes:
        return self._client.request("read", handle=handle, offset=offset, size=size)[1]

    def stage(self) -> int:
        return int(self._client.request("stage")[0]["handle"])

    def write(self, handle: int, offset: int, data: bytes) -> None:
        self._client.request("write", data, handle=handle, offset=offset)

    def publish(
        self, handle: int, path: bytes, mode: int | None, mtime_ns: int | None, *, replace: bool
    ) -> None:
        fields: dict[str, Any] = {
            "path": name_to_text(path),
            "mode": mode,
            "mtime_ns": mtime_ns,
            "replace": replace,
        }
        self._client.request("publish", handle=handle, **fields)

    def close(self, handle: int) -> None:
        self._client.request("close", handle=handle)

    def make_directory(self, path: bytes, mode: int) -> None:
        self._client.request("make_directory", path=name_to_text(path), mode=mode)

    def make_link(self, path: bytes, target: bytes) -> None:
        self._client.request("make_link", target, path=name_to_text(path))

    def set_attributes(self, path: bytes, mode: int | None, mtime_ns: int | None) -> None:
        self._client.request("set_attributes", path=name_to_text(path), mode=mode, mtime_ns=mtime_ns)

    def remove(self, path: bytes, *, recursive: bool) -> None:
        self._client.request("remove", path=name_to_text(path), recursive=recursive)

    def rename(self, path: bytes, new_path: bytes, *, replace: bool) -> None:
        names: dict[str, Any] = {"path": name_to_text(path), "new_path": name_to_text(new_path)}
        self._client.request("rename", **names, replace=replace)

    def clone(self, path: bytes, new_path: bytes, *, replace: bool) -> None:
        names: dict[str, Any] = {"path": name_to_text(path), "new_path": name_to_text(new_path)}
        self._client.request("clone", **names, replace=replace)

    def sync(self) -> None:
        self._client.flush()
