"""A store in memory: for tests and simulations."""

import threading

from cryptdrive.errors import ObjectExists, ObjectNotFound
from cryptdrive.store.base import Capabilities, Listing, ObjectInfo
from cryptdrive.store.names import check_folder_name, check_object_name, check_range
from cryptdrive.types import ObjectName

MEMORY_URL = "memory:"


class MemoryStore:
    """Objects in a dict; what is put is kept as long as this object lives."""

    def __init__(self) -> None:
        self.objects: dict[ObjectName, bytes] = {}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return MEMORY_URL

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(create_if_absent=True)

    def put(self, name: ObjectName, data: bytes | bytearray | memoryview, *, exclusive: bool = False) -> None:
        check_object_name(name)
        content = bytes(data)
        with self._lock:
            if exclusive and name in self.objects:
                raise ObjectExists(name)
            self.objects[name] = content

    def get(self, name: ObjectName, offset: int = 0, length: int | None = None) -> bytes:
        check_object_name(name)
        check_range(offset, length)
        with self._lock:
            content = self.objects.get(name)
        if content is None:
            raise ObjectNotFound(name)
        return content[offset : None if length is None else offset + length]

    def list(self, folder: str) -> Listing:
        check_folder_name(folder)
        prefix = f"{folder}/" if folder else ""
        objects, folders = [], set()
        with self._lock:
            for name, content in self.objects.items():
                if not name.startswith(prefix):
                    continue
                part, slash, _ = name[len(prefix) :].partition("/")
                if slash:
                    folders.add(prefix + part)
                else:
                    objects.append(ObjectInfo(name, len(content)))
        return Listing(tuple(sorted(objects, key=lambda info: info.name)), tuple(sorted(folders)))

    def delete(self, name: ObjectName) -> None:
        check_object_name(name)
        with self._lock:
            self.objects.pop(name, None)

    def stat(self, name: ObjectName) -> ObjectInfo:
        check_object_name(name)
        with self._lock:
            content = self.objects.get(name)
        if content is None:
            raise ObjectNotFound(name)
        return ObjectInfo(name, len(content))

    def close(self) -> None:
        """Keeps the objects: a test opens the same store again."""
