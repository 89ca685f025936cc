"""The ``Store`` protocol: all that cryptdrive needs of a place that keeps objects.

Names are :data:`~cryptdrive.types.ObjectName`. Objects are immutable to us: nothing is ever
overwritten. Every method is synchronous, thread-safe, and raises only
:class:`~cryptdrive.errors.StoreError` classes for what the store does.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cryptdrive.types import ObjectName


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as a listing shows it: its full name and its size in bytes."""

    name: ObjectName
    size: int


@dataclass(frozen=True, slots=True)
class Listing:
    """One folder of a store: its objects, and the full names of the folders below it."""

    objects: tuple[ObjectInfo, ...]
    folders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do beyond the least that is needed."""

    create_if_absent: bool
    """``put`` with ``exclusive`` has exactly one winner, whoever races."""
    local_path: str | None = None
    """The folder, where the store is one on this machine: statfs gives its disk's numbers."""


class Store(Protocol):
    """Where objects are kept."""

    @property
    def url(self) -> str:
        """What the user may be shown: never holds a secret."""

    @property
    def capabilities(self) -> Capabilities: ...

    def put(self, name: ObjectName, data: bytes | bytearray | memoryview, *, exclusive: bool = False) -> None:
        """Store a whole object; returns when the store has promised to keep it.

        With ``exclusive`` and a store that can: raises ObjectExists if there is one.
        """

    def get(self, name: ObjectName, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes ``[offset, offset + length)``, or fewer where the object ends; all without ``length``.

        Raises ObjectNotFound.
        """

    def list(self, folder: str) -> Listing:
        """What lies directly in ``folder`` (``""`` is the top), sorted by name; empty if there is none."""

    def delete(self, name: ObjectName) -> None:
        """Remove an object; removing what is not there is no error."""

    def stat(self, name: ObjectName) -> ObjectInfo:
        """Raises ObjectNotFound."""

    def close(self) -> None:
        """Let go of connections; the store is not used again."""


@runtime_checkable
class TakesFiles(Protocol):
    """A store on this machine's disks, which can take a finished file over without copying it."""

    def take_file(self, name: ObjectName, path: str) -> bool:
        """Let a file that is on disk be the object too; False where only a copy can be."""
