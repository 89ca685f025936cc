"""``cryptdrive get``."""

import os

import click

from cryptdrive.cli.download import Download
from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.opening import drive_files
from cryptdrive.cli.options import common_options, drive_argument
from cryptdrive.cli.paths import joined, last_part, path_in_drive
from cryptdrive.cli.terminal import transfer_meter


@click.command()
@drive_argument
@click.argument("path")
@click.argument("local", default=".")
@common_options
@click.pass_obj
def command(invocation: Invocation, drive: str, path: str, local: str) -> None:
    """Get files and folders from a drive.

    PATH in DRIVE becomes LOCAL, or lands in LOCAL if that is a folder; without LOCAL in the current
    one. A folder comes with all that is in it; modes and times are kept. A file appears when it is
    complete, in the place of one of its name. '-' is standard output.

    \b
    Examples:
      cryptdrive get photos /2024 ~/Pictures
      cryptdrive get ./vault /backup.tar - | tar x
    """
    invocation.start_logging()
    source, target = path_in_drive(path), os.fsencode(local)
    with drive_files(invocation, drive, writing=False) as files:
        if target == b"-":
            with transfer_meter(invocation, "get") as meter:
                Download(files, meter).get_to_standard_output(source)
            return
        if os.path.isdir(target) and last_part(source):
            target = joined(target, last_part(source))
        with transfer_meter(invocation, "get") as meter:
            Download(files, meter).get(source, target)
