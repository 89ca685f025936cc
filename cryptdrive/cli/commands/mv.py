"""``cryptdrive mv``."""

import click

from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.opening import drive_files
from cryptdrive.cli.options import common_options, drive_argument
from cryptdrive.cli.paths import about, path_in_drive, placed


@click.command()
@drive_argument
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@common_options
@click.pass_obj
def command(invocation: Invocation, drive: str, source: str, target: str) -> None:
    """Rename or move a file or a folder within a drive.

    FROM becomes TO, or moves into TO if that is a folder. A file of that name is replaced.

    \b
    Example:
      cryptdrive mv photos /inbox/holiday /2024
    """
    invocation.start_logging()
    old = path_in_drive(source)
    with drive_files(invocation, drive, writing=True) as files:
        with about(old):
            files.stat(old)
        new = placed(files, path_in_drive(target), old)
        with about(new):
            files.rename(old, new, replace=True)
