"""A bounded cache whose hits take no lock."""

import threading
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class GenerationCache(Generic[K, V]):
    """Two generations of entries, together at most about ``bytes_max``.

    New and used entries are young; when the young ones reach half of the limit, they become the
    old generation and the old one is dropped. That is nearly least-recently-used, while a hit
    among the young is one dict look-up, atomic in CPython, without a lock.
    """

    def __init__(self, bytes_max: int) -> None:
        self._half = bytes_max // 2
        self._lock = threading.Lock()
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._young_bytes = 0
        self._old_bytes = 0
        self._sizes: dict[K, int] = {}
        self._old_sizes: dict[K, int] = {}

    def get(self, key: K) -> V | None:
        value = self._young.get(key)
        if value is None and key in self._old:
            with self._lock:
                value = self._old.get(key)
                size = self._old_sizes.get(key)
                if value is not None and size is not None:
                    self._insert(key, value, size)
        return value

    def put(self, key: K, value: V, size: int) -> None:
        """``size`` is about how many bytes of memory the entry takes."""
        with self._lock:
            self._insert(key, value, size)

    def _insert(self, key: K, value: V, size: int) -> None:
        self._young_bytes += size - self._sizes.get(key, 0)
        self._sizes[key] = size
        self._young[key] = value
        if self._young_bytes > self._half:
            self._old, self._old_sizes, self._old_bytes = self._young, self._sizes, self._young_bytes
            self._young, self._sizes, self._young_bytes = {}, {}, 0

    def discard(self, key: K) -> None:
        with self._lock:
            if self._young.pop(key, None) is not None:
                self._young_bytes -= self._sizes.pop(key)
            if self._old.pop(key, None) is not None:
                self._old_bytes -= self._old_sizes.pop(key)

    def clear(self) -> None:
        with self._lock:
            self._young, self._sizes, self._young_bytes = {}, {}, 0
            self._old, self._old_sizes, self._old_bytes = {}, {}, 0

    @property
    def byte_size(self) -> int:
        """About how much memory the entries take."""
        return self._young_bytes + self._old_bytes
