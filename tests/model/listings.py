"""What a listing promises while the directory changes under it."""

from cryptdrive.vfs.values import DirectoryEntry
from tests.model.inodes import Node


class OpenListing:
    """A directory being listed on the side that is tried; the model knows what stays and what comes."""

    def __init__(self, handle: int, directory: Node) -> None:
        self.handle = handle
        self.cookie = 0
        self._directory = directory
        self._stayed = set(self._now())
        self._ever = set(directory.entries)
        self._seen: list[bytes] = []

    def _now(self) -> list[tuple[bytes, int]]:
        return [(name, entry.inode) for name, entry in self._directory.entries.items()]

    def note(self) -> None:
        """The directory may have changed."""
        self._stayed &= set(self._now())
        self._ever |= set(self._directory.entries)

    def take(self, entries: list[DirectoryEntry]) -> None:
        """The next entries, of which the last one's cookie is where it goes on."""
        for entry in entries:
            assert entry.name in self._directory.entries, "an entry that is not there now"
            assert entry.name in self._ever
        self._seen += [entry.name for entry in entries]
        self.cookie = entries[-1].cookie

    def check_end(self) -> None:
        """What was there all the time was shown once, neither left out nor twice."""
        for name, _ in self._stayed:
            assert self._seen.count(name) == 1, f"{name!r} was shown {self._seen.count(name)} times"
