"""What the kernel asks, as calls of the file system: each handler decodes, calls and encodes.

Not here because pyfuse3 has no handlers for them: fallocate, lseek, copy_file_range and ioctl; the
kernel does without. Locks of files (flock, fcntl) are the kernel's too: one mount, one machine.
"""

import os
from collections.abc import Callable, Sequence
from typing import TypeVarTuple

import pyfuse3

from cryptdrive.errors import FileError, Invalid, NotFound, Stale
from cryptdrive.fuse.answering import Answerer, handler
from cryptdrive.fuse.encoding import Presentation, caller_of, changes_of, missing_entry, statistics
from cryptdrive.fuse.references import KernelReferences
from cryptdrive.fuse.syncing import GroupSync
from cryptdrive.types import HandleId, InodeNumber
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.values import Attr, Caller, DirectoryEntry, RenameFlags, XattrFlags

KNOWN_RENAME_FLAGS = RenameFlags.NOREPLACE | RenameFlags.EXCHANGE
DOT_ENTRIES = 2
"""``.`` and ``..`` come first in a listing, with the positions 1 and 2; all others follow after."""

Arguments = TypeVarTuple("Arguments")


class Operations(pyfuse3.Operations):
    """The handlers. All but ``forget`` raise FUSEError and nothing else."""

    supports_dot_lookup = True
    enable_writeback_cache = False
    """With it the kernel would own sizes and times, and changes made elsewhere could not be shown."""
    enable_acl = False

    def __init__(
        self,
        fs: FileSystem,
        presentation: Presentation,
        references: KernelReferences,
        pages_may_be_old: Callable[[InodeNumber], bool],
    ) -> None:
        """``pages_may_be_old(inode)``: the kernel has not yet been told of a change of its content."""
        super().__init__()
        self._fs = fs
        self._show = presentation.attributes
        self._references = references
        self._pages_may_be_old = pages_may_be_old
        syncs = GroupSync(fs)
        answerer = Answerer(syncs)
        self._answer = answerer.answer
        self._wait_for = answerer.wait_for
        self._syncs = syncs

    # --- names -----------------------------------------------------------------------

    @handler
    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        attr = await self._answer(self._find, InodeNumber(parent_inode), name)
        return missing_entry() if attr is None else self._show(attr)

    def _find(self, parent: InodeNumber, name: bytes) -> Attr | None:
        try:
            attr = self._fs.lookup(parent, name)
        except NotFound:
            return None
        self._references.retain(attr.inode)
        return attr

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for inode, count in inode_list:
            self._references.forget(InodeNumber(inode), count)

    async def _new_name(
        self, call: Callable[[*Arguments], Attr], *arguments: *Arguments
    ) -> pyfuse3.EntryAttributes:
        """Answer with an entry, to which the kernel then holds a reference."""
        return self._show(await self._answer(self._referenced, call, *arguments))

    def _referenced(self, call: Callable[[*Arguments], Attr], *arguments: *Arguments) -> Attr:
        attr = call(*arguments)
        self._references.retain(attr.inode)
        return attr

    @handler
    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        parent, mode = InodeNumber(parent_inode), mode & ~ctx.umask
        return await self._new_name(self._fs.mknod, parent, name, mode, rdev, caller_of(ctx))

    @handler
    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        parent, mode = InodeNumber(parent_inode), mode & ~ctx.umask
        return await self._new_name(self._fs.mkdir, parent, name, mode, caller_of(ctx))

    @handler
    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        parent = InodeNumber(parent_inode)
        return await self._new_name(self._fs.symlink, parent, name, target, caller_of(ctx))

    @handler
    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        target, parent = InodeNumber(inode), InodeNumber(new_parent_inode)
        return await self._new_name(self._fs.link, target, parent, new_name, caller_of(ctx))

    @handler
    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        await self._answer(self._fs.unlink, InodeNumber(parent_inode), name, caller_of(ctx))

    @handler
    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        await self._answer(self._fs.rmdir, InodeNumber(parent_inode), name, caller_of(ctx))

    @handler
    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        if flags & ~KNOWN_RENAME_FLAGS:
            raise Invalid("unknown flags of rename")
        old, new = InodeNumber(parent_inode_old), InodeNumber(parent_inode_new)
        chosen = RenameFlags(flags)
        await self._answer(self._fs.rename, old, name_old, new, name_new, chosen, caller_of(ctx))

    @handler
    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        return await self._answer(self._fs.readlink, InodeNumber(inode))

    # --- attributes ------------------------------------------------------------------

    @handler
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return self._show(await self._answer(self._fs.getattr, InodeNumber(inode)))

    @handler
    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        changes = changes_of(attr, fields)
        handle = None if fh is None else HandleId(fh)
        changed = await self._answer(self._fs.setattr, InodeNumber(inode), changes, caller_of(ctx), handle)
        return self._show(changed)

    @handler
    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        return await self._answer(self._fs.getxattr, InodeNumber(inode), name)

    @handler
    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext) -> None:
        # pyfuse3 itself has looked after XATTR_CREATE and XATTR_REPLACE.
        flags, caller = XattrFlags.NONE, caller_of(ctx)
        await self._answer(self._fs.setxattr, InodeNumber(inode), name, value, flags, caller)

    @handler
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        return await self._answer(self._fs.listxattr, InodeNumber(inode))

    @handler
    async def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        await self._answer(self._fs.removexattr, InodeNumber(inode), name, caller_of(ctx))

    @handler
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        # Asks the disk that the store is on, which may be a network's.
        return statistics(await self._wait_for(self._fs.statfs))

    # --- files -----------------------------------------------------------------------

    @handler
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        parent, mode = InodeNumber(parent_inode), mode & ~ctx.umask
        handle, attr = await self._answer(
            self._create, parent, name, mode, _without_append(flags), caller_of(ctx)
        )
        return self._opened(handle, attr.inode), self._show(attr)

    def _create(
        self, parent: InodeNumber, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[HandleId, Attr]:
        handle, attr = self._fs.create(parent, name, mode, flags, caller)
        self._references.retain(attr.inode)
        return handle, attr

    @handler
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        handle = await self._answer(self._fs.open, InodeNumber(inode), _without_append(flags), caller_of(ctx))
        return self._opened(handle, InodeNumber(inode))

    def _opened(self, handle: HandleId, inode: InodeNumber) -> pyfuse3.FileInfo:
        """The kernel may keep the pages it has, unless it has yet to be told that they are old."""
        self._references.opened(handle)
        return pyfuse3.FileInfo(fh=handle, keep_cache=not self._pages_may_be_old(inode))

    @handler
    async def read(self, fh: int, off: int, size: int) -> bytes:
        return await self._answer(self._fs.read, HandleId(fh), off, size)

    @handler
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        return await self._answer(self._fs.write, HandleId(fh), off, buf)

    @handler
    async def flush(self, fh: int) -> None:
        await self._answer(self._fs.flush, HandleId(fh))

    @handler
    async def fsync(self, fh: int, datasync: bool) -> None:
        await self._syncs.fsync(HandleId(fh), datasync)

    @handler
    async def release(self, fh: int) -> None:
        self._references.closed(HandleId(fh))
        await self._answer(self._fs.close, HandleId(fh))

    # --- directories -----------------------------------------------------------------

    @handler
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        handle = await self._answer(self._fs.opendir, InodeNumber(inode))
        self._references.opened_directory(handle, InodeNumber(inode))
        return handle

    @handler
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        dots, entries = await self._answer(self._list, HandleId(fh), start_id)
        for position, name, attr in dots:
            # The kernel counts no reference for "." and "..".
            if not pyfuse3.readdir_reply(token, name, self._show(attr), position):
                return
        for entry in entries:
            if not self._reply_entry(token, entry):
                return

    def _list(
        self, handle: HandleId, start: int
    ) -> tuple[list[tuple[int, bytes, Attr]], list[DirectoryEntry]]:
        """The dot entries that still have to come, and the next piece of the listing.

        One piece only: the kernel asks again from where the answer ended.
        """
        dots = []
        directory = self._references.directory_of(handle)
        for position, name in ((1, b"."), (2, b"..")):
            if start < position:
                try:
                    dots.append((position, name, self._fs.lookup(directory, name)))
                except FileError:
                    continue  # a directory that was removed has neither
        return dots, self._fs.readdir(handle, max(0, start - DOT_ENTRIES))

    def _reply_entry(self, token: pyfuse3.ReaddirToken, entry: DirectoryEntry) -> bool:
        """Put one entry into the answer; whether there was room. Each counts as a lookup."""
        try:
            self._references.retain(entry.attr.inode)
        except Stale:
            return True  # removed behind our back since it was listed
        position = entry.cookie + DOT_ENTRIES
        if pyfuse3.readdir_reply(token, entry.name, self._show(entry.attr), position):
            return True
        self._references.forget(entry.attr.inode, 1)
        return False

    @handler
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        await self._syncs.fsync(HandleId(fh), datasync)

    @handler
    async def releasedir(self, fh: int) -> None:
        self._references.closed_directory(HandleId(fh))
        await self._answer(self._fs.closedir, HandleId(fh))


def _without_append(flags: int) -> int:
    """``flags`` of open(2) without O_APPEND: where an append goes is the kernel's to say.

    It takes the end of the file under its own lock and sends a plain write to that offset. Through
    the same handle it also sends pages of a shared mapping, which belong where they are and not at
    the end; a request does not tell the two apart.
    """
    return flags & ~os.O_APPEND
