"""Mountpoints: whether one can be used, who keeps one busy, how one is unmounted.

Needs neither pyfuse3 nor trio, so that ``umount`` works without them.
"""

import contextlib
import ctypes
import errno
import logging
import os
import queue
import re
import shutil
import stat
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptdrive.errors import Busy, MountpointError

logger = logging.getLogger(__name__)

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8
LINKS_MAX = 40
ANSWER_SECONDS_MAX = 5.0
UNMOUNT_SECONDS_MAX = 600
"""fusermount3 waits while the kernel writes what is dirty in shared mappings."""


@dataclass(frozen=True, slots=True)
class MountedFileSystem:
    """One line of /proc/self/mountinfo."""

    path: str
    kind: str
    source: str

    @property
    def is_fuse(self) -> bool:
        """Whether a program stands behind it, one that may have died."""
        return self.kind == "fuse" or self.kind.startswith(("fuse.", "fuseblk"))


def check_mountpoint(path: str | Path, *, nonempty: bool = False) -> bool:
    """Make sure that a drive can be mounted at ``path``; True if a dead mount was cleared away there.

    Raises MountpointError: it is missing, not a directory, not empty (unless ``nonempty``), not ours
    to enter, or something is mounted there already.
    """
    place = absolute(path)
    cleared = _clear_dead_mount(place)
    mounted = mounted_at(place)
    if mounted is not None:
        raise MountpointError(f"{place}: {mounted.source} ({mounted.kind}) is mounted there already")
    try:
        status = os.stat(place)
        if not stat.S_ISDIR(status.st_mode):
            raise MountpointError(f"{place} is not a directory")
        if not nonempty and os.listdir(place):
            raise MountpointError(
                f"{place} is not empty; its files would be hidden (-o nonempty mounts all the same)"
            )
    except FileNotFoundError:
        raise MountpointError(f"{place} does not exist; create the directory first") from None
    except OSError as error:
        raise MountpointError(f"{place} cannot be used: {error.strerror}") from None
    return cleared


def check_apart(mountpoint: str | Path, used: Mapping[str, Path]) -> None:
    """Make sure that no folder which the drive itself works in would be hidden by its mount.

    Its process would ask itself for them, and wait for ever. ``used`` names each for people.
    Raises MountpointError.
    """
    place = os.fsencode(absolute(mountpoint))
    for name, folder in used.items():
        path = os.path.realpath(folder)
        if _is_below(os.fsencode(path), place):
            raise MountpointError(
                f"{os.fsdecode(place)}: {name} ({path}) is there, and the mount would hide it from the drive "
                "itself; mount it elsewhere"
            )


def absolute(path: str | Path) -> str:
    """``path`` without symbolic links. Asks nothing of what is mounted at its end, which may hang."""
    text = os.path.abspath(os.fspath(path))
    for _ in range(LINKS_MAX):
        parent, name = os.path.split(text)
        text = os.path.join(os.path.realpath(parent), name)
        # Not lstat(2), which the file system that is mounted there answers; readlink(2) fails before that.
        try:
            target = os.readlink(text)
        except OSError:
            return text
        text = os.path.join(os.path.dirname(text), target)
        if os.path.basename(text) in ("", ".", ".."):
            return os.path.realpath(text)
    return text


def mounted_at(place: str) -> MountedFileSystem | None:
    """What is mounted on top at exactly ``place``, which is as :func:`absolute` gives it."""
    found = None
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        fields = line.split(" ")
        if _unescaped(fields[4]) == place:
            kind, source = fields[fields.index("-") + 1 :][:2]
            found = MountedFileSystem(place, kind, _unescaped(source))
    return found


def _unescaped(text: str) -> str:
    """``text`` of mountinfo, which writes blanks and backslashes as octal numbers."""
    raw = os.fsencode(text)
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), raw))


def is_dead(place: str) -> bool:
    """Whether the program behind the FUSE mount at ``place`` is gone.

    Asked by statvfs(2), which the kernel never answers from its cache, as it may stat(2).
    Raises MountpointError: the program is there, and does not answer.
    """
    answers: queue.SimpleQueue[int] = queue.SimpleQueue()

    def ask() -> None:
        try:
            os.statvfs(place)
            answers.put(0)
        except OSError as error:
            answers.put(error.errno or 0)

    asking = threading.Thread(target=ask, daemon=True)  # for it may never come back
    asking.start()
    try:
        number = answers.get(timeout=ANSWER_SECONDS_MAX)
    except queue.Empty:
        raise MountpointError(
            f"{place}: the program behind the mount there does not answer: it is stopped, or hangs"
        ) from None
    asking.join()
    return number in (errno.ENOTCONN, errno.ECONNABORTED)


def _clear_dead_mount(place: str) -> bool:
    """Unmount what is left of a program that died, and say so."""
    mounted = mounted_at(place)
    if mounted is None or not mounted.is_fuse or not is_dead(place):
        return False
    try:
        unmount(place, lazy=True)
    except MountpointError as error:
        raise MountpointError(
            f"{place}: a mount whose program has died is left there and could not be cleared: {error}"
        ) from None
    logger.warning("cleared a mount that was left at %s by a program that has died", place)
    return True


# --- unmounting ------------------------------------------------------------------------


def unmount(mountpoint: str | Path, *, lazy: bool = False) -> None:
    """Unmount; ``lazy`` detaches at once and ends when the last user is gone.

    Returns when the kernel has handed over everything; the program behind the mount may still have to
    save it.
    Raises Busy: files or folders are in use; the message names the programs.
    Raises MountpointError: nothing is mounted there, or it is another user's.
    """
    place = absolute(mountpoint)
    mounted = mounted_at(place)
    if mounted is None:
        raise MountpointError(f"nothing is mounted at {place}")
    number, reason = _unmount_as_root(place, lazy) if os.geteuid() == 0 else (errno.EPERM, "")
    if number == errno.EPERM and mounted.is_fuse:
        number, reason = _unmount_as_user(place, lazy)
    if number == errno.EBUSY:
        raise Busy(_busy_message(place))
    if number:
        raise MountpointError(f"{place} could not be unmounted: {reason or os.strerror(number)}")


def _unmount_as_root(place: str, lazy: bool) -> tuple[int, str]:
    """umount2(2); errno (0: done) and a reason."""
    library = ctypes.CDLL(None, use_errno=True)
    flags = UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0)
    if library.umount2(os.fsencode(place), flags) == 0:
        return 0, ""
    number = ctypes.get_errno()
    return number, os.strerror(number)


def _unmount_as_user(place: str, lazy: bool) -> tuple[int, str]:
    """fusermount3(1), which may do it for the user who mounted; errno (0: done) and a reason."""
    program = shutil.which("fusermount3") or shutil.which("fusermount")
    if program is None:
        return errno.EPERM, "fusermount3 is missing (Debian: fuse3)"
    command = [program, "-u", *(["-z"] if lazy else []), "--", place]
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            env=environment,
            timeout=UNMOUNT_SECONDS_MAX,
        )
    except subprocess.TimeoutExpired:
        return errno.ETIMEDOUT, f"no answer within {UNMOUNT_SECONDS_MAX} seconds"
    if done.returncode == 0:
        return 0, ""
    reason = done.stderr.strip()
    return (errno.EBUSY if "busy" in reason.lower() else errno.EPERM), reason


# --- who keeps it busy -----------------------------------------------------------------


def _busy_message(place: str) -> str:
    holders = who_holds(place)
    if not holders:
        return f"{place} is in use (by whom cannot be seen)"
    named = ", ".join(f"{command} ({pid})" for pid, command in holders[:8])
    more = f" and {len(holders) - 8} more" if len(holders) > 8 else ""
    return f"{place} is in use by {named}{more}"


def who_holds(mountpoint: str | Path) -> list[tuple[int, str]]:
    """Process ids and names of the programs that use something below ``mountpoint``.

    Only what this user may see in /proc: of other users' programs nothing.
    """
    place = os.fsencode(absolute(mountpoint))
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    return [(pid, _command(pid)) for pid in pids if pid != os.getpid() and _uses(pid, place)]


def _command(pid: int) -> str:
    """The program's name; its arguments are nobody's business."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "?"


def _uses(pid: int, place: bytes) -> bool:
    """Whether the process works in, runs, has open or maps something below ``place``."""
    folder = f"/proc/{pid}"
    links = [f"{folder}/{name}" for name in ("cwd", "root", "exe")]
    with contextlib.suppress(OSError):  # gone, or another user's
        links += [f"{folder}/fd/{number}" for number in os.listdir(f"{folder}/fd")]
    return any(_is_below(_link(link), place) for link in links) or _maps(folder, place)


def _link(path: str) -> bytes:
    try:
        return os.readlink(os.fsencode(path))
    except OSError:
        return b""


def _maps(folder: str, place: bytes) -> bool:
    try:
        lines = Path(f"{folder}/maps").read_bytes().splitlines()
    except OSError:
        return False
    return any(_is_below(fields[5], place) for line in lines if len(fields := line.split(None, 5)) == 6)


def _is_below(path: bytes, place: bytes) -> bool:
    return path == place or path.startswith(place.rstrip(b"/") + b"/")
