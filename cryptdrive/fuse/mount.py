"""Mounts a drive and serves the kernel until it is unmounted. One mount a process: pyfuse3 has one session.

pyfuse3 and trio are imported when a mount begins: without the extra ``fuse`` all the rest works.
"""

import logging
import os
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cryptdrive.errors import Busy, MountpointError
from cryptdrive.fuse.mountpoint import absolute, check_mountpoint, unmount, who_holds
from cryptdrive.fuse.options import MountOptions, with_option_text
from cryptdrive.vfs.filesystem import FileSystem

if TYPE_CHECKING:
    from cryptdrive.fuse.session import Session

__all__ = ["MountOptions", "check_mountpoint", "serve", "stop", "unmount", "who_holds", "with_option_text"]

logger = logging.getLogger(__name__)

FUSE_DEVICE = "/dev/fuse"
FUSE_CONFIGURATION = "/etc/fuse.conf"

_guard = threading.Lock()
_running: "list[Session]" = []
"""The session of this process, if there is one."""


def check_fuse(options: MountOptions) -> None:
    """Make sure that this machine and this user can mount at all.

    Raises MountpointError: what is missing, and what to do about it.
    """
    try:
        import pyfuse3  # noqa: F401
        import trio  # noqa: F401
    except ImportError as error:
        raise MountpointError(
            f"mounting needs the extra 'fuse' (pip install 'cryptdrive[fuse]'): {error}"
        ) from None
    if not os.path.exists(FUSE_DEVICE):
        raise MountpointError(f"{FUSE_DEVICE} is missing: load the kernel module (modprobe fuse)")
    if os.geteuid() == 0:
        return
    if not os.access(FUSE_DEVICE, os.R_OK | os.W_OK):
        raise MountpointError(f"this user may not open {FUSE_DEVICE} (root: chmod 666 {FUSE_DEVICE})")
    if shutil.which("fusermount3") is None:
        raise MountpointError("fusermount3 is missing (Debian and Fedora: the package fuse3)")
    if options.allow_other and not _users_may_allow_others():
        raise MountpointError(
            f"allow_other needs the line 'user_allow_other' in {FUSE_CONFIGURATION} (or root as the mounter)"
        )


def _users_may_allow_others() -> bool:
    try:
        text = Path(FUSE_CONFIGURATION).read_text(errors="replace")
    except OSError:
        return False
    return re.search(r"^\s*user_allow_other\s*(#.*)?$", text, re.MULTILINE) is not None


def serve(fs: FileSystem, mountpoint: str | Path, options: MountOptions, ready: Callable[[], None]) -> None:
    """Mount ``fs`` and answer the kernel; returns when it is unmounted, by :func:`stop` or by anybody.

    ready: called once, in this thread, as soon as the mount answers.
    When it returns the kernel has handed over everything; ``fs`` is still open, for the caller to close.
    Raises MountpointError: it cannot be mounted there, or not on this machine.
    Raises Busy: this process has a mount already.
    """
    check_fuse(options)
    check_mountpoint(mountpoint, nonempty=options.nonempty)
    from cryptdrive.fuse.session import Session  # needs pyfuse3

    with _guard:
        if _running:
            raise Busy("this process has mounted a drive already")
        session = Session(fs, absolute(mountpoint), options)
        _running.append(session)
    try:
        session.run(ready)
    finally:
        with _guard:
            _running.remove(session)


def stop() -> None:
    """Ask the running :func:`serve` to unmount and return. From any thread or signal handler.

    Returns at once; nothing happens if nothing is served.
    """
    for session in list(_running):
        session.stop()
