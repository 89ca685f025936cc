"""WebDAV locks (RFC 4918 §6) that survive a restart."""

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from wsgidav.dav_error import DAVError, DAVErrorCondition, PRECONDITION_CODE_LockConflict
from wsgidav.lock_man.lock_manager import LockManager, normalize_lock_root

from cryptdrive.errors import Integrity

_log = logging.getLogger(__name__)

LOCKS_MAX = 1000
LOCKS_BYTES_MAX = 1 << 20
"""All of them, as they are saved."""
TIMEOUT_S_MAX = 24 * 3600
"""Clients refresh their locks long before; one that went away should not keep others waiting for ever."""
_HTTP_INSUFFICIENT_STORAGE = 507
_VERSION = 1
_TEXTS = ("token", "root", "type", "scope", "depth", "principal", "owner")

Lock = dict[str, Any]


class SealedValue(Protocol):
    """Where the locks are kept: they hold names, so it must be encrypted."""

    def load(self) -> bytes | None: ...

    def save(self, value: bytes) -> None: ...


class SealedLockStorage:
    """What wsgidav's lock manager keeps its locks in; saved at each change.

    Thread-safe. Lock roots are URL paths without a slash at the end.
    """

    def __init__(self, file: SealedValue, now: Callable[[], float] = time.time) -> None:
        self._file = file
        self._now = now
        self._mutex = threading.RLock()
        self._locks: dict[str, Lock] = {}

    def __repr__(self) -> str:
        return type(self).__name__

    def open(self) -> None:
        """Take over the locks of the last time that have not expired."""
        with self._mutex:
            self._locks = {lock["token"]: lock for lock in self._load()}

    def close(self) -> None:
        """Locks stay for the next start."""

    @property
    def is_empty(self) -> bool:
        return not self._locks

    # --- what the lock manager calls -----------------------------------------------------------

    def get(self, token: str) -> Lock | None:
        """None if there is no such lock, or if it has expired."""
        with self._mutex:
            self._drop_expired()
            return self._locks.get(token)

    def create(self, path: str, lock: Lock) -> Lock:
        """Give a new lock its token and its end. Raises DAVError: there are too many."""
        with self._mutex:
            self._drop_expired()
            lock["root"] = normalize_lock_root(path)
            lock["token"] = f"opaquelocktoken:{secrets.token_hex(16)}"
            self._set_end(lock, float(lock["timeout"]))
            self._locks[lock["token"]] = lock
            if len(self._locks) > LOCKS_MAX or not self._save():
                del self._locks[lock["token"]]
                raise DAVError(_HTTP_INSUFFICIENT_STORAGE)
            return lock

    def refresh(self, token: str, *, timeout: float) -> Lock:
        """Raises DAVError: it has just expired."""
        with self._mutex:
            lock = self.get(token)
            if lock is None:
                raise DAVError(412)
            self._set_end(lock, float(timeout))
            self._save()
            return lock

    def delete(self, token: str) -> bool:
        with self._mutex:
            if self._locks.pop(token, None) is None:
                return False
            self._save()
            return True

    def get_lock_list(
        self, path: str, *, include_root: bool, include_children: bool, token_only: bool
    ) -> list[Any]:
        """The locks whose root is ``path`` or lies in it."""
        path = normalize_lock_root(path)
        inside = path.rstrip("/") + "/"
        with self._mutex:
            if not self._locks:
                return []
            self._drop_expired()
            found = [
                lock
                for lock in self._locks.values()
                if (include_root and lock["root"] == path)
                or (include_children and lock["root"] != path and lock["root"].startswith(inside))
            ]
        return [lock["token"] for lock in found] if token_only else found

    # --- keeping -------------------------------------------------------------------------------

    def _set_end(self, lock: Lock, timeout: float) -> None:
        lock["timeout"] = timeout if 0 < timeout < TIMEOUT_S_MAX else TIMEOUT_S_MAX
        lock["expire"] = self._now() + lock["timeout"]

    def _drop_expired(self) -> None:
        now = self._now()
        for token in [token for token, lock in self._locks.items() if lock["expire"] <= now]:
            del self._locks[token]

    def _load(self) -> Iterable[Lock]:
        try:
            data = self._file.load()
            if not data:
                return []
            saved = json.loads(data)
            if saved["version"] != _VERSION:
                raise ValueError("another version")
            locks = [_decoded(lock) for lock in saved["locks"]]
        except (Integrity, OSError, ValueError, KeyError, TypeError, AttributeError):
            # Losing locks is better than serving nothing: a lock only ever keeps others waiting.
            _log.warning("the saved WebDAV locks cannot be read and were dropped")
            return []
        now = self._now()
        return [lock for lock in locks[:LOCKS_MAX] if now < lock["expire"] <= now + TIMEOUT_S_MAX]

    def _save(self) -> bool:
        """False if there is too much to be saved."""
        locks = [{**lock, "owner": lock["owner"].decode("utf-8")} for lock in self._locks.values()]
        data = json.dumps({"version": _VERSION, "locks": locks}).encode("ascii")
        if len(data) > LOCKS_BYTES_MAX:
            return False
        try:
            self._file.save(data)
        except OSError as error:
            _log.warning("the WebDAV locks could not be saved: %s", error.strerror)
        return True


def _decoded(saved: Lock) -> Lock:
    """Raises ValueError, KeyError, TypeError or AttributeError."""
    lock: Lock = {name: saved[name] for name in _TEXTS}
    if not all(isinstance(value, str) for value in lock.values()):
        raise ValueError("not a text")
    if lock["scope"] not in ("shared", "exclusive") or lock["depth"] not in ("0", "infinity"):
        raise ValueError("no such lock")
    lock["owner"] = lock["owner"].encode("utf-8")
    lock["timeout"], lock["expire"] = float(saved["timeout"]), float(saved["expire"])
    return lock


class DriveLocks(LockManager):  # type: ignore[misc]
    """wsgidav's, which takes a token for a lock deeper down, and none that does not cover the URL."""

    storage: SealedLockStorage

    def is_url_locked_by_token(self, url: str, lock_token: str) -> bool:
        lock = self.get_lock(lock_token)
        return lock is not None and _covers(lock, normalize_lock_root(url))

    def tokens_of(self, url: str) -> list[str]:
        """Those of all locks that cover ``url``."""
        if self.storage.is_empty:
            return []
        return [lock["token"] for lock in self.get_indirect_url_lock_list(url)]

    def _get_write_conflicts(self, url: str, depth: str, token_list: list[str], principal: str) -> Any:
        """Also asked by wsgidav, with its own lock held."""
        condition = DAVErrorCondition(PRECONDITION_CODE_LockConflict)
        if self.storage.is_empty:
            return condition
        locks = self.get_indirect_url_lock_list(url)
        if depth == "infinity":
            locks += self.storage.get_lock_list(
                url, include_root=False, include_children=True, token_only=False
            )
        for lock in locks:
            if lock["token"] not in token_list or lock["principal"] != principal:
                condition.add_href(lock["root"])
        return condition


def _covers(lock: Lock, url: str) -> bool:
    if lock["root"] == url:
        return True
    return bool(lock["depth"] == "infinity" and url.startswith(lock["root"].rstrip("/") + "/"))
