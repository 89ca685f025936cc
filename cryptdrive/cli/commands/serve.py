"""``cryptdrive serve``."""

import click

from cryptdrive.cli.front_ends import FrontEnds, chosen_idle, mount_options, webdav_options
from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.options import common_options, drive_argument, option
from cryptdrive.cli.starting import start


@click.command()
@drive_argument
@option("--address", metavar="HOST:PORT", help="Where to serve; without it 127.0.0.1:4918.")
@option("--background", is_flag=True, help="Go to the background once it is served.")
@option("--read-only", is_flag=True, help="Change nothing.")
@option("--idle", metavar="TIME", help="Stop after so long without use (30m).")
@common_options
@click.pass_obj
def command(
    invocation: Invocation,
    drive: str,
    address: str | None,
    background: bool,
    read_only: bool,
    idle: str | None,
) -> int:
    """Serve DRIVE by WebDAV, without mounting it.

    Stays in the foreground until Ctrl-C, which saves and stops. Elsewhere than on this machine's own
    address it is served with TLS. cryptdrive status --credential shows user and password.

    \b
    Examples:
      cryptdrive serve /media/disk/vault
      cryptdrive serve photos --address 127.0.0.1:8080 --background
    """
    invocation.start_logging()
    config = invocation.drive(drive)
    mount = mount_options(config, {}, (), read_only=read_only)
    plan = FrontEnds(
        mount=mount,
        webdav=webdav_options(config, address or ""),
        idle_s=chosen_idle(config, idle),
        read_only=mount.read_only,
    )
    return start(invocation, config, plan, foreground=not background)
