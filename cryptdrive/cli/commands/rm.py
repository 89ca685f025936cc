"""``cryptdrive rm``."""

from collections.abc import Sequence

import click

from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.opening import drive_files
from cryptdrive.cli.options import common_options, drive_argument, option
from cryptdrive.cli.paths import about, path_in_drive


@click.command()
@drive_argument
@click.argument("path", nargs=-1, required=True)
@option("-r", "--recursive", is_flag=True, help="Folders too, with all that is in them.")
@common_options
@click.pass_obj
def command(invocation: Invocation, drive: str, path: Sequence[str], recursive: bool) -> None:
    """Remove files from DRIVE.

    \b
    Example:
      cryptdrive rm -r photos /inbox /notes.txt
    """
    invocation.start_logging()
    with drive_files(invocation, drive, writing=True) as files:
        for each in map(path_in_drive, path):
            with about(each):
                files.remove(each, recursive=recursive)
