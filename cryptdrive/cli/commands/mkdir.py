"""``cryptdrive mkdir``."""

import os
import stat
from collections.abc import Sequence

import click

from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.opening import drive_files
from cryptdrive.cli.options import common_options, drive_argument, option
from cryptdrive.cli.paths import about, path_in_drive
from cryptdrive.control.files import DriveFiles, kind_at


@click.command()
@drive_argument
@click.argument("path", nargs=-1, required=True)
@option("-p", "--parents", is_flag=True, help="The folders above too; a folder that is there is no error.")
@common_options
@click.pass_obj
def command(invocation: Invocation, drive: str, path: Sequence[str], parents: bool) -> None:
    """Make folders in DRIVE.

    \b
    Example:
      cryptdrive mkdir -p photos /2024/holiday
    """
    invocation.start_logging()
    umask = os.umask(0o077)
    os.umask(umask)
    with drive_files(invocation, drive, writing=True) as files:
        for each in map(path_in_drive, path):
            if parents:
                _make_parents(files, each, 0o777 & ~umask)
            else:
                with about(each):
                    files.make_directory(each, 0o777 & ~umask)


def _make_parents(files: DriveFiles, path: bytes, mode: int) -> None:
    parts = [part for part in path.split(b"/") if part]
    for count in range(1, len(parts) + 1):
        folder = b"/" + b"/".join(parts[:count])
        with about(folder):
            if not stat.S_ISDIR(kind_at(files, folder)):
                files.make_directory(folder, mode)
