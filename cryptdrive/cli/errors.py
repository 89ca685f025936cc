"""Typed errors → exit codes and what to do about them, once."""

import errno
import os
from collections.abc import Sequence

from cryptdrive import errors

DONE = 0
OTHER = 1
USAGE = 2
MOUNTPOINT = 10
CONFIG = 11
WRONG_KEY = 12
NO_VAULT = 13
FORMAT_TOO_NEW = 14
UNREACHABLE = 15
REFUSED = 16
INTEGRITY = 17
ROLLBACK = 18
IN_USE = 19
UNSENT = 20
BUSY = 21
INTERRUPTED = 130
"""As shells have it: 128 and the number of SIGINT."""

# The first class that fits counts. What is to be done stands here where the message cannot know it.
_TABLE: tuple[tuple[type[errors.CryptdriveError], int, str], ...] = (
    (errors.ConfigError, CONFIG, ""),
    (errors.MountpointError, MOUNTPOINT, ""),
    (errors.WrongKey, WRONG_KEY, ""),
    (errors.OtherVault, NO_VAULT, ""),
    (errors.NoVault, NO_VAULT, ""),
    (errors.VaultExists, NO_VAULT, ""),
    (errors.FormatTooNew, FORMAT_TOO_NEW, ""),
    (errors.DriveInUse, IN_USE, ""),
    (errors.UnsentData, UNSENT, ""),
    (errors.Integrity, INTEGRITY, "the store's copy is damaged or was changed; nothing was written to it"),
    (errors.Rollback, ROLLBACK, "the store may have been restored from a backup; nothing was written to it"),
    (errors.StoreFull, REFUSED, "make room in the store and try again"),
    (errors.StoreRefused, REFUSED, ""),
    (errors.Unavailable, UNREACHABLE, "check that the store is there and try again"),
    (errors.StoreError, UNREACHABLE, ""),
    (errors.ReadOnly, REFUSED, ""),
    (errors.NoSpace, REFUSED, "make room and try again"),
    (errors.Busy, BUSY, ""),
    (errors.Locked, BUSY, ""),
)

_os_errors = {errno.EROFS: REFUSED, errno.ENOSPC: REFUSED, errno.EDQUOT: REFUSED}


def exit_code(error: BaseException) -> int:
    """The exit code for what ended a command."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, OSError):
        return _os_errors.get(error.errno or 0, OTHER)
    return next((code for kind, code, _ in _TABLE if isinstance(error, kind)), OTHER)


def message(error: BaseException, told: Sequence[str] = ()) -> str:
    """What happened, to what, and what to do: one line, or two; without the reasons that were ``told``."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, OSError):
        # Of a rename the second name is the one that a person knows.
        name = error.filename2 if error.filename2 is not None else error.filename
        place = f"{os.fsdecode(name)}: " if isinstance(name, str | bytes) else ""
        return f"{place}{error.strerror or type(error).__name__}"
    if not isinstance(error, errors.CryptdriveError):
        # Its own words may hold what nobody should read here: they are for the log at -vv.
        return f"an unexpected error ({type(error).__name__}); -vv --log-file FILE records where"
    text = _without(told, error) or (type(error).__doc__ or "").strip()
    hint = next((hint for kind, _, hint in _TABLE if isinstance(error, kind)), "")
    return f"{text}\n{hint}" if hint else text


def _without(told: Sequence[str], error: errors.CryptdriveError) -> str:
    """Why a store is away is said once; what follows from it still is."""
    text = str(error)
    for reason in told:
        if isinstance(error, errors.Unavailable) and text.endswith(reason):
            return "what was asked for is not on this machine, and the store is away"
        if isinstance(error, errors.UnsentData):
            text = text.replace(f": {reason}", "")
    return text
