"""What the calls are tried with: few names and places, so that they meet; limits, and what is beyond them."""

import os
import stat

from hypothesis import strategies as st

from cryptdrive.vfs.values import NOW, Caller, XattrFlags

PICK = st.integers(0, 15)
GOOD_NAMES = [b"a", b"b", b"c", b"\xff\xfe\n", b"n" * 255]
BAD_NAMES = [b"n" * 256, b"x/y", b"nul\0", b""]
NAMES = st.sampled_from(GOOD_NAMES * 8 + BAD_NAMES)
MODES = st.sampled_from([0o755, 0o644, 0o600, 0o000, 0o7777, 0o2755, 0o2745, 0o4711, 0o1777])
CALLERS = st.sampled_from([Caller(0, 0, "webdav"), Caller(1000, 1001, "fuse")])
PLACES = [0, 0, 0, 500, 4096, 65536, 1 << 20, 4 << 20, (1 << 32) + 5, 1 << 50, 1 << 62]
OFFSETS = st.builds(lambda place, step: place + step, st.sampled_from(PLACES), st.integers(0, 600))
END = (1 << 63) - 1
SIZES = st.one_of(OFFSETS, st.sampled_from([0, END, END + 1, -1]))
LENGTHS = st.one_of(st.integers(0, 1000), st.sampled_from([4096, 65536, 70_000, 300_000]))
TIMES = st.one_of(st.none(), st.sampled_from([NOW, 0, -1, 1_600_000_000_123_456_789]))
XATTR_NAMES = st.sampled_from(
    [
        b"user.a",
        b"user.b",
        b"trusted.c",
        b"security.d",
        b"user." + b"n" * 250,
        b"system.x",
        b"plain",
        b"user.",
    ]
)
XATTR_FLAGS = [XattrFlags.NONE, XattrFlags.NONE, XattrFlags.CREATE, XattrFlags.REPLACE]
ACCESS = st.sampled_from(
    [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_TRUNC]
)
CREATE = st.sampled_from([os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_EXCL, os.O_RDWR | os.O_TRUNC])
MEANWHILE = ["create", "mkdir", "write", "write", "rename", "unlink", "chmod"]
FILE_TYPES = st.sampled_from([0, stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK])


def pattern(seed: int, length: int) -> bytes:
    """Bytes without zeros that differ from place to place."""
    block = bytes((seed * 31 + place * 7) % 255 + 1 for place in range(251))
    return (block * (length // 251 + 1))[:length]
