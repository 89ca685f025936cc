"""Passwords and keys: from a file, a program, a variable, or a prompt. Never from the command line."""

import logging
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from cryptdrive.cli.invocation import Invocation
from cryptdrive.config import DriveConfig, parse_command
from cryptdrive.crypto.recovery import parse_key
from cryptdrive.errors import ConfigError, Invalid, WrongKey
from cryptdrive.vault.unlocking import Credentials

_log = logging.getLogger(__name__)

PASSWORD_VARIABLE = "CRYPTDRIVE_PASSWORD"  # noqa: S105 - a name, no password
NEW_PASSWORD_VARIABLE = "CRYPTDRIVE_NEW_PASSWORD"  # noqa: S105
SECRET_FILE_BYTES_MAX = 8192
COMMAND_SECONDS_MAX = 300
HOW_TO_GIVE = f"give one with --password-file, --password-command or the variable {PASSWORD_VARIABLE}"


def has_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


def credentials_for(invocation: Invocation, drive: DriveConfig) -> Credentials:
    """What unlocks a drive: options first, then the variable, then the configuration, then the person.

    Raises WrongKey: there is nothing, and nobody to ask; ConfigError: what was named does not give one.
    """
    if invocation.recovery_key_file is not None:
        return Credentials(recovery_key=_recovery_key(invocation.recovery_key_file))
    given = given_password(invocation)
    if given is not None:
        return Credentials(password=given)
    if drive.password_file is not None:
        return Credentials(password=_first_line_of(drive.password_file))
    if drive.password_command is not None:
        return Credentials(password=_output_of(drive.password_command))
    if drive.recovery_key_file is not None:
        return Credentials(recovery_key=_recovery_key(drive.recovery_key_file))
    if not has_terminal():
        raise WrongKey(f"a password is needed, and there is no terminal to ask for it: {HOW_TO_GIVE}")
    return Credentials(password=_ask(f"Password for {drive.name or drive.store}"))


def given_password(invocation: Invocation) -> str | None:
    """The password that the options or the variable give; None if they give none. Raises ConfigError."""
    if invocation.password_file is not None and invocation.password_command is not None:
        raise click.UsageError("--password-file and --password-command exclude each other")
    if invocation.password_file is not None:
        return _first_line_of(invocation.password_file)
    if invocation.password_command is not None:
        try:
            return _output_of(parse_command(invocation.password_command))
        except ValueError as error:
            raise click.UsageError(f"--password-command {error}") from error
    return _from_variable(PASSWORD_VARIABLE)


def password_for_new_vault(invocation: Invocation, drive: DriveConfig) -> str:
    """A password for a vault that is to be created; asked for twice. Raises WrongKey, ConfigError."""
    password = given_password(invocation)
    if password is None and drive.password_file is not None:
        password = _first_line_of(drive.password_file)
    if password is None and drive.password_command is not None:
        password = _output_of(drive.password_command)
    if password is None and not has_terminal():
        raise WrongKey(f"the new vault needs a password: {HOW_TO_GIVE}")
    return password if password is not None else _ask("Password for the new vault", twice=True)


def new_password(file: Path | None, command: str | None) -> str:
    """The password that is to replace the old one. Raises WrongKey, ConfigError."""
    if file is not None and command is not None:
        raise click.UsageError("--new-password-file and --new-password-command exclude each other")
    if file is not None:
        return _first_line_of(file)
    if command is not None:
        try:
            return _output_of(parse_command(command))
        except ValueError as error:
            raise click.UsageError(f"--new-password-command {error}") from error
    password = _from_variable(NEW_PASSWORD_VARIABLE)
    if password is None and not has_terminal():
        raise WrongKey(
            "a new password is needed, and there is no terminal to ask for it: give one with "
            f"--new-password-file, --new-password-command or the variable {NEW_PASSWORD_VARIABLE}"
        )
    return password if password is not None else _ask("New password", twice=True)


# --- where they come from ----------------------------------------------------------------------


def _ask(prompt: str, *, twice: bool = False) -> str:
    text: str = click.prompt(prompt, hide_input=True, confirmation_prompt=twice, err=True)
    return text


def _from_variable(name: str) -> str | None:
    """The variable's value; programs that are started from here do not get it."""
    return os.environ.pop(name, None) or None


def _first_line_of(path: Path) -> str:
    """A password file's first line, without the end of the line; ``-`` is standard input."""
    if str(path) == "-":
        return _checked(sys.stdin.buffer.readline(SECRET_FILE_BYTES_MAX + 1), "standard input")
    return _checked(_content_of(path).split(b"\n", 1)[0], str(path))


def _content_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(SECRET_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        _log.warning("%s can be read by other users; chmod 600 it", path)
    return content


def _output_of(command: Sequence[str]) -> str:
    """The first line that a program writes. Its arguments are not repeated in messages."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=COMMAND_SECONDS_MAX, check=False)
    except OSError as error:
        raise ConfigError(f"password command {shlex.quote(command[0])}: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"password command {shlex.quote(command[0])}: no answer within {COMMAND_SECONDS_MAX} seconds"
        ) from None
    if done.returncode:
        raise ConfigError(f"password command {shlex.quote(command[0])} failed with code {done.returncode}")
    return _checked(done.stdout.split(b"\n", 1)[0], f"password command {shlex.quote(command[0])}")


def _checked(line: bytes, source: str) -> str:
    line = line.removesuffix(b"\n").removesuffix(b"\r")
    if len(line) > SECRET_FILE_BYTES_MAX:
        raise ConfigError(f"{source}: the first line is too long for a password")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{source}: the password is not UTF-8") from None
    if not text:
        raise ConfigError(f"{source}: the first line is empty, so there is no password")
    return text


def _recovery_key(path: Path) -> str:
    """The first line of a file that is a recovery key, so that lines of advice may stand around it."""
    content = _content_of(path).decode("utf-8", "replace")
    problem: Invalid | None = None
    for line in filter(None, map(str.strip, content.splitlines())):
        try:
            parse_key(line)
            return line
        except Invalid as error:
            problem = problem or error
    raise WrongKey(f"{path}: {problem or 'the file is empty'}")
