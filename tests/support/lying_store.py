"""A store that lies about success."""

from cryptdrive.store.memory import MemoryStore
from cryptdrive.types import ObjectName


class LyingStore(MemoryStore):
    """Says that it takes everything; of the next ``lies`` objects of a kind it keeps the part ``kept``."""

    def __init__(self, kind: str, kept: float) -> None:
        super().__init__()
        self.kind = kind
        self.kept = kept
        self.lies = 0
        self.told: list[ObjectName] = []

    def put(self, name: ObjectName, data: bytes | bytearray | memoryview, *, exclusive: bool = False) -> None:
        if not name.startswith(self.kind) or self.lies <= 0:
            super().put(name, data, exclusive=exclusive)
            return
        self.lies -= 1
        self.told.append(name)
        if self.kept:
            super().put(name, bytes(data)[: int(len(data) * self.kept)], exclusive=exclusive)
