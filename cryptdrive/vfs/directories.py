"""Listing directories."""

from cryptdrive.errors import NotADirectory, Stale
from cryptdrive.schema.keys import dirent_key, dirent_name, dirent_range
from cryptdrive.schema.records import decode_dirent
from cryptdrive.types import HandleId, InodeNumber
from cryptdrive.vfs.core import Core
from cryptdrive.vfs.live import DirectoryHandle, HandleTable
from cryptdrive.vfs.values import DirectoryEntry

LISTING_PIECE = 256


class Directories:
    """opendir, readdir, closedir.

    The handle keeps the names that it gave out, so that going on, or back, finds the same place
    whatever came and went.
    """

    def __init__(self, core: Core, handles: HandleTable) -> None:
        self._core = core
        self._handles = handles

    def opendir(self, number: InodeNumber) -> HandleId:
        core = self._core

        def operation() -> None:
            if not core.inode(number).is_directory:
                raise NotADirectory("not a directory")
            core.live_file(number).handles += 1

        core.read(operation)
        return self._handles.add(DirectoryHandle(number))

    def readdir(self, handle: HandleId, cookie: int) -> list[DirectoryEntry]:
        """Entries after ``cookie`` in byte order of their names; an empty list is the end."""
        found = self._handles.directory(handle)
        with found.lock:
            after, skipped = found.position(cookie)
        names = self._names(found.inode, after, LISTING_PIECE + skipped)[skipped:]
        with found.lock:
            cookies = found.cookies(cookie, [name for name, _ in names])
        entries = []
        for number, (name, inode) in zip(cookies, names, strict=True):
            entry = self._entry(name, number, inode)
            if entry is not None:
                entries.append(entry)
        if names and not entries:
            return self.readdir(handle, cookies[-1])
        return entries

    def _entry(self, name: bytes, cookie: int, number: InodeNumber) -> DirectoryEntry | None:
        """None where the inode went away after the name was read."""
        core = self._core
        try:
            return DirectoryEntry(name, cookie, core.read(lambda: core.attr(core.inode(number))))
        except Stale:
            return None

    def _names(self, directory: InodeNumber, after: bytes, count: int) -> list[tuple[bytes, InodeNumber]]:
        core = self._core
        start, stop = dirent_range(directory)
        if after:
            start = dirent_key(directory, after) + b"\0"
        records: list[tuple[bytes, bytes]] = []
        while len(records) < count:
            wanted = min(LISTING_PIECE, count - len(records))
            begin = start
            piece = core.read(lambda begin=begin, wanted=wanted: core.map.scan(begin, stop, wanted))  # type: ignore[misc]
            records += piece
            if len(piece) < wanted:
                break
            start = piece[-1][0] + b"\0"
        return [(dirent_name(key), decode_dirent(value).inode) for key, value in records]
