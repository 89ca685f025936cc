"""``cryptdrive umount``."""

import click

from cryptdrive.cli.finding import running_drives, runtime_folder
from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.options import common_options, option
from cryptdrive.cli.terminal import complain, say, size_text, spinner
from cryptdrive.control.client import ControlClient
from cryptdrive.control.records import RunningRecord
from cryptdrive.errors import ConfigError, CryptdriveError, MountpointError, StoreError
from cryptdrive.fuse.mountpoint import absolute, is_dead, mounted_at, unmount

_SAVING = "Saving …"


@click.command()
@click.argument("target", metavar="MOUNTPOINT|DRIVE")
@option("--lazy", is_flag=True, help="Detach at once, even if it is in use; then save.")
@common_options
@click.pass_obj
def command(invocation: Invocation, target: str, lazy: bool) -> None:
    """Unmount a drive, and wait until everything is saved.

    A drive that is served only is stopped likewise. If programs use it, they are named, and it
    stays mounted; so it does if changes cannot be saved now. With --lazy it is detached all the
    same. What a program that died has left at a mountpoint is cleared.

    \b
    Examples:
      cryptdrive umount ~/Drive
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
            _stop(invocation, record, lazy=lazy)
        return
    _unmount_without_its_process(invocation, absolute(target), lazy=lazy)


def _stop(invocation: Invocation, record: RunningRecord, *, lazy: bool) -> None:
    place = record.mountpoint or record.webdav_url or record.store
    try:
        with (
            ControlClient(runtime_folder(invocation), record) as client,
            spinner(invocation, _SAVING) as show,
        ):
            client.stop(lazy=lazy, waiting=lambda: show(_what_is_left(invocation, record)))
    except StoreError:
        complain(f"{place} stays as it is, for not everything could be saved:")
        raise
    say(invocation, f"{place}: stopped, everything is saved" if not record.read_only else f"{place}: stopped")


def _what_is_left(invocation: Invocation, record: RunningRecord) -> str:
    """How far saving has come, by another connection."""
    try:
        with ControlClient(runtime_folder(invocation), record) as client:
            status = client.status()
    except CryptdriveError:
        return _SAVING
    problems = "".join(f" ({each})" for each in status["errors"])
    return f"Saving … {size_text(status['dirty_bytes'])}, {status['changed_records']} records left{problems}"


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
