"""The control socket of a running drive."""

import logging
import os
import socket
import struct
import threading
from contextlib import suppress

from cryptdrive.control.answers import Answers, ControlledDrive
from cryptdrive.control.files import LocalFiles
from cryptdrive.control.protocol import (
    ConnectionEnded,
    Header,
    error_to_header,
    receive_message,
    send_message,
)
from cryptdrive.control.records import RunningRecord, RuntimeFolder
from cryptdrive.errors import CryptdriveError

_log = logging.getLogger(__name__)

CONNECTIONS_MAX = 64
ANSWER_SECONDS_MAX = 5.0
_peer = struct.Struct("3i")


class ControlServer:
    """One thread that accepts, one for each connection; only this user and root are answered."""

    def __init__(self, folder: RuntimeFolder, record: RunningRecord, drive: ControlledDrive) -> None:
        self._folder = folder
        self._record = record
        self._drive = drive
        self._listener: socket.socket | None = None
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._ended = threading.Event()
        self._outcome: Header = {}
        self._stops: list[threading.Event] = []
        """One for each client that waits for the end; set when it was told."""

    def start(self) -> None:
        """Listen, and make the drive known. Raises ConfigError."""
        self._listener = self._folder.listen(self._record)
        threading.Thread(target=self._accept, args=(self._listener,), name="control", daemon=True).start()
        self._folder.add(self._record)

    def end(self, problem: Exception | None) -> None:
        """The drive is closed, or could not be saved: tell whoever waits, and take the record away."""
        self._folder.remove(self._record)
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts; close() does not
            self._listener.close()
        self._outcome = error_to_header(problem) if problem is not None else {}
        self._ended.set()
        for told in list(self._stops):
            told.wait(ANSWER_SECONDS_MAX)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed
            if not self._may_ask(connection) or not self._places.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), name="control", daemon=True).start()

    def _may_ask(self, connection: socket.socket) -> bool:
        """Only the same user and root; the kernel says who it is (SO_PEERCRED, unix(7))."""
        data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _peer.size)
        _, uid, _ = _peer.unpack(data)
        if uid in (os.geteuid(), 0):
            return True
        _log.warning("user %d was refused at the control socket", uid)
        return False

    def _serve(self, connection: socket.socket) -> None:
        answers = Answers(self._drive, LocalFiles(self._drive.fs))
        try:
            with connection:
                while True:
                    header, content = receive_message(connection)
                    if header.get("request") == "stop":
                        self._stop(
                            connection, lazy=bool(header.get("lazy")), wait=bool(header.get("wait", True))
                        )
                    else:
                        send_message(connection, *answers.answer(header, content))
        except ConnectionEnded:
            pass
        except CryptdriveError as error:
            _log.warning("a connection to the control socket was dropped: %s", error)
        finally:
            with suppress(CryptdriveError):
                answers.close()
            self._places.release()

    def _stop(self, connection: socket.socket, *, lazy: bool, wait: bool) -> None:
        """Answers that the end has begun, then how it went; the process's end closes the connection."""
        told = threading.Event()
        self._stops.append(told)
        try:
            self._drive.request_stop(lazy=lazy, wait=wait)
        except Exception as error:  # noqa: BLE001 - whatever it was, the client is told
            self._stops.remove(told)
            send_message(connection, error_to_header(error))
            return
        try:
            send_message(connection, {"ending": True})
            self._ended.wait()
            send_message(connection, {"ended": True, **self._outcome})
        finally:
            told.set()
        threading.Event().wait()  # the client takes the end of the connection for the end of the process
