"""WebDAV locks that survive a restart."""

import json
import logging
import time
from typing import Protocol

from wsgidav.lock_man.lock_storage import LockStorageDict

from cryptdrive.errors import Integrity

_log = logging.getLogger(__name__)

LOCKS_BYTES_MAX = 1 << 20


class SealedValue(Protocol):
    """Where the locks are kept: they hold names, so it must be encrypted."""

    def load(self) -> bytes | None: ...

    def save(self, value: bytes) -> None: ...


class SealedLockStorage(LockStorageDict):  # type: ignore[misc]
    """wsgidav's lock storage, written to a sealed file at each change."""

    def __init__(self, file: SealedValue) -> None:
        super().__init__()
        self._file = file

    def open(self) -> None:
        self._dict = self._load()

    def close(self) -> None:
        """Locks stay for the next start."""

    def _load(self) -> dict[str, object]:
        try:
            data = self._file.load()
            found = json.loads(data) if data else {}
        except (Integrity, ValueError):
            # Losing locks is better than serving nothing: a lock only ever keeps others waiting.
            _log.warning("the saved WebDAV locks are damaged and were dropped")
            return {}
        now = time.time()
        kept: dict[str, object] = {}
        for token, lock in found.items():
            if not token.startswith("URL2TOKEN:") and float(lock["expire"]) > now:
                kept[token] = lock
                tokens = kept.setdefault(f"URL2TOKEN:{lock['root']}", [])
                assert isinstance(tokens, list)
                tokens.append(token)
        return kept

    def _flush(self) -> None:
        data = json.dumps(self._dict, default=_as_text).encode("utf-8")
        if len(data) > LOCKS_BYTES_MAX:
            _log.warning("there are too many WebDAV locks to keep them across a restart")
            return
        try:
            self._file.save(data)
        except OSError as error:
            _log.warning("the WebDAV locks could not be saved: %s", error.strerror)


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    raise TypeError(type(value).__name__)
