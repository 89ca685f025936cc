"""``cryptdrive mount``."""

import re
from collections.abc import Sequence
from pathlib import Path

import click

from cryptdrive.cli.front_ends import FrontEnds, chosen_idle, mount_options, webdav_options
from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.options import MOUNTPOINT_PATH, checked, common_options, drive_argument, option
from cryptdrive.cli.starting import start
from cryptdrive.config import parse_umask
from cryptdrive.fuse.mountpoint import absolute

_address = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]*):\d{1,5}|\d{1,5}")


class MountCommand(click.Command):
    """Lets ``--webdav`` stand before an argument that is no address: ``mount --webdav DRIVE MOUNTPOINT``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        joined: list[str] = []
        for word in args[:end]:
            if joined and joined[-1] == "--webdav":
                joined[-1] = "--webdav="
                if _address.fullmatch(word):
                    joined[-1] += word
                    continue
            joined.append(word)
        if joined and joined[-1] == "--webdav":
            joined[-1] = "--webdav="
        return super().parse_args(ctx, joined + args[end:])


@click.command(cls=MountCommand)
@drive_argument
@click.argument("mountpoint", metavar="[MOUNTPOINT]", required=False, type=MOUNTPOINT_PATH)
@option("-f", "--foreground", is_flag=True, help="Stay in the foreground; Ctrl-C saves and unmounts.")
@option("--read-only", is_flag=True, help="Change nothing.")
@option("--allow-other", is_flag=True, help="Let other users in, as far as the modes do.")
@option("--uid", type=click.IntRange(0, 2**32 - 2), help="Show everything as this user's.")
@option("--gid", type=click.IntRange(0, 2**32 - 2), help="Show everything as this group's.")
@option("--umask", metavar="OCTAL", callback=checked(parse_umask), help="Take these bits from every mode.")
@option("--webdav", metavar="[HOST:PORT]", help="Serve the drive by WebDAV too.")
@option(
    "--idle",
    metavar="TIME",
    help="Unmount after so long without use (30m).",
)
@option(
    "-o",
    "--options",
    multiple=True,
    metavar="OPTIONS",
    help="Mount options, as in fstab: fsname=…, dev, suid.",
)
@common_options
@click.pass_obj
def command(
    invocation: Invocation,
    drive: str,
    mountpoint: Path | None,
    foreground: bool,
    read_only: bool,
    allow_other: bool,
    uid: int | None,
    gid: int | None,
    umask: int | None,
    webdav: str | None,
    idle: str | None,
    options: Sequence[str],
) -> int:
    """Mount DRIVE at MOUNTPOINT.

    Goes to the background once the mount works. cryptdrive umount ends it and waits until everything
    is saved; the signals TERM and INT save and unmount too. MOUNTPOINT may be left out if the
    configuration file has one for the drive.

    \b
    Examples:
      cryptdrive mount /media/disk/vault ~/Drive
      cryptdrive mount photos --read-only --idle 30m
      cryptdrive mount photos ~/Photos --webdav 127.0.0.1:4918 -o fsname=photos
    """
    invocation.start_logging()
    config = invocation.drive(drive)
    place = mountpoint or config.mountpoint
    if place is None:
        raise click.UsageError("a MOUNTPOINT is needed: the configuration has none for this drive")
    given = {"allow_other": allow_other or None, "uid": uid, "gid": gid, "umask": umask}
    mount = mount_options(config, given, options, read_only=read_only)
    plan = FrontEnds(
        mountpoint=absolute(place),
        mount=mount,
        webdav=webdav_options(config, webdav),
        idle_s=chosen_idle(config, idle),
        read_only=mount.read_only,
    )
    return start(invocation, config, plan, foreground=foreground or config.mount.foreground)
