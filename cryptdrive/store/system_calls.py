"""Two Linux system calls that the standard library does not have."""

import ctypes
import ctypes.util
import errno
import os

RENAME_NOREPLACE = 1

# Kinds of file system (statfs(2), f_type) on which link(2) has one winner among all machines and
# processes that race. Not on the list: FAT, SMB, FUSE and whatever else is not known to be so.
_exclusive_link_magic = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # xfs
        0x9123683E,  # btrfs
        0xF2F52010,  # f2fs
        0x2FC12FC1,  # zfs
        0xCA451A4E,  # bcachefs
        0x01021994,  # tmpfs
        0x794C7630,  # overlay
        0x6969,  # nfs
    }
)

_libc = ctypes.CDLL(None, use_errno=True)


def rename_without_replacing(old: str, new: str, folder: int) -> None:
    """renameat2(2) with RENAME_NOREPLACE, inside the folder of that descriptor.

    Raises FileExistsError; OSError with ENOSYS or EINVAL where kernel, C library or file system lack it.
    """
    function = getattr(_libc, "renameat2", None)
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    arguments = (
        ctypes.c_int(folder),
        ctypes.c_char_p(os.fsencode(old)),
        ctypes.c_int(folder),
        ctypes.c_char_p(os.fsencode(new)),
        ctypes.c_uint(RENAME_NOREPLACE),
    )
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def links_are_exclusive(descriptor: int) -> bool:
    """Whether the file system that the descriptor is on is known to create a link for one racer only."""
    function = getattr(_libc, "fstatfs", None)
    answer = ctypes.create_string_buffer(
        512
    )  # struct statfs has 120 bytes on Linux; f_type is its first word
    if function is None or function(ctypes.c_int(descriptor), answer) != 0:
        return False
    return ctypes.c_ulong.from_buffer(answer).value & 0xFFFFFFFF in _exclusive_link_magic
