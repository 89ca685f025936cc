"""``cryptdrive umount``."""

import click

from cryptdrive.cli.finding import running_drives, runtime_folder
from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.options import common_options, option
from cryptdrive.cli.sending import sending_progress
from cryptdrive.cli.terminal import say
from cryptdrive.control.client import ControlClient
from cryptdrive.control.records import RunningRecord
from cryptdrive.errors import ConfigError, MountpointError, UnsentData
from cryptdrive.fuse.mountpoint import absolute, is_dead, mounted_at, unmount


@click.command()
@click.argument("target", metavar="MOUNTPOINT|DRIVE|URL")
@option(
    "--lazy",
    is_flag=True,
    help="Detach even if it is in use: programs that have files open lose the drive at once.",
)
@option("--no-wait", is_flag=True, help="Do not send what is left; the next mount does.")
@common_options
@click.pass_obj
def command(invocation: Invocation, target: str, lazy: bool, no_wait: bool) -> None:
    """Unmount a drive, and wait until everything is on the store.

    A drive that is served only is stopped likewise, by its WebDAV URL too. If programs use it,
    they are named, and it stays mounted; with --lazy it is detached all the same: programs that
    have files open lose the drive at once, and what they write from then on. Changes that the store
    does not take stay safe on this machine: the exit code is 20 then, and the next mount sends
    them. What a program that died has left at a mountpoint is cleared.

    \b
    Examples:
      cryptdrive umount ~/Drive
      cryptdrive umount ~/Drive --no-wait
      cryptdrive umount photos --lazy
    """
    invocation.start_logging()
    try:
        records = running_drives(invocation, target)
    except ConfigError:
        records = []
        if mounted_at(absolute(target)) is None:
            raise
    if records:
        for record in records:
            _stop(invocation, record, lazy=lazy, wait=not no_wait)
        return
    _unmount_without_its_process(invocation, absolute(target), lazy=lazy)


def _stop(invocation: Invocation, record: RunningRecord, *, lazy: bool, wait: bool) -> None:
    place = record.mountpoint or record.webdav_url or record.store
    with (
        ControlClient(runtime_folder(invocation), record) as client,
        sending_progress(invocation, record) as look,
    ):
        try:
            client.stop(lazy=lazy, wait=wait, waiting=look)
        except UnsentData as error:
            raise UnsentData(f"{place}: stopped; {error}") from error
    say(invocation, f"{place}: stopped" + ("" if record.read_only else ", everything is on the store"))


def _unmount_without_its_process(invocation: Invocation, place: str, *, lazy: bool) -> None:
    """A mount whose program is dead, or that no record of ours is about."""
    mounted = mounted_at(place)
    if mounted is None:
        raise MountpointError(f"no drive is mounted at {place}, and none of that name is in use")
    if mounted.kind != "fuse.cryptdrive":
        raise MountpointError(f"{place}: {mounted.source} ({mounted.kind}) is no drive of cryptdrive's")
    if is_dead(place):
        unmount(place, lazy=True)
        say(invocation, f"{place}: cleared what a program that has died had left there")
        return
    unmount(place, lazy=lazy)
    say(invocation, f"{place}: unmounted; its process is not known here and may still be saving")
