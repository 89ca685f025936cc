"""A store that may go away, come back, and be another one when it does."""

import threading
from collections.abc import Callable
from typing import TypeVar

from cryptdrive.errors import NoVault, Unavailable
from cryptdrive.store.base import Capabilities, Listing, ObjectInfo, Store, TakesFiles
from cryptdrive.types import ObjectName, VaultId
from cryptdrive.vault.header import read_header

T = TypeVar("T")


def check_place(store: Store, vault_id: VaultId) -> None:
    """Make sure that a store still holds this vault. Raises Unavailable: it is away, or another is there."""
    try:
        read_header(store, vault_id)
    except NoVault as error:
        raise Unavailable(f"the vault is away: {error}") from error


class GuardedStore:
    """Opens a store when it is needed, again after it went away, and only if it holds the vault.

    A disk that was detached and another one put in its place, a share that was mounted anew: each
    call that meets a store which does not answer lets go of it, and the next one looks again.
    """

    def __init__(self, url: str, open_inner: Callable[[], Store], vault_id: VaultId) -> None:
        self.url = url
        self._open_inner = open_inner
        self._vault_id = vault_id
        self._lock = threading.Lock()
        self._inner: Store | None = None

    @property
    def capabilities(self) -> Capabilities:
        try:
            return self._opened().capabilities
        except Unavailable:
            return Capabilities(create_if_absent=False)

    def _opened(self) -> Store:
        with self._lock:
            if self._inner is None:
                inner = self._open_inner()
                try:
                    check_place(inner, self._vault_id)
                except BaseException:
                    inner.close()
                    raise
                self._inner = inner
            return self._inner

    def _call(self, operation: Callable[[Store], T]) -> T:
        inner = self._opened()
        try:
            return operation(inner)
        except Unavailable:
            with self._lock:
                # Not closed: another thread may be using it. It ends when nobody does any more.
                if self._inner is inner:
                    self._inner = None
            raise

    def put(self, name: ObjectName, data: bytes | bytearray | memoryview, *, exclusive: bool = False) -> None:
        self._call(lambda store: store.put(name, data, exclusive=exclusive))

    def take_file(self, name: ObjectName, path: str) -> bool:
        """See :class:`cryptdrive.store.base.TakesFiles`."""
        return self._call(lambda store: isinstance(store, TakesFiles) and store.take_file(name, path))

    def get(self, name: ObjectName, offset: int = 0, length: int | None = None) -> bytes:
        return self._call(lambda store: store.get(name, offset, length))

    def list(self, folder: str) -> Listing:
        return self._call(lambda store: store.list(folder))

    def delete(self, name: ObjectName) -> None:
        self._call(lambda store: store.delete(name))

    def stat(self, name: ObjectName) -> ObjectInfo:
        return self._call(lambda store: store.stat(name))

    def close(self) -> None:
        with self._lock:
            if self._inner is not None:
                self._inner.close()
                self._inner = None
