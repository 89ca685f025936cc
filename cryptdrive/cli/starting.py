"""Starting a drive: all checks first, then in the foreground or the background."""

from pathlib import Path
from typing import TYPE_CHECKING

from cryptdrive.cli.background import Report, run_in_background
from cryptdrive.cli.errors import DONE
from cryptdrive.cli.finding import refuse_if_running
from cryptdrive.cli.front_ends import FrontEnds
from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.opening import READ_ONLY_WORKS, check_vault
from cryptdrive.cli.passwords import credentials_for
from cryptdrive.cli.terminal import complain, say
from cryptdrive.config import DriveConfig
from cryptdrive.fuse.mountpoint import check_apart, check_mountpoint

if TYPE_CHECKING:
    from cryptdrive.cli.running import RunningDrive


def start(invocation: Invocation, config: DriveConfig, plan: FrontEnds, *, foreground: bool) -> int:
    """Check all that can be checked, ask for the password, and run the drive. Gives the exit code."""
    if plan.mountpoint is not None:
        from cryptdrive.fuse.mount import check_fuse

        check_fuse(plan.mount)
        check_place(invocation, config, plan.mountpoint)
        check_mountpoint(plan.mountpoint, nonempty=plan.mount.nonempty)
    check_vault(invocation, config, writing=not plan.read_only, advice=READ_ONLY_WORKS)
    if not plan.read_only:
        refuse_if_running(invocation, config)
    credentials = credentials_for(invocation, config)
    from cryptdrive.cli.running import run_drive

    if foreground:

        def ready(running: "RunningDrive") -> None:
            say(invocation, f"{where(running)}\nCtrl-C saves and stops")

        run_drive(invocation, config, credentials, plan, ready, invocation.chosen_log_file)
        say(invocation, "everything is saved")
        return DONE

    def serve(report: Report) -> int:
        log_file = invocation.start_background_logging(config)
        run_drive(invocation, config, credentials, plan, lambda running: report(where(running)), log_file)
        return DONE

    outcome = run_in_background(serve)
    if outcome.exit_code:
        complain(outcome.text)
    else:
        say(invocation, outcome.text)
    return outcome.exit_code


def check_place(invocation: Invocation, config: DriveConfig, mountpoint: str) -> None:
    """Refuse a mountpoint that would hide what the drive works with. Raises MountpointError."""
    folders, log_file = invocation.folders, invocation.chosen_log_file
    used = {
        "the local state": folders.state,
        "the cache": folders.cache,
        "the folder of the control sockets": folders.runtime,
    }
    if not config.store.startswith("memory:"):
        used["the vault"] = Path(config.store)
    if log_file is not None:
        used["the log"] = log_file
    check_apart(mountpoint, used)


def where(running: "RunningDrive") -> str:
    """Where a running drive can be found, for people."""
    lines = []
    if running.mountpoint is not None:
        lines.append(f"mounted at {running.mountpoint}")
    if running.webdav_url is not None:
        lines.append(
            f"WebDAV at {running.webdav_url} (cryptdrive status --credential shows user and password)"
        )
    return "\n".join(lines)
