"""Which running drive is meant."""

from pathlib import Path

from cryptdrive.cli.invocation import Invocation
from cryptdrive.config import DriveConfig
from cryptdrive.control.records import RunningRecord, RuntimeFolder
from cryptdrive.errors import DriveInUse
from cryptdrive.fuse.mountpoint import absolute


def runtime_folder(invocation: Invocation) -> RuntimeFolder:
    return RuntimeFolder(invocation.folders.runtime)


def store_url(drive: DriveConfig) -> str:
    """The URL under which a drive's store is known, without opening it."""
    return drive.store if drive.store.startswith("memory:") else Path(drive.store).as_uri()


def running_drives(invocation: Invocation, text: str) -> list[RunningRecord]:
    """The running drives that a mountpoint, a WebDAV URL, a store or a name means; one that may write first.

    Raises ConfigError: the text is none of them.
    """
    records = runtime_folder(invocation).records()
    reached = [record for record in records if _is_reached_at(invocation, record, text)]
    if reached:
        return reached
    url = store_url(invocation.drive(text))
    return sorted((record for record in records if record.store == url), key=lambda record: record.read_only)


def running_drive(invocation: Invocation, text: str, *, writing: bool = False) -> RunningRecord | None:
    """The one to talk to; ``writing``: one that may change the drive."""
    found = running_drives(invocation, text)
    return next((record for record in found if not (writing and record.read_only)), None)


def drive_or_mountpoint(invocation: Invocation, text: str) -> DriveConfig:
    """The drive that ``text`` names; a mountpoint or WebDAV URL stands for the drive that is there.

    Raises ConfigError.
    """
    for record in runtime_folder(invocation).records():
        if _is_reached_at(invocation, record, text):
            return invocation.drive(record.store)
    return invocation.drive(text)


def _is_reached_at(invocation: Invocation, record: RunningRecord, text: str) -> bool:
    """Whether ``text`` is the drive's mountpoint or WebDAV URL, which no name in the configuration is."""
    if text in invocation.configuration.drives:
        return False
    if record.webdav_url is not None and text.rstrip("/") == record.webdav_url.rstrip("/"):
        return True
    return record.mountpoint is not None and record.mountpoint == absolute(text)


def refuse_if_running(invocation: Invocation, drive: DriveConfig) -> None:
    """Say early that a drive is in use, before a password is asked for. Raises DriveInUse.

    What counts is the lock that is taken when the drive is opened.
    """
    for record in runtime_folder(invocation).records():
        if record.store == store_url(drive) and not record.read_only:
            where = record.mountpoint or record.webdav_url or "no mountpoint"
            raise DriveInUse(
                f"the drive is in use by process {record.pid} ({where}); cryptdrive umount ends that"
            )
