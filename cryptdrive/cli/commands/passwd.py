"""``cryptdrive passwd``."""

from pathlib import Path

import click

from cryptdrive.cli.finding import drive_or_mountpoint
from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.opening import check_vault, refuse_read_only
from cryptdrive.cli.options import LOCAL_PATH, common_options, drive_argument, option
from cryptdrive.cli.passwords import credentials_for, new_password
from cryptdrive.cli.terminal import say, spinner
from cryptdrive.store.opening import open_store

HONEST_WORDS = """\
the password is changed; the recovery key stays as it was.
Whoever had the old password and a copy of the vault's key slots can still open that copy, and what it was
used to read is not taken back."""


@click.command()
@drive_argument
@option(
    "--new-password-file",
    type=LOCAL_PATH,
    metavar="FILE",
    help="Take the new password from a file's first line.",
)
@option("--new-password-command", metavar="COMMAND", help="Take the new password from a program.")
@common_options
@click.pass_obj
def command(
    invocation: Invocation, drive: str, new_password_file: Path | None, new_password_command: str | None
) -> None:
    """Change the password of DRIVE.

    The old password, or the recovery key, is asked for first; the new one twice, or it is taken from
    the variable CRYPTDRIVE_NEW_PASSWORD. The drive may be in use meanwhile.

    \b
    Examples:
      cryptdrive passwd ./vault
      cryptdrive passwd photos --recovery-key-file /media/usb/recovery-key.txt
    """
    invocation.start_logging()
    refuse_read_only(invocation, drive)
    config = drive_or_mountpoint(invocation, drive)
    check_vault(invocation, config, writing=True, store_is_needed=True)
    credentials = credentials_for(invocation, config)
    from cryptdrive.drive import change_password

    store = open_store(config.store)
    try:
        new = new_password(new_password_file, new_password_command)
        with spinner(invocation, "Changing the password …"):
            change_password(store, credentials, new, invocation.folders)
    finally:
        store.close()
    say(invocation, HONEST_WORDS)
