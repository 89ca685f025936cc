"""One open drive with its front ends, from the first request to the last byte saved."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptdrive.cli.errors import message
from cryptdrive.cli.front_ends import FrontEnds
from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.opening import close_drive, open_drive_of
from cryptdrive.cli.stopping import IdleWatch, StopRequests
from cryptdrive.config import DriveConfig
from cryptdrive.control.records import RunningRecord, RuntimeFolder
from cryptdrive.control.server import ControlServer
from cryptdrive.errors import Busy, CryptdriveError, MountpointError, Unsupported
from cryptdrive.fuse.mountpoint import unmount
from cryptdrive.local.process import give_memory_back, tune
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.housekeeping import Loop

if TYPE_CHECKING:
    from cryptdrive.drive import Drive
    from cryptdrive.vault.unlocking import Credentials
    from cryptdrive.webdav.server import WebdavServer

_log = logging.getLogger(__name__)

GIVE_BACK_S = 30.0
"""How often memory that is free is given back: a file system's buffers leave holes."""


class RunningDrive:
    """What the control socket asks, and what the process does until its end."""

    def __init__(self, drive: "Drive", plan: FrontEnds, runtime: Path, log_file: Path | None) -> None:
        self.stops = StopRequests(self._stop_mount, self._stop_by_signal)
        self._drive = drive
        self._plan = plan
        self._runtime = RuntimeFolder(runtime)
        self._log_file = log_file
        self._webdav: WebdavServer | None = None
        self._control: ControlServer | None = None
        self._idle: IdleWatch | None = None
        self._started_ns = time.time_ns()
        self._saving = False
        self._sends_last = True
        """Whether what is left is sent to the store at the end."""

    @property
    def fs(self) -> FileSystem:
        return self._drive.fs

    @property
    def mountpoint(self) -> str | None:
        return self._plan.mountpoint

    @property
    def webdav_url(self) -> str | None:
        return self._webdav.url if self._webdav is not None else None

    # --- what the control socket asks ------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        status = asdict(self._drive.status())
        error = status.pop("last_error")
        if error or status["retry_in_s"] is not None:
            status["seconds_left"] = None  # reckoned from a rate of better times
        return {
            **asdict(self._record()),
            **status,
            "mounts": [self.mountpoint] if self.mountpoint is not None else [],
            "state": "saving" if self._saving else "running",
            "errors": [error] if error else [],
        }

    def credential(self) -> dict[str, Any]:
        """Raises Unsupported: WebDAV is not served."""
        if self._webdav is None:
            raise Unsupported("the drive is not served by WebDAV; serve, or mount --webdav, does that")
        credential = self._webdav.credential
        return {
            "url": self._webdav.url,
            "user": credential.user,
            "password": credential.password,
            "fingerprint": self._webdav.fingerprint,
        }

    def flush(self) -> None:
        self._drive.flush()

    def request_stop(self, *, lazy: bool, wait: bool) -> None:
        """See ControlledDrive. A store that does not take everything keeps nothing from ending."""
        self._save_here()
        if not lazy:
            if wait and not self._drive.read_only:
                self._try_to_send()
            self._sends_last = wait  # before the mount's end, which is where closing begins
            try:
                self._unmount()
            except Busy:
                self._sends_last = True
                raise
        self._sends_last = wait
        self.stops.add()

    def _save_here(self) -> None:
        """What a full disk does not take would be lost with this process. Raises DiskError, NoSpace."""
        if not self._drive.read_only:
            self.fs.sync(remote=False)

    def _stop_by_signal(self) -> None:
        """Ends the drive if everything can be saved here; else it goes on, which the log says."""
        try:
            if not self._saving:
                self._save_here()
        except CryptdriveError as error:
            _log.error(
                "not stopped, for changes cannot be saved on this machine: %s; make room and try again: "
                "one more signal ends it all the same, and what is not saved is lost",
                error,
            )
            return
        self.stops.add()

    def _try_to_send(self) -> None:
        """While the drive still serves, for it may take long."""
        try:
            self._drive.flush()
        except CryptdriveError as error:
            _log.warning("not everything could be sent to the store: %s", error)

    def _stop_when_idle(self) -> None:
        """Raises Busy while something waits for a store that fails: a running drive tries again."""
        if self.fs.publish_error is not None:
            raise Busy(f"changes wait to be sent to the store: {self.fs.publish_error}")
        self.request_stop(lazy=False, wait=True)

    def _unmount(self) -> None:
        if self._plan.mountpoint is None:
            return
        try:
            unmount(self._plan.mountpoint)
        except MountpointError as error:
            _log.info("%s", error)  # somebody else was faster; or stopping, which follows, tries again

    # --- the process's life ------------------------------------------------------------------------

    def run(self, ready: Callable[["RunningDrive"], None]) -> None:
        """Serve until something asks for the end, then save and close the drive.

        ``ready`` is called once everything works. Raises what made it end; UnsentData where not
        everything could be saved.
        """
        problem: Exception | None = None
        try:
            self._serve(ready)
        except Exception as error:  # noqa: BLE001 - raised again, after saving
            problem = error
        try:
            self._end_front_ends()
            self._save()
        except Exception as error:  # noqa: BLE001 - the client is told, then it is raised
            if problem is not None:
                _log.error("%s", message(problem))
            problem = error  # what is lost is worse than what made it end
        if self._control is not None:
            self._control.end(problem)
        if problem is not None:
            raise problem

    def _serve(self, ready: Callable[["RunningDrive"], None]) -> None:
        plan = self._plan
        if plan.webdav is not None:
            from cryptdrive.webdav.server import WebdavServer

            locks = self._drive.sealed_file("webdav-locks")
            umask = 0o077 if plan.mount.umask is None else plan.mount.umask
            self._webdav = WebdavServer(
                self.fs, plan.webdav, locks, self._drive.state_path, read_only=plan.read_only, umask=umask
            )
            self._webdav.start()
        if plan.mountpoint is None:
            self._announce(ready)
            self.stops.wait()
            return
        from cryptdrive.fuse import mount

        mount.serve(self.fs, plan.mountpoint, plan.mount, lambda: self._announce(ready))

    def _announce(self, ready: Callable[["RunningDrive"], None]) -> None:
        self._control = ControlServer(self._runtime, self._record(), self)
        self._control.start()
        if self._plan.idle_s is not None:
            self._idle = IdleWatch(self.fs, self._plan.idle_s, self._stop_when_idle)
            self._idle.start()
        ready(self)
        if self.stops.count:
            self._stop_mount()  # the request came before there was a mount to stop

    def _record(self) -> RunningRecord:
        return RunningRecord(
            pid=os.getpid(),
            store=self._drive.store.url,
            vault_id=self._drive.vault_id.hex(),
            read_only=self._plan.read_only,
            mountpoint=self._plan.mountpoint,
            webdav_url=self.webdav_url,
            log_file=str(self._log_file) if self._log_file is not None else None,
            started_ns=self._started_ns,
        )

    def _stop_mount(self) -> None:
        if self._saving and self.stops.count > 1:
            self._drive.stop_sending()  # asked for once more: whoever asks does not want to wait
        if self._plan.mountpoint is not None:
            from cryptdrive.fuse import mount

            mount.stop()

    # --- the end -------------------------------------------------------------------------------------

    def _end_front_ends(self) -> None:
        self._saving = True
        if self._idle is not None:
            self._idle.end()
        if self._webdav is not None:
            self._webdav.stop()

    def _save(self) -> None:
        """Save and close. Raises UnsentData: what is not on the store is safe here.

        Raises what kept changes from being saved here.
        """
        close_drive(self._drive, publish=self._sends_last)


def run_drive(
    invocation: Invocation,
    config: DriveConfig,
    credentials: "Credentials",
    plan: FrontEnds,
    ready: Callable[[RunningDrive], None],
    log_file: Path | None,
) -> None:
    """Open a drive and run it in this process until its end. Raises what opening and running raise."""
    tune()
    drive = open_drive_of(invocation, config, credentials, read_only=plan.read_only)
    running = RunningDrive(drive, plan, invocation.folders.runtime, log_file)
    running.stops.install()
    tidying = Loop("memory", give_memory_back, lambda: GIVE_BACK_S)
    tidying.start()
    try:
        running.run(ready)
    finally:
        tidying.stop()
