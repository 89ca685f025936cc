"""``cryptdrive flush``."""

import click

from cryptdrive.cli.finding import drive_or_mountpoint, running_drives, runtime_folder
from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.local_state import waiting_for
from cryptdrive.cli.options import common_options, drive_argument
from cryptdrive.cli.sending import sending_progress, what_may_wait
from cryptdrive.cli.terminal import say
from cryptdrive.control.client import ControlClient
from cryptdrive.errors import MountpointError, UnsentData


@click.command()
@drive_argument
@common_options
@click.pass_obj
def command(invocation: Invocation, drive: str) -> None:
    """Send all changes of a running drive to the store now.

    Shows how far it has come, and returns when the store has everything. If the store does not
    take it, the changes stay safe on this machine, and the drive goes on trying. Of a drive that
    is not running nothing can be sent: the exit code is 20 if changes may wait here, else 10.

    \b
    Example:
      cryptdrive flush ~/Drive
    """
    invocation.start_logging()
    records = running_drives(invocation, drive)
    writing = [record for record in records if not record.read_only]
    for record in writing:
        with (
            ControlClient(runtime_folder(invocation), record) as client,
            sending_progress(invocation, record) as look,
        ):
            client.flush(waiting=look)
    if not writing:
        _refuse_if_something_waits(invocation, drive)
    if not records:
        raise MountpointError(f"{drive}: not running: nothing can be sent")
    say(
        invocation,
        "everything is on the store"
        if writing
        else "the drive is open for reading only: nothing is to be sent",
    )


def _refuse_if_something_waits(invocation: Invocation, drive: str) -> None:
    """Raises UnsentData: nobody sends it; and what tells that the drive is none at all."""
    waiting = waiting_for(invocation.folders, drive_or_mountpoint(invocation, drive))
    if waiting is not None:
        raise UnsentData(f"{drive}: not running; {what_may_wait(waiting)}")
