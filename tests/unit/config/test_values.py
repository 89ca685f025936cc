"""Values that the command line and the file share, and the bounds of settings made in code."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptdrive.config import (
    DriveSettings,
    WebDavOptions,
    parse_address,
    parse_command,
    parse_duration,
    parse_umask,
)
from cryptdrive.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("2h", 7200),
        ("1d", 86400),
        ("1.5 h", 5400),
        ("45", 45),
        (7, 7),
        (0.5, 0.5),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["0", "0m", 0, 0.0])
def test_a_duration_of_nothing_is_never(text: object) -> None:
    assert parse_duration(text) is None


@pytest.mark.parametrize(
    "text", ["", "-1", "m", "1w", "1m30s", "inf", -1, True, None, float("inf"), float("nan")]
)
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="must be a time"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("nas.local", ("nas.local", 4918)),
        (":80", ("127.0.0.1", 80)),
        ("80", ("127.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
        ("[::]", ("::", 4918)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        (8080, ("127.0.0.1", 8080)),
    ],
)
def test_addresses(text: object, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "::1", "a:b", "a b", "user@host:80", "http://a", "a:65536", "99999", True, 1.5]
)
def test_what_is_no_address(text: object) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_address(text)


@given(st.integers(0, 0o777))
def test_umasks(mask: int) -> None:
    assert parse_umask(f"{mask:03o}") == mask
    assert parse_umask(oct(mask)) == mask


@pytest.mark.parametrize("text", ["", "8", "-1", "1777", "0x1f", 63, None])
def test_what_is_no_umask(text: object) -> None:
    with pytest.raises(ValueError, match="octal"):
        parse_umask(text)


def test_commands() -> None:
    assert parse_command("pass show 'a b'") == ("pass", "show", "a b")
    assert parse_command(["pass", "show", "a b"]) == ("pass", "show", "a b")
    for wrong in ("", "'", [], ["a", ""], ["a", 1], 1, None):
        with pytest.raises(ValueError, match="command"):
            parse_command(wrong)


def test_settings_made_in_code_are_bounded_too() -> None:
    with pytest.raises(ConfigError, match=r'"dirty_mib_max" in table \[settings\] must be a whole number'):
        DriveSettings(dirty_mib_max=0)
    with pytest.raises(ConfigError, match="larger"):
        dataclasses.replace(DriveSettings(), sealing_starts_mib=65)
    with pytest.raises(ConfigError, match="go together"):
        WebDavOptions(key_file=None, certificate_file="/c")  # type: ignore[arg-type]
