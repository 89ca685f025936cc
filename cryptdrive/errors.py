"""Typed errors: what went wrong, and nothing about how a front end says it.

Front ends translate each class once (errno in ``fuse/errors.py``, HTTP status in
``webdav/errors.py``, exit code in ``cli/errors.py``). A message names the path or object
concerned and what to do, but never a key, and never file content.
"""


class CryptdriveError(Exception):
    """Base of every error that cryptdrive raises on purpose."""


# --- the file system -------------------------------------------------------------------


class FileError(CryptdriveError):
    """Base of the errors that one file-system call can give."""


class NotFound(FileError):
    """No such file or directory."""


class Stale(FileError):
    """The inode or handle is not known any more."""


class Exists(FileError):
    """There is something of that name already."""


class NotADirectory(FileError):
    """A part of the path is not a directory."""


class IsADirectory(FileError):
    """The operation does not work on a directory."""


class NotEmpty(FileError):
    """The directory is not empty."""


class NameTooLong(FileError):
    """A name is over 255 bytes, or a path over its limit."""


class Invalid(FileError):
    """An argument is out of what the call takes."""


class BadHandle(FileError):
    """The handle is closed, or not open for this direction."""


class NoAttribute(FileError):
    """No such extended attribute."""


class TooBig(FileError):
    """The file or value would be larger than the format allows."""


class TooManyLinks(FileError):
    """The inode has as many hard links as the format allows."""


class OutOfRange(FileError):
    """The buffer or the number is too small for the answer."""


class TooManyLevels(FileError):
    """Too many symbolic links on the way."""


class ReadOnly(FileError):
    """The drive is mounted read-only."""


class Denied(FileError):
    """The caller may not do this (EACCES)."""


class NotPermitted(FileError):
    """Nobody may do this to that object (EPERM)."""


class NoSpace(FileError):
    """No room left, in the store or on this machine."""


class QuotaExceeded(NoSpace):
    """The store's quota is used up."""


class DiskError(FileError):
    """This machine's own disk failed to keep something."""


class Locked(FileError):
    """Somebody else holds a lock on it."""


class Busy(FileError):
    """It is in use."""


class Unsupported(FileError):
    """cryptdrive does not do this."""


# --- vault, store and machine ----------------------------------------------------------


class Integrity(CryptdriveError):
    """Stored bytes are not what the vault's author wrote: damage or attack."""


class Rollback(CryptdriveError):
    """The store shows an older or another history than this device has verified."""


class StoreError(CryptdriveError):
    """Base of the errors that a store gives."""


class Unavailable(StoreError):
    """The store does not answer now."""


class StoreTimeout(Unavailable):
    """The store did not answer in time."""


class StoreRefused(StoreError):
    """The store answers and refuses: rights, read-only, full."""


class StoreReadOnly(StoreRefused):
    """The store cannot be written to."""


class StoreFull(StoreRefused):
    """The store has no room left."""


class ObjectNotFound(StoreError):
    """The store has no object of that name."""


class ObjectExists(StoreError):
    """The store has an object of that name already."""


class WrongKey(CryptdriveError):
    """Wrong password or key, or a slot table that was tampered with: never told apart."""


class NoVault(CryptdriveError):
    """There is no vault at that place."""


class OtherVault(NoVault):
    """There is another vault at that place than the one this device knows."""


class VaultExists(CryptdriveError):
    """There is a vault at that place already, so none is created."""


class FormatTooNew(CryptdriveError):
    """The vault was written by a newer version of cryptdrive."""


class ConfigError(CryptdriveError):
    """The configuration file is wrong; the message names table and key."""


class MountpointError(CryptdriveError):
    """The mountpoint cannot be used."""


class DriveInUse(CryptdriveError):
    """Another process has this drive open."""


class UnsentData(CryptdriveError):
    """Changes are left on this machine that the store has not got yet."""
