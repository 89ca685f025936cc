"""``cryptdrive put``."""

import os
from collections.abc import Sequence

import click

from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.opening import drive_files
from cryptdrive.cli.options import common_options, drive_argument
from cryptdrive.cli.paths import path_in_drive, placed
from cryptdrive.cli.terminal import transfer_meter
from cryptdrive.cli.upload import Upload


@click.command()
@drive_argument
@click.argument("local", nargs=-1, required=True)
@click.argument("path")
@common_options
@click.pass_obj
def command(invocation: Invocation, drive: str, local: Sequence[str], path: str) -> None:
    """Put files and folders into a drive.

    LOCAL becomes PATH in DRIVE, or lands in PATH if that is a folder there. Folders are put with
    all that is in them; modes and times are kept. A file appears when it is complete, in the place
    of one of its name. '-' is standard input.

    \b
    Examples:
      cryptdrive put photos ~/Pictures/2024 /
      tar c . | cryptdrive put ./vault - /backup.tar
    """
    invocation.start_logging()
    sources = [os.fsencode(each) for each in local]
    if b"-" in sources and len(sources) > 1:
        raise click.UsageError("standard input is put alone")
    for source in sources:
        if source != b"-":
            os.lstat(source)  # before the drive is opened
    target = path_in_drive(path)
    with drive_files(invocation, drive, writing=True) as files, transfer_meter(invocation, "put") as meter:
        upload = Upload(files, meter)
        if sources == [b"-"]:
            upload.put_standard_input(target)
            return
        for source in sources:
            name = os.path.basename(os.path.abspath(source))
            upload.put(source, placed(files, target, name, several=len(sources) > 1))
