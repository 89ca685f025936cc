"""The other end of the control socket: a running drive, seen from another process."""

import logging
import select
from collections.abc import Callable, Iterator
from typing import Any, Self

from cryptdrive.control.protocol import (
    ConnectionEnded,
    Header,
    header_to_attr,
    name_to_text,
    raise_error,
    receive_message,
    send_message,
    text_to_name,
)
from cryptdrive.control.records import RunningRecord, RuntimeFolder
from cryptdrive.errors import UnsentData
from cryptdrive.vfs.values import Attr

_log = logging.getLogger(__name__)

LOOK_S = 0.5


class ControlClient:
    """One connection. Not for several threads at once."""

    def __init__(self, folder: RuntimeFolder, record: RunningRecord) -> None:
        """Raises ConnectionEnded: the process does not answer."""
        self.record = record
        try:
            self._connection = folder.connect(record)
        except OSError as error:
            raise ConnectionEnded(
                f"process {record.pid}, which runs the drive, does not answer: {error}"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def request(self, request: str, content: bytes = b"", **fields: object) -> tuple[Header, bytes]:
        """Ask, and wait for the answer. Raises the error that is the answer, ConnectionEnded."""
        send_message(self._connection, {"request": request, **fields}, content)
        header, data = receive_message(self._connection)
        raise_error(header)
        return header, data

    def status(self) -> Header:
        return self.request("status")[0]

    def credential(self) -> Header:
        return self.request("credential")[0]

    def flush(self, waiting: Callable[[], None] = lambda: None) -> None:
        """Returns when everything is on the store; ``waiting`` is called every LOOK_S meanwhile."""
        send_message(self._connection, {"request": "flush"})
        self._wait(waiting)
        raise_error(receive_message(self._connection)[0])

    def stop(self, *, lazy: bool, wait: bool = True, waiting: Callable[[], None] = lambda: None) -> None:
        """Let the drive save, send what it has if ``wait``, and unmount; returns when its process has ended.

        ``waiting`` is called every LOOK_S meanwhile.
        Raises Busy and what saving raises: nothing was stopped; UnsentData: it has ended, and not
        everything is on the store.
        """
        send_message(self._connection, {"request": "stop", "lazy": lazy, "wait": wait})
        self._wait(waiting)
        raise_error(receive_message(self._connection)[0])
        try:
            self._wait(waiting)
            header, _ = receive_message(self._connection)
        except ConnectionEnded:
            raise UnsentData(
                f"process {self.record.pid} ended without saying whether everything was saved"
            ) from None
        raise_error(header)
        self._wait_for_end()

    def _wait(self, waiting: Callable[[], None]) -> None:
        """Until something can be received."""
        while not select.select([self._connection], [], [], LOOK_S)[0]:
            waiting()

    def _wait_for_end(self) -> None:
        try:
            while self._connection.recv(4096):
                pass
        except OSError as error:
            _log.debug("the connection broke at the end: %s", error)


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
