"""``cryptdrive ls``."""

import stat
import sys
from collections.abc import Iterator

import click

from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.opening import drive_files
from cryptdrive.cli.options import common_options, drive_argument, option
from cryptdrive.cli.paths import about, joined, last_part, path_in_drive
from cryptdrive.cli.terminal import displayed, time_text
from cryptdrive.control.files import DriveFiles
from cryptdrive.vfs.values import Attr

Entry = tuple[bytes, Attr]


@click.command()
@drive_argument
@click.argument("path", default="/")
@option("-l", "--long", "long", is_flag=True, help="Mode, owner, size and time too.")
@option("-R", "--recursive", is_flag=True, help="What lies in folders, too.")
@common_options
@click.pass_obj
def command(invocation: Invocation, drive: str, path: str, long: bool, recursive: bool) -> None:
    """List files in a drive.

    Without PATH all that lies at the top.

    \b
    Examples:
      cryptdrive ls photos
      cryptdrive ls -lR /media/disk/vault /2024
    """
    invocation.start_logging()
    place = path_in_drive(path)
    with drive_files(invocation, drive, writing=False) as files:
        with about(place):
            attr = files.stat(place, follow=True)
        if not stat.S_ISDIR(attr.mode):
            with about(place):
                _write(files, place.rpartition(b"/")[0], [(last_part(place), files.stat(place))], long=long)
            return
        for number, (folder, entries) in enumerate(_folders(files, place, recursive=recursive)):
            if recursive:
                click.echo(nl=bool(number))
                _write_line(folder + b":")
            _write(files, folder, entries, long=long)


def _folders(files: DriveFiles, top: bytes, *, recursive: bool) -> Iterator[tuple[bytes, list[Entry]]]:
    """A folder with its entries, sorted by name; then the folders in it, if they are wanted."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        with about(folder):
            entries = sorted(files.entries(folder))
        yield folder, entries
        if recursive:
            inner = [joined(folder, name) for name, attr in entries if stat.S_ISDIR(attr.mode)]
            waiting += reversed(inner)


def _write(files: DriveFiles, folder: bytes, entries: list[Entry], *, long: bool) -> None:
    if not long:
        for name, _ in entries:
            _write_line(name)
        return
    numbers = [(attr.nlink, attr.uid, attr.gid, attr.size) for _, attr in entries]
    widths = [max(map(len, map(str, column))) for column in zip(*numbers, strict=True)]
    for (name, attr), row in zip(entries, numbers, strict=True):
        columns = " ".join(str(number).rjust(width) for number, width in zip(row, widths, strict=True))
        line = f"{stat.filemode(attr.mode)} {columns} {time_text(attr.mtime_ns)} ".encode() + name
        if stat.S_ISLNK(attr.mode):
            line += b" -> " + files.read_link(joined(folder, name))
        _write_line(line)


def _write_line(line: bytes) -> None:
    """For a terminal without what it would obey; for programs the bytes as they are."""
    if sys.stdout.isatty():
        click.echo("\n".join(map(displayed, line.split(b"\n"))))
    else:
        click.echo(line)
