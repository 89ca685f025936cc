"""The one place where typed errors become errno values (the table is in docs/architecture.md)."""

import errno

from cryptdrive import errors

ERRNO_OF: dict[type[errors.CryptdriveError], int] = {
    errors.CryptdriveError: errno.EIO,
    errors.FileError: errno.EIO,
    errors.NotFound: errno.ENOENT,
    errors.Stale: errno.ESTALE,
    errors.Exists: errno.EEXIST,
    errors.NotADirectory: errno.ENOTDIR,
    errors.IsADirectory: errno.EISDIR,
    errors.NotEmpty: errno.ENOTEMPTY,
    errors.NameTooLong: errno.ENAMETOOLONG,
    errors.Invalid: errno.EINVAL,
    errors.BadHandle: errno.EBADF,
    errors.NoAttribute: errno.ENODATA,
    errors.TooBig: errno.EFBIG,
    errors.TooManyLinks: errno.EMLINK,
    errors.OutOfRange: errno.ERANGE,
    errors.TooManyLevels: errno.ELOOP,
    errors.ReadOnly: errno.EROFS,
    errors.Denied: errno.EACCES,
    errors.NotPermitted: errno.EPERM,
    errors.NoSpace: errno.ENOSPC,
    errors.QuotaExceeded: errno.EDQUOT,
    errors.Locked: errno.EBUSY,
    errors.DiskError: errno.EIO,
    errors.Busy: errno.EBUSY,
    errors.Unsupported: errno.EOPNOTSUPP,
    errors.Integrity: errno.EIO,
    errors.Unavailable: errno.EIO,
    errors.StoreTimeout: errno.ETIMEDOUT,
    errors.StoreFull: errno.ENOSPC,
    errors.StoreReadOnly: errno.EROFS,
}
"""What each class, and any subclass without a row of its own, is for a program."""


def errno_of(error: errors.CryptdriveError) -> int:
    """The errno of the most specific class of ``error`` that has a row."""
    for kind in type(error).__mro__:
        number = ERRNO_OF.get(kind)
        if number is not None:
            return number
    raise AssertionError("CryptdriveError itself has a row")
