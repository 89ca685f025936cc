"""``cryptdrive init``."""

import os
from pathlib import Path

import click

from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.opening import check_writable, refuse_if_away
from cryptdrive.cli.options import common_options
from cryptdrive.cli.passwords import password_for_new_vault
from cryptdrive.cli.terminal import say, spinner
from cryptdrive.config import DriveConfig
from cryptdrive.errors import ConfigError
from cryptdrive.store.opening import open_store

ADVICE = """\
This recovery key opens the vault if the password is forgotten. It is shown this once and kept nowhere:
write it down, or store it away from this machine. Whoever has it can read everything."""


@click.command()
@click.argument("store", metavar="STORE")
@common_options
@click.pass_obj
def command(invocation: Invocation, store: str) -> None:
    """Create an encrypted vault in STORE.

    STORE is a folder (it is made if it is missing), a file:// URL, or a name from the configuration
    file. The password is asked for twice. The recovery key goes to standard output, once, or with
    --recovery-key-file into a new file that only you can read.

    \b
    Example:
      cryptdrive init /media/disk/vault
    """
    invocation.start_logging()
    drive = invocation.drive(store)
    key_file = invocation.recovery_key_file
    if key_file is not None and os.path.lexists(key_file):
        raise ConfigError(f"{key_file} exists already; the recovery key needs a new file")
    refuse_if_away(invocation, drive)
    check_place_of(drive)
    password = password_for_new_vault(invocation, drive)
    key = create_vault(invocation, drive, password, key_file)
    say(invocation, f"created a vault in {drive.store}")
    if key_file is not None:
        say(invocation, f"the recovery key is in {key_file}: move it away from this machine")
    else:
        click.echo(key)
        say(invocation, ADVICE)


def check_place_of(drive: DriveConfig) -> None:
    """Say before a password is asked for that no vault can be made there. Raises VaultExists, StoreError."""
    from cryptdrive.vault.creation import check_place

    store = open_store(drive.store, create=True)
    try:
        check_place(store)
        check_writable(store)
    finally:
        store.close()


def create_vault(invocation: Invocation, drive: DriveConfig, password: str, key_file: Path | None) -> str:
    """Create a vault; gives the recovery key's text, which ``key_file`` gets too.

    The file is made before the vault, so that no vault comes to be whose key could not be written.
    """
    from cryptdrive.drive import create_drive

    file = _new_private_file(key_file) if key_file is not None else None
    try:
        store = open_store(drive.store, create=True)
        try:
            with spinner(invocation, "Creating the vault …"):
                key = create_drive(store, password, invocation.folders)
        finally:
            store.close()
    except BaseException:
        if key_file is not None:
            key_file.unlink()
        raise
    if file is not None:
        _write_key(file, key)
    return key


def _new_private_file(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"{path}: the recovery key cannot be written there: {error.strerror}") from error


def _write_key(file: int, key: str) -> None:
    try:
        os.write(file, key.encode("ascii") + b"\n")
        os.fsync(file)
    except OSError:
        click.echo(key)  # the vault is there now: its key must not be lost with a full disk
        raise
    finally:
        os.close(file)
