"""``cryptdrive flush``."""

import click

from cryptdrive.cli.finding import running_drives, runtime_folder
from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.options import common_options, drive_argument
from cryptdrive.cli.terminal import say, spinner
from cryptdrive.control.client import ControlClient


@click.command()
@drive_argument
@common_options
@click.pass_obj
def command(invocation: Invocation, drive: str) -> None:
    """Save everything in a running drive now.

    Returns when it is on the store.

    \b
    Example:
      cryptdrive flush ~/Drive
    """
    invocation.start_logging()
    records = [record for record in running_drives(invocation, drive) if not record.read_only]
    for record in records:
        with ControlClient(runtime_folder(invocation), record) as client, spinner(invocation, "Saving …"):
            client.flush()
    say(invocation, "everything is saved" if records else "the drive is not in use: there is nothing to save")
