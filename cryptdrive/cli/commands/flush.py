"""``cryptdrive flush``."""

import click

from cryptdrive.cli.finding import running_drives, runtime_folder
from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.options import common_options, drive_argument
from cryptdrive.cli.sending import sending_progress
from cryptdrive.cli.terminal import say
from cryptdrive.control.client import ControlClient


@click.command()
@drive_argument
@common_options
@click.pass_obj
def command(invocation: Invocation, drive: str) -> None:
    """Send all changes of a running drive to the store now.

    Shows how far it has come, and returns when the store has everything. If the store does not
    take it, the changes stay safe on this machine, and the drive goes on trying.

    \b
    Example:
      cryptdrive flush ~/Drive
    """
    invocation.start_logging()
    records = [record for record in running_drives(invocation, drive) if not record.read_only]
    for record in records:
        with (
            ControlClient(runtime_folder(invocation), record) as client,
            sending_progress(invocation, record) as look,
        ):
            client.flush(waiting=look)
    say(
        invocation,
        "everything is on the store" if records else "the drive is not in use: there is nothing to send",
    )
