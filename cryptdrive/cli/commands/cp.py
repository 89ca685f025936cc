"""``cryptdrive cp``."""

import stat

import click

from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.opening import drive_files
from cryptdrive.cli.options import common_options, drive_argument
from cryptdrive.cli.paths import about, path_in_drive, placed
from cryptdrive.control.files import kind_at
from cryptdrive.errors import IsADirectory


@click.command()
@drive_argument
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@common_options
@click.pass_obj
def command(invocation: Invocation, drive: str, source: str, target: str) -> None:
    """Copy a file or a folder within a drive.

    A folder is copied with all that is in it. The copy shares what is in the store, so that it
    takes a moment and hardly any room. TO may be a folder, for a copy in it.

    \b
    Example:
      cryptdrive cp photos /2024 /best-of-2024
    """
    invocation.start_logging()
    old = path_in_drive(source)
    with drive_files(invocation, drive, writing=True) as files:
        with about(old):
            is_folder = stat.S_ISDIR(files.stat(old).mode)
        new = placed(files, path_in_drive(target), old)
        with about(new):
            if not is_folder and stat.S_ISDIR(kind_at(files, new)):
                raise IsADirectory("is a directory; a file cannot take its place")
            files.clone(old, new, replace=not is_folder)
