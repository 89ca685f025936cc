"""Where passwords come from, which source wins, and what is said of a bad one."""

import os
import sys
from pathlib import Path

import click
import pytest

from cryptdrive.cli import passwords
from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.passwords import (
    credentials_for,
    given_password,
    new_password,
    password_for_new_vault,
)
from cryptdrive.config import DriveConfig
from cryptdrive.crypto.recovery import format_key
from cryptdrive.errors import ConfigError, WrongKey
from cryptdrive.vault.unlocking import Credentials

KEY = format_key(bytes(range(20)))


@pytest.fixture(autouse=True)
def nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "has_terminal", lambda: False)
    for name in ("CRYPTDRIVE_PASSWORD", "CRYPTDRIVE_NEW_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


def secret_file(folder: Path, content: bytes, name: str = "secret") -> Path:
    path = folder / name
    path.write_bytes(content)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"pass word \n", "pass word "),
        (b"first\nsecond\n", "first"),
        (b"windows\r\n", "windows"),
        (b"no end", "no end"),
        ("grün".encode(), "grün"),
    ],
)
def test_a_files_first_line(tmp_path: Path, content: bytes, expected: str) -> None:
    assert given_password(Invocation(password_file=secret_file(tmp_path, content))) == expected


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\n", b"x" * 9000])
def test_files_without_a_password(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigError, match="secret"):
        given_password(Invocation(password_file=secret_file(tmp_path, content)))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing: No such file"):
        given_password(Invocation(password_file=tmp_path / "missing"))


def test_a_file_that_others_can_read_is_pointed_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = secret_file(tmp_path, b"x\n")
    path.chmod(0o644)
    assert given_password(Invocation(password_file=path)) == "x"
    assert "chmod 600" in caplog.text


def test_a_programs_first_line() -> None:
    command = f"{sys.executable} -c 'print(\"pass word\"); print(2)'"
    assert given_password(Invocation(password_command=command)) == "pass word"


def test_no_shell_runs() -> None:
    assert given_password(Invocation(password_command="echo '$HOME; `id`'")) == "$HOME; `id`"


@pytest.mark.parametrize(
    ("command", "said"), [("false", "code 1"), ("/no/such/program", "No such file"), ("true", "empty")]
)
def test_programs_that_fail(command: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        given_password(Invocation(password_command=command))


def test_arguments_of_a_program_are_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        given_password(Invocation(password_command="false --token=hunter2"))
    assert "hunter2" not in str(caught.value)


def test_a_variable_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTDRIVE_PASSWORD", "p")
    assert given_password(Invocation()) == "p"
    assert "CRYPTDRIVE_PASSWORD" not in os.environ


def test_file_and_program_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="exclude"):
        given_password(Invocation(password_file=tmp_path, password_command="true"))


def test_which_source_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_option = secret_file(tmp_path, b"option\n", "option")
    by_configuration = secret_file(tmp_path, b"configuration\n", "configuration")
    recovery = secret_file(tmp_path, KEY.encode(), "key")
    drive = DriveConfig(store="/v", password_file=by_configuration)
    assert credentials_for(Invocation(), drive) == Credentials(password="configuration")
    monkeypatch.setenv("CRYPTDRIVE_PASSWORD", "variable")
    assert credentials_for(Invocation(), drive) == Credentials(password="variable")
    monkeypatch.setenv("CRYPTDRIVE_PASSWORD", "variable")
    assert credentials_for(Invocation(password_file=by_option), drive) == Credentials(password="option")
    found = credentials_for(Invocation(password_file=by_option, recovery_key_file=recovery), drive)
    assert found == Credentials(recovery_key=KEY)
    configured = DriveConfig(store="/v", recovery_key_file=recovery)
    monkeypatch.delenv("CRYPTDRIVE_PASSWORD", raising=False)
    assert credentials_for(Invocation(), configured) == Credentials(recovery_key=KEY)
    configured = DriveConfig(store="/v", password_command=("echo", "program"))
    assert credentials_for(Invocation(), configured) == Credentials(password="program")


def test_nobody_to_ask() -> None:
    with pytest.raises(WrongKey, match="CRYPTDRIVE_PASSWORD"):
        credentials_for(Invocation(), DriveConfig(store="/v"))
    with pytest.raises(WrongKey, match="CRYPTDRIVE_PASSWORD"):
        password_for_new_vault(Invocation(), DriveConfig(store="/v"))
    with pytest.raises(WrongKey, match="CRYPTDRIVE_NEW_PASSWORD"):
        new_password(None, None)


def test_the_new_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert new_password(secret_file(tmp_path, b"one\n"), None) == "one"
    assert new_password(None, "echo two") == "two"
    monkeypatch.setenv("CRYPTDRIVE_NEW_PASSWORD", "three")
    assert new_password(None, None) == "three"
    with pytest.raises(click.UsageError):
        new_password(tmp_path, "true")


@pytest.mark.parametrize("text", ["{}", "  {}  \r\n", "My recovery key:\n\n{}\n\nkeep it safe\n"])
def test_a_recovery_key_with_words_around_it(tmp_path: Path, text: str) -> None:
    invocation = Invocation(recovery_key_file=secret_file(tmp_path, text.format(KEY).encode()))
    assert credentials_for(invocation, DriveConfig(store="/v")).recovery_key == KEY


@pytest.mark.parametrize(
    ("text", "said"), [("", "empty"), (KEY[:-1] + "*", "group 8"), ("not a key at all", "8 groups")]
)
def test_recovery_keys_copied_wrongly(tmp_path: Path, text: str, said: str) -> None:
    invocation = Invocation(recovery_key_file=secret_file(tmp_path, text.encode()))
    with pytest.raises(WrongKey, match=said) as caught:
        credentials_for(invocation, DriveConfig(store="/v"))
    assert KEY[:5] not in str(caught.value)
