"""The file system: what front ends call. All file semantics are below this, once."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from cryptdrive.errors import CryptdriveError
from cryptdrive.local.backlog import Backlog
from cryptdrive.local.packing import PackAppender
from cryptdrive.local.publisher import Publisher
from cryptdrive.local.saving import ChangeSaver
from cryptdrive.objects.reader import BlobReader
from cryptdrive.types import ROOT_INODE, HandleId, InodeNumber
from cryptdrive.vfs.admission import Admission
from cryptdrive.vfs.attributes import Attributes
from cryptdrive.vfs.content import FileContent
from cryptdrive.vfs.core import Core
from cryptdrive.vfs.directories import Directories
from cryptdrive.vfs.live import HandleTable
from cryptdrive.vfs.namespace import Namespace
from cryptdrive.vfs.paths import Paths
from cryptdrive.vfs.sealing import ContentSealer
from cryptdrive.vfs.trees import Trees
from cryptdrive.vfs.values import (
    Attr,
    Caller,
    DirectoryEntry,
    Event,
    FileSystemStatistics,
    RenameFlags,
    SetAttr,
    XattrFlags,
)
from cryptdrive.waiting import before_waiting

QUICK_BYTES_MAX = 256 << 10
"""So much is sealed in less than a millisecond."""
VIRTUAL_BYTES = 1 << 50
"""The size shown for a store that has none of its own: 1 PiB."""


@dataclass(frozen=True, slots=True)
class FileSystemLimits:
    """How much a file system keeps in memory."""

    unsealed_bytes_max: int = 64 << 20
    sealing_starts_bytes: int = 8 << 20


class FileSystem:
    """Inodes, names and handles of one open drive.

    Synchronous and thread-safe. Names and paths are bytes. Every call raises the typed errors of
    :mod:`cryptdrive.errors`, and, inside :func:`cryptdrive.waiting.no_waiting` only, WouldBlock,
    having changed nothing. What is acknowledged is in memory; :meth:`fsync` returns when it is
    durable on this machine, :meth:`sync` when it is on the store.
    """

    root = ROOT_INODE

    def __init__(
        self,
        core: Core,
        saver: ChangeSaver,
        publisher: Publisher,
        backlog: Backlog,
        admission: Admission,
        appender: PackAppender,
        reader: BlobReader,
        limits: FileSystemLimits,
        disk_of_store: str | None,
    ) -> None:
        self.core = core
        self._saver = saver
        self.backlog = backlog
        self._admission = admission
        core.admit = admission.admit
        self._publisher = publisher
        self._disk = disk_of_store
        self.handles = HandleTable()
        self.sealer = ContentSealer(core, saver, appender, reader)
        self._content = FileContent(
            core,
            self.handles,
            reader,
            unsealed_bytes_max=limits.unsealed_bytes_max,
            sealing_starts_bytes=limits.sealing_starts_bytes,
            make_room=self.sealer.make_room,
        )
        self._namespace = Namespace(core, self._content, appender)
        self._attributes = Attributes(
            core, self._content, appender, reader, lambda: self.publish_error is None
        )
        self._directories = Directories(core, self.handles)
        self._paths = Paths(core, self._namespace, reader)
        self._trees = Trees(core, self.handles, self._content, self._namespace, self.sealer)
        # The hot ones, without a call in between.
        self.lookup = self._namespace.lookup
        self.getattr = self._attributes.getattr
        self.read = self._content.read
        self.write = self._content.write
        self.create = self._namespace.create

    # --- names -----------------------------------------------------------------------------

    def resolve(self, path: bytes, follow: bool = False) -> Attr:
        """The inode at a path from the root. ``follow``: symbolic links too, within the drive."""
        return self._paths.resolve(path, follow)

    def resolve_in(self, directory: InodeNumber, path: bytes) -> Attr:
        """The inode at a path from ``directory``, following symbolic links within the drive."""
        return self._paths.resolve_in(directory, path)

    def parent_of(self, path: bytes) -> tuple[Attr, bytes]:
        """The directory in which a path's last part lies or would lie, and that part."""
        return self._paths.parent_of(path)

    def mknod(self, parent: InodeNumber, name: bytes, mode: int, rdev: int, caller: Caller) -> Attr:
        return self._namespace.mknod(parent, name, mode, rdev, caller)

    def mkdir(self, parent: InodeNumber, name: bytes, mode: int, caller: Caller) -> Attr:
        return self._namespace.mkdir(parent, name, mode, caller)

    def symlink(self, parent: InodeNumber, name: bytes, target: bytes, caller: Caller) -> Attr:
        return self._namespace.symlink(parent, name, target, caller)

    def readlink(self, inode: InodeNumber) -> bytes:
        return self._paths.readlink(inode)

    def link(self, inode: InodeNumber, parent: InodeNumber, name: bytes, caller: Caller) -> Attr:
        return self._namespace.link(inode, parent, name, caller)

    def unlink(self, parent: InodeNumber, name: bytes, caller: Caller) -> None:
        """Durable on this machine when it returns, for a file that was fsynced shortly before.

        To remove a rollback journal is how databases commit, and not all of them sync the folder.
        """
        is_commit = self.core.was_synced(parent, name)
        if is_commit:
            before_waiting()
        self._namespace.unlink(parent, name, caller)
        if is_commit:
            self._saver.save()

    def rmdir(self, parent: InodeNumber, name: bytes, caller: Caller) -> None:
        self._namespace.rmdir(parent, name, caller)

    def rename(
        self,
        parent: InodeNumber,
        name: bytes,
        new_parent: InodeNumber,
        new_name: bytes,
        flags: RenameFlags,
        caller: Caller,
    ) -> None:
        self._namespace.rename(parent, name, new_parent, new_name, flags, caller)

    def remove_tree(self, parent: InodeNumber, name: bytes, caller: Caller) -> None:
        """Remove a file, or a directory with all that is in it, in one moment."""
        self._namespace.remove_tree(parent, name, caller)

    def clone(
        self, source: InodeNumber, parent: InodeNumber, name: bytes, replace: bool, caller: Caller
    ) -> Attr:
        """Copy a file, or a directory with all that is in it; extents are shared, names appear in one moment.

        ``replace``: what stands at ``name`` goes. Raises Exists without it, Invalid for a copy into itself.
        """
        return self._trees.clone(source, parent, name, replace, caller)

    # --- attributes ------------------------------------------------------------------------

    def setattr(
        self, inode: InodeNumber, changes: SetAttr, caller: Caller, handle: HandleId | None = None
    ) -> Attr:
        """Change attributes; ``handle``, an open file, lets truncation work on an unlinked one."""
        return self._attributes.setattr(inode, changes, caller)

    def getxattr(self, inode: InodeNumber, name: bytes) -> bytes:
        return self._attributes.getxattr(inode, name)

    def setxattr(
        self, inode: InodeNumber, name: bytes, value: bytes, flags: XattrFlags, caller: Caller
    ) -> None:
        self._attributes.setxattr(inode, name, value, flags, caller)

    def listxattr(self, inode: InodeNumber) -> list[bytes]:
        return self._attributes.listxattr(inode)

    def removexattr(self, inode: InodeNumber, name: bytes, caller: Caller) -> None:
        self._attributes.removexattr(inode, name, caller)

    def statfs(self) -> FileSystemStatistics:
        """The disk's numbers for a folder that is there; else 1 PiB and what is used."""
        usage = self.core.usage
        used = usage.allocated + self.core.unsealed_bytes
        disk = _statistics_of(self._disk) if self._disk is not None else None
        if disk is not None:
            return FileSystemStatistics(
                disk.f_blocks * disk.f_frsize,
                disk.f_bfree * disk.f_frsize,
                disk.f_bavail * disk.f_frsize,
                used,
                usage.inodes,
            )
        free = max(VIRTUAL_BYTES - used, 0)
        return FileSystemStatistics(VIRTUAL_BYTES, free, free, used, usage.inodes)

    # --- open files ------------------------------------------------------------------------

    def open(self, inode: InodeNumber, flags: int, caller: Caller) -> HandleId:
        return self._content.open(inode, flags, caller)

    def flush(self, handle: HandleId) -> None:
        """A descriptor was closed: raises what went wrong when saving the file, once."""
        self._content.take_error(self.handles.file(handle))

    def sync_point(self) -> int:
        """A number for this moment, for :meth:`fsync`."""
        return self.core.map.sequence

    def save_quickly(self, point: int) -> bool:
        """Save what was done up to ``point`` at once, if that takes a moment only; False if it would not."""
        return self.core.unsealed_bytes <= QUICK_BYTES_MAX and self._saver.save_quickly(point)

    def fsync(self, handle: HandleId, data_only: bool = False, point: int | None = None) -> None:
        """Everything done before, to this file and any other, is durable on this machine when it returns.

        Takes a directory's handle as well: programs make a rename durable with it. With a ``point``
        everything up to that moment suffices.
        """
        if not self.handles.is_directory(handle):
            found = self.handles.file(handle)
            self._content.take_error(found)
            self.core.note_sync(found.inode)
        self._saver.save(point)

    def close(self, handle: HandleId) -> None:
        """The handle is not used again. A stage that was not published is discarded."""
        found = self.handles.file(handle)
        self.handles.remove(handle)
        self._content.close_file(found)
        self._purge_if_unused(found.inode)

    def stage(self, mode: int, caller: Caller) -> HandleId:
        """A new file without a name, open for writing: :meth:`publish` names, :meth:`close` discards it."""
        return self._trees.stage(mode, caller)

    def publish(
        self, handle: HandleId, parent: InodeNumber, name: bytes, replace: bool, caller: Caller
    ) -> Attr:
        """Let a staged file appear as ``name``, in one moment, and close the handle.

        With ``replace`` a file of that name goes; its mode, owner and extended attributes stay.
        """
        return self._trees.publish(handle, parent, name, replace, caller)

    # --- directories -----------------------------------------------------------------------

    def opendir(self, inode: InodeNumber) -> HandleId:
        return self._directories.opendir(inode)

    def readdir(self, handle: HandleId, cookie: int = 0) -> list[DirectoryEntry]:
        """Some entries after ``cookie``, without "." and ".."; none at the end."""
        return self._directories.readdir(handle, cookie)

    def closedir(self, handle: HandleId) -> None:
        found = self.handles.directory(handle)
        self.handles.remove(handle)
        with self.core.map.lock:
            live = self.core.live_file(found.inode)
            live.handles -= 1
            if live.is_idle:
                self.core.live.pop(found.inode, None)
        self._purge_if_unused(found.inode)

    # --- life of inodes ----------------------------------------------------------------------

    def retain(self, inode: InodeNumber, count: int = 1) -> None:
        """The kernel holds ``count`` more references to an inode."""
        with self.core.map.lock:
            references = self.core.kernel_references
            references[inode] = references.get(inode, 0) + count

    def release(self, inode: InodeNumber, count: int = 1) -> None:
        """The kernel has let go of ``count`` references."""
        with self.core.map.lock:
            references = self.core.kernel_references
            left = references.get(inode, 0) - count
            if left > 0:
                references[inode] = left
                return
            references.pop(inode, None)
        self._purge_if_unused(inode)

    def _purge_if_unused(self, number: InodeNumber) -> None:
        """Queue an inode for removal where it has no name and nothing uses it any more."""
        core = self.core
        if core.read_only:
            return
        with core.map.lock:
            if number in core.orphans and not core.is_used(number):
                core.purges.append(number)

    # --- the whole drive -----------------------------------------------------------------------

    def sync(self, *, remote: bool = True) -> None:
        """Everything that was done before is on the store when it returns; or on this machine's disk."""
        if remote:
            self._publisher.publish()
        else:
            self._saver.save()

    @property
    def save_error(self) -> CryptdriveError | None:
        """Why changes could not be made durable on this machine the last time; None if they were."""
        return self._saver.last_error

    @property
    def publish_error(self) -> CryptdriveError | None:
        """Why changes could not be sent to the store the last time; None if they were."""
        return self._publisher.last_error

    @property
    def unsent_bytes(self) -> int:
        """Bytes of complete packs that no publication under way takes along."""
        return self.backlog.unsent_bytes

    @property
    def is_pressed(self) -> bool:
        """Whether so much waits that writers are slowed down."""
        return self._admission.is_pressed

    @property
    def pressure(self) -> str | None:
        """What writers meet while much waits, and why; None where nothing keeps them back."""
        try:
            return self._admission.pressure
        except OSError as error:
            return f"not known: {error.strerror}"

    def free_dead(self) -> None:
        """Let go of what was removed before it was sent. Raises DiskError, NoSpace."""
        self._publisher.free_dead()

    def note_failure(self, error: CryptdriveError) -> None:
        """Saving failed in the background: whoever has a file open that it concerns is told, once."""
        self.sealer.note_failure(error)

    @property
    def last_error(self) -> CryptdriveError | None:
        """Why changes could not be saved the last time, in the background or by fsync; None if they were."""
        return self._saver.last_error or self._publisher.last_error

    def purge_some(self) -> bool:
        """Remove some of what nothing names any more; True if there is more to do."""
        return self._trees.purge_some()

    @property
    def wants_sealing(self) -> bool:
        """Whether so much is unsealed that sealing should start before the next publication."""
        return self._content.wants_sealing

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Be told of every change, in the thread that made it, without locks held.

        ``callback`` must not call back. Returns what ends it.
        """
        return self.core.subscribe(callback)

    def open_handles(self) -> int:
        """How many files and directories are open."""
        return len(self.handles)


def _statistics_of(folder: str) -> os.statvfs_result | None:
    """Of the disk that a folder is on; None while it is away."""
    try:
        return os.statvfs(folder)
    except OSError:
        return None
