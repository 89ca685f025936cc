"""Every typed error has one errno."""

import errno

import pytest

from cryptdrive import errors
from cryptdrive.fuse.errors import ERRNO_OF, errno_of


def every_error() -> list[type[errors.CryptdriveError]]:
    found = [errors.CryptdriveError]
    for kind in found:
        found += kind.__subclasses__()
    return found


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (errors.NotFound, errno.ENOENT),
        (errors.Stale, errno.ESTALE),
        (errors.Exists, errno.EEXIST),
        (errors.NotADirectory, errno.ENOTDIR),
        (errors.NotEmpty, errno.ENOTEMPTY),
        (errors.IsADirectory, errno.EISDIR),
        (errors.NameTooLong, errno.ENAMETOOLONG),
        (errors.Invalid, errno.EINVAL),
        (errors.NoAttribute, errno.ENODATA),
        (errors.TooBig, errno.EFBIG),
        (errors.TooManyLinks, errno.EMLINK),
        (errors.OutOfRange, errno.ERANGE),
        (errors.ReadOnly, errno.EROFS),
        (errors.Denied, errno.EACCES),
        (errors.NotPermitted, errno.EPERM),
        (errors.NoSpace, errno.ENOSPC),
        (errors.QuotaExceeded, errno.EDQUOT),
        (errors.Locked, errno.EBUSY),
        (errors.Busy, errno.EBUSY),
        (errors.Integrity, errno.EIO),
        (errors.Unavailable, errno.EIO),
        (errors.StoreTimeout, errno.ETIMEDOUT),
        (errors.Unsupported, errno.EOPNOTSUPP),
        (errors.BadHandle, errno.EBADF),
        (errors.TooManyLevels, errno.ELOOP),
        (errors.StoreFull, errno.ENOSPC),
        (errors.StoreReadOnly, errno.EROFS),
    ],
)
def test_errno_of_each_row(kind: type[errors.CryptdriveError], expected: int) -> None:
    assert errno_of(kind("message")) == expected


def test_file_errors_have_rows_of_their_own() -> None:
    leaves = [kind for kind in every_error() if issubclass(kind, errors.FileError)]
    assert [kind.__name__ for kind in leaves if kind not in ERRNO_OF] == []


def test_every_error_has_an_errno() -> None:
    for kind in every_error():
        assert errno_of(kind()) > 0


def test_a_subclass_without_a_row_takes_its_bases() -> None:
    class Special(errors.QuotaExceeded):
        pass

    assert errno_of(Special()) == errno.EDQUOT
    assert errno_of(errors.ObjectNotFound()) == errno.EIO
