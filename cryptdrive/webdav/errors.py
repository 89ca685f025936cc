"""Typed errors → HTTP statuses, once."""

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from wsgidav.dav_error import (
    HTTP_BAD_REQUEST,
    HTTP_CONFLICT,
    HTTP_FORBIDDEN,
    HTTP_INTERNAL_ERROR,
    HTTP_LOCKED,
    HTTP_METHOD_NOT_ALLOWED,
    HTTP_NOT_FOUND,
    HTTP_NOT_IMPLEMENTED,
    HTTP_PRECONDITION_FAILED,
    DAVError,
)

from cryptdrive import errors

_log = logging.getLogger(__name__)

HTTP_TOO_LARGE = 413
HTTP_UNAVAILABLE = 503
HTTP_INSUFFICIENT_STORAGE = 507
RETRY_AFTER_S = 30

# The first class that fits counts.
_STATUSES: tuple[tuple[type[errors.CryptdriveError], int], ...] = (
    (errors.NotFound, HTTP_NOT_FOUND),
    (errors.Stale, HTTP_NOT_FOUND),
    (errors.NoAttribute, HTTP_NOT_FOUND),
    (errors.Exists, HTTP_PRECONDITION_FAILED),
    (errors.NotADirectory, HTTP_CONFLICT),
    (errors.NotEmpty, HTTP_CONFLICT),
    (errors.IsADirectory, HTTP_METHOD_NOT_ALLOWED),
    (errors.NameTooLong, HTTP_BAD_REQUEST),
    (errors.Invalid, HTTP_BAD_REQUEST),
    (errors.TooManyLevels, HTTP_BAD_REQUEST),
    (errors.OutOfRange, HTTP_TOO_LARGE),
    (errors.TooBig, HTTP_TOO_LARGE),
    (errors.TooManyLinks, HTTP_TOO_LARGE),
    (errors.ReadOnly, HTTP_FORBIDDEN),
    (errors.StoreReadOnly, HTTP_FORBIDDEN),
    (errors.Denied, HTTP_FORBIDDEN),
    (errors.NotPermitted, HTTP_FORBIDDEN),
    (errors.NoSpace, HTTP_INSUFFICIENT_STORAGE),
    (errors.StoreFull, HTTP_INSUFFICIENT_STORAGE),
    (errors.Locked, HTTP_LOCKED),
    (errors.Busy, HTTP_LOCKED),
    (errors.Unsupported, HTTP_NOT_IMPLEMENTED),
    (errors.Unavailable, HTTP_UNAVAILABLE),
)


def to_dav_error(error: errors.CryptdriveError) -> DAVError:
    """What a client is told; details of integrity and store errors stay in the log."""
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            headers = [("Retry-After", str(RETRY_AFTER_S))] if status == HTTP_UNAVAILABLE else None
            return DAVError(status, add_headers=headers)
    _log.error("a request failed: %s", error)
    return DAVError(HTTP_INTERNAL_ERROR)


def log_unexpected(what: str) -> None:
    """Of the exception that is being handled: its kind and where it came from.

    Its message may name files, which the log does only for those who look for errors in cryptdrive.
    """
    kind, _, trace = sys.exc_info()
    name = kind.__name__ if kind is not None else "nothing"
    _log.error("%s: %s\n%s", what, name, "".join(traceback.format_tb(trace)))
    _log.debug("%s", what, exc_info=True)


@contextmanager
def translated() -> Iterator[None]:
    """Raise DAVError for every typed error in the block."""
    try:
        yield
    except errors.CryptdriveError as error:
        raise to_dav_error(error) from None
