"""What the kernel holds of the file system: inodes it knows and handles it has open.

The kernel does not give everything back when a mount ends (forget requests are not waited for; a
mount that was ended by force leaves handles open), and the drive may live on behind another front
end. So this front end counts, and gives back the rest.
"""

import logging
import threading
from collections.abc import Callable

from cryptdrive.errors import CryptdriveError
from cryptdrive.types import HandleId, InodeNumber
from cryptdrive.vfs.filesystem import FileSystem

logger = logging.getLogger(__name__)


class KernelReferences:
    """Counts references and handles; safe in every thread."""

    def __init__(self, fs: FileSystem) -> None:
        self._fs = fs
        self._lock = threading.Lock()
        self._counts: dict[InodeNumber, int] = {}
        self._files: set[HandleId] = set()
        self._directories: dict[HandleId, InodeNumber] = {}

    def retain(self, inode: InodeNumber) -> None:
        """The kernel is about to learn of ``inode`` once more.

        Raises Stale: the inode is gone by now.
        """
        self._fs.retain(inode)
        with self._lock:
            self._counts[inode] = self._counts.get(inode, 0) + 1

    def forget(self, inode: InodeNumber, count: int) -> None:
        """The kernel drops ``count`` references. Never raises: nobody waits for the answer."""
        with self._lock:
            known = self._counts.get(inode, 0)
            dropped = min(known, count)
            if known > count:
                self._counts[inode] = known - count
            else:
                self._counts.pop(inode, None)
        if dropped:
            _give_back("forget", self._fs.release, inode, dropped)

    def opened(self, handle: HandleId) -> None:
        """A file's handle goes to the kernel."""
        with self._lock:
            self._files.add(handle)

    def closed(self, handle: HandleId) -> None:
        """The kernel gave a file's handle back; the caller closes it."""
        with self._lock:
            self._files.discard(handle)

    def opened_directory(self, handle: HandleId, inode: InodeNumber) -> None:
        """A directory's handle goes to the kernel."""
        with self._lock:
            self._directories[handle] = inode

    def closed_directory(self, handle: HandleId) -> None:
        """The kernel gave a directory's handle back; the caller closes it."""
        with self._lock:
            self._directories.pop(handle, None)

    def directory_of(self, handle: HandleId) -> InodeNumber:
        """The directory that ``handle`` lists; for a handle that is not known, 0."""
        return self._directories.get(handle, InodeNumber(0))

    def give_all_back(self) -> None:
        """The mount has ended: close and release what the kernel left."""
        with self._lock:
            files, self._files = self._files, set()
            directories, self._directories = self._directories, {}
            counts, self._counts = self._counts, {}
        for handle in files:
            _give_back("close", self._fs.close, handle)
        for handle in directories:
            _give_back("closedir", self._fs.closedir, handle)
        for inode, count in counts.items():
            _give_back("release", self._fs.release, inode, count)


def _give_back(what: str, call: Callable[..., None], *arguments: int) -> None:
    """Call, and log what fails: the kernel has no use for an error here."""
    try:
        call(*arguments)
    except CryptdriveError as error:
        logger.warning("%s failed: %s", what, type(error).__name__)
    except Exception as error:  # noqa: BLE001 - nobody is there to raise it to
        logger.error("%s failed: %s", what, type(error).__name__)
