"""``cryptdrive quickstart``: what ``make run`` calls."""

import dataclasses
import os
import secrets
from contextlib import suppress
from pathlib import Path

import click

from cryptdrive.cli.commands.init import ADVICE, create_vault
from cryptdrive.cli.errors import DONE
from cryptdrive.cli.finding import running_drive
from cryptdrive.cli.front_ends import FrontEnds
from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.opening import check_vault, refuse_if_away
from cryptdrive.cli.options import LOCAL_PATH, MOUNTPOINT_PATH, checked, common_options, option
from cryptdrive.cli.passwords import (
    HOW_TO_GIVE,
    credentials_for,
    given_password,
    has_terminal,
    password_for_new_vault,
)
from cryptdrive.cli.starting import check_place
from cryptdrive.cli.terminal import complain, say
from cryptdrive.config import DriveConfig, WebDavOptions, parse_address
from cryptdrive.errors import ConfigError, MountpointError, NoVault, Unavailable, WrongKey
from cryptdrive.fuse.mountpoint import absolute, check_mountpoint
from cryptdrive.fuse.options import MountOptions
from cryptdrive.store.opening import open_store
from cryptdrive.vault.header import read_header
from cryptdrive.vault.unlocking import Credentials

GENERATED_PASSWORD_BYTES = 15
NEXT_TIME = f"""\
It is shown this once and kept nowhere. The next start needs it: {HOW_TO_GIVE}."""


def default_vault() -> Path:
    """``$XDG_DATA_HOME/cryptdrive/demo``."""
    data = os.environ.get("XDG_DATA_HOME", "")
    return (Path(data) if os.path.isabs(data) else Path.home() / ".local/share") / "cryptdrive" / "demo"


@click.command(hidden=True)
@option("--vault", type=LOCAL_PATH, metavar="DIR", help="Where the vault lies.")
@option("--mountpoint", type=MOUNTPOINT_PATH, metavar="DIR", help="Where to mount it; made if missing.")
@option("--webdav", metavar="HOST:PORT", callback=checked(parse_address), help="Where to serve it.")
@common_options
@click.pass_obj
def command(
    invocation: Invocation, vault: Path | None, mountpoint: Path | None, webdav: tuple[str, int] | None
) -> int:
    """Create a vault if there is none, mount it, and serve it by WebDAV, until Ctrl-C.

    \b
    Example:
      cryptdrive quickstart --vault ~/vault --mountpoint ~/Drive --webdav 127.0.0.1:4918
    """
    invocation.start_logging()
    folder = (vault or default_vault()).expanduser().absolute()
    config = invocation.drive(str(folder))
    record = running_drive(invocation, str(folder))
    if record is not None:
        click.echo(f"it is running already, as process {record.pid}")
        _tell_places(record.mountpoint, record.webdav_url)
        click.echo(f"stop it with: cryptdrive umount {folder}")
        return DONE
    wanted = (mountpoint or Path.home() / "CryptDrive").expanduser().absolute()
    check_place(invocation, config, str(wanted))
    place = _usable_mountpoint(wanted)
    credentials = _credentials_of_vault(invocation, config)
    options = config.webdav if webdav is None else dataclasses.replace(config.webdav, address=webdav)
    plan = FrontEnds(
        mountpoint=place, mount=MountOptions(), webdav=_free_address(options, chosen=webdav is not None)
    )
    _run(invocation, config, credentials, plan)
    return DONE


def _run(invocation: Invocation, config: DriveConfig, credentials: Credentials, plan: FrontEnds) -> None:
    from cryptdrive.cli.running import RunningDrive, run_drive

    def ready(running: RunningDrive) -> None:
        _tell_places(running.mountpoint, running.webdav_url)
        credential = running.credential()
        click.echo(f"  user      {credential['user']}\n  password  {credential['password']}")
        if credential["fingerprint"]:
            click.echo(f"  certificate SHA-256 {credential['fingerprint']}")
        click.echo(f"encrypted   {config.store}\nCtrl-C saves everything and stops.")

    run_drive(invocation, config, credentials, plan, ready, invocation.chosen_log_file)
    say(invocation, "everything is saved; the drive is stopped")


def _tell_places(mountpoint: str | None, webdav_url: str | None) -> None:
    if mountpoint is not None:
        click.echo(f"your drive  {mountpoint}")
    if webdav_url is not None:
        click.echo(f"WebDAV      {webdav_url}")


# --- the vault -----------------------------------------------------------------------------------


def _credentials_of_vault(invocation: Invocation, config: DriveConfig) -> Credentials:
    """What opens the vault, which is created if there is none. Raises what init raises, WrongKey."""
    if _has_vault(config):
        check_vault(invocation, config, writing=True)
        try:
            return credentials_for(invocation, config)
        except WrongKey as error:
            if has_terminal() or invocation.recovery_key_file is not None:
                raise
            raise WrongKey(
                f"{config.store} is locked, and there is no terminal to ask for its password: {HOW_TO_GIVE}, "
                "or use --recovery-key-file"
            ) from error
    refuse_if_away(invocation, config)
    password = _given_or_asked_for(invocation, config)
    generated = secrets.token_urlsafe(GENERATED_PASSWORD_BYTES) if password is None else None
    key = create_vault(invocation, config, password or generated or "", None)
    click.echo(f"created a vault in {config.store}; its recovery key:\n\n    {key}\n\n{ADVICE}\n")
    if generated is not None:
        click.echo(
            f"nobody could be asked for a password, so one was made up:\n\n    {generated}\n\n{NEXT_TIME}\n"
        )
    return Credentials(password=password or generated)


def _has_vault(config: DriveConfig) -> bool:
    try:
        store = open_store(config.store)
        try:
            read_header(store)
        finally:
            store.close()
    except (NoVault, Unavailable):
        return False
    return True


def _given_or_asked_for(invocation: Invocation, config: DriveConfig) -> str | None:
    """The new vault's password; None where none is given and nobody can be asked."""
    given = given_password(invocation)
    if given is not None:
        return given
    if has_terminal() or config.password_file is not None or config.password_command is not None:
        return password_for_new_vault(invocation, config)
    return None


# --- where it can be reached -----------------------------------------------------------------------


def _usable_mountpoint(path: Path) -> str | None:
    """The mountpoint, made if it is missing; None, which is said, where this machine cannot mount."""
    from cryptdrive.fuse.mount import check_fuse

    try:
        check_fuse(MountOptions())
    except MountpointError as error:
        complain(f"no mount on this machine, WebDAV only: {error}")
        return None
    place = absolute(path)
    with suppress(OSError):  # a dead mount cannot be looked at: the check clears it, and says all else
        os.makedirs(place, mode=0o700, exist_ok=True)
    check_mountpoint(place)
    return place


def _free_address(options: WebDavOptions, *, chosen: bool) -> WebDavOptions:
    """The address to serve on: another port where the usual one is taken and none was asked for."""
    import socket

    host, port = options.address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if chosen:
                raise ConfigError(f"{host}:{port} cannot be served on: {error.strerror}") from error
            complain(f"port {port} is taken: WebDAV is served on another one")
            return dataclasses.replace(options, address=(host, 0))
    return options
