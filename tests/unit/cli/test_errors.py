"""Every typed error has one exit code, and a message that says what to do."""

import errno

import pytest

from cryptdrive import errors
from cryptdrive.cli.errors import exit_code, message


def every_error() -> list[type[errors.CryptdriveError]]:
    found: list[type[errors.CryptdriveError]] = [errors.CryptdriveError]
    for kind in found:
        found += kind.__subclasses__()
    return found


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (errors.CryptdriveError, 1),
        (errors.NotFound, 1),
        (errors.MountpointError, 10),
        (errors.ConfigError, 11),
        (errors.WrongKey, 12),
        (errors.NoVault, 13),
        (errors.OtherVault, 13),
        (errors.VaultExists, 13),
        (errors.FormatTooNew, 14),
        (errors.Unavailable, 15),
        (errors.StoreTimeout, 15),
        (errors.StoreError, 15),
        (errors.StoreRefused, 16),
        (errors.StoreReadOnly, 16),
        (errors.StoreFull, 16),
        (errors.NoSpace, 16),
        (errors.QuotaExceeded, 16),
        (errors.ReadOnly, 16),
        (errors.Integrity, 17),
        (errors.Rollback, 18),
        (errors.DriveInUse, 19),
        (errors.UnsentData, 20),
        (errors.Busy, 21),
        (errors.Locked, 21),
    ],
)
def test_exit_codes(kind: type[errors.CryptdriveError], expected: int) -> None:
    assert exit_code(kind("what happened")) == expected
    assert message(kind("what happened")).startswith("what happened")


@pytest.mark.parametrize("kind", every_error())
def test_an_error_without_words_says_what_it_is(kind: type[errors.CryptdriveError]) -> None:
    assert len(message(kind())) > 5


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/etc/x"), 1, "/etc/x: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), 16, "No space left on device"),
        (OSError(errno.EROFS, "Read-only file system", b"/x"), 16, "/x: Read-only file system"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", ".tmp", None, "/a"), 1, "/a: Is a directory"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_of_the_system(error: BaseException, code: int, text: str) -> None:
    assert (exit_code(error), message(error)) == (code, text)


def test_other_errors_keep_their_words_to_themselves() -> None:
    error = KeyError("a secret name")
    assert exit_code(error) == 1
    assert "secret" not in message(error)
    assert "KeyError" in message(error)


def test_what_was_told_is_not_told_again() -> None:
    told = ["/vault: No such file"]
    left = errors.UnsentData("1 file is not on the store yet: /vault: No such file\nit is safe here")
    assert message(left, told) == "1 file is not on the store yet\nit is safe here"
    assert message(left) == str(left)
    away = errors.Unavailable("/vault: No such file")
    assert message(away, told).startswith("what was asked for is not on this machine")
    assert "check that the store is there" in message(away, told)
    assert message(away).startswith("/vault: No such file")
    other = errors.NotFound("/vault: No such file")
    assert message(other, told) == "/vault: No such file"
