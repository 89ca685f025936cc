"""Opening stores and drives for the commands."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cryptdrive.cli import logs
from cryptdrive.cli.finding import refuse_if_running, running_drive
from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.local_state import mark_open, mark_sent, state_path
from cryptdrive.cli.passwords import credentials_for
from cryptdrive.cli.terminal import complain, spinner
from cryptdrive.config import DriveConfig
from cryptdrive.control.client import ControlClient, RemoteFiles
from cryptdrive.control.files import DriveFiles, LocalFiles
from cryptdrive.control.records import RuntimeFolder
from cryptdrive.errors import (
    NoVault,
    ObjectNotFound,
    OtherVault,
    ReadOnly,
    StoreReadOnly,
    StoreRefused,
    Unavailable,
)
from cryptdrive.local.known_stores import KnownStores
from cryptdrive.store.base import Store
from cryptdrive.store.memory import MEMORY_URL
from cryptdrive.store.opening import open_store, store_url
from cryptdrive.vault.guarded import GuardedStore
from cryptdrive.vault.header import HEADER_NAME, read_header

if TYPE_CHECKING:
    from cryptdrive.drive import Drive
    from cryptdrive.vault.unlocking import Credentials

READ_ONLY_WORKS = ", or open the drive with --read-only"


def refuse_read_only(invocation: Invocation, text: str) -> None:
    """Keep to ``read_only`` of the configuration in commands that change a drive. Raises ReadOnly."""
    configuration = invocation.configuration
    if configuration.drives.get(text, configuration.defaults).read_only:
        raise ReadOnly(
            f"{text} is not to be changed: {invocation.config_path} says read_only = true; "
            "nothing was changed\nto write to it, take that out of the file"
        )


def check_vault(
    invocation: Invocation,
    drive: DriveConfig,
    *,
    writing: bool,
    advice: str = "",
    store_is_needed: bool = False,
) -> None:
    """Make sure that there is a vault of a format we know, before a password is asked for.

    ``writing``: and that its store can be written to; ``advice`` ends the message if it cannot. A
    store that is away is no hindrance where this machine has what it takes to do without, unless
    ``store_is_needed``.

    Raises NoVault, FormatTooNew, Integrity, StoreError.
    """
    known, url = KnownStores(invocation.folders.state), store_url(drive.store)
    try:
        store = open_store(drive.store)
        try:
            read_header(store, known.vault_at(url))
            if writing:
                check_writable(store, advice)
        finally:
            store.close()
    except OtherVault as error:
        raise OtherVault(f"{error}\nif this one is meant from now on, remove {known.file(url)}") from error
    except (Unavailable, NoVault) as error:
        if store_is_needed or not _can_do_without(invocation, drive):
            raise
        invocation.told.append(str(error))
        complain(f"{error}\nworking with what is on this machine; changes are sent when the store is back")


def _can_do_without(invocation: Invocation, drive: DriveConfig) -> bool:
    """Whether this machine has what it takes to open a drive while its store is away."""
    from cryptdrive.drive.opening import local_copy

    folders = invocation.folders
    return local_copy(folders, KnownStores(folders.state).vault_at(store_url(drive.store))) is not None


def refuse_if_away(invocation: Invocation, drive: DriveConfig) -> None:
    """Keep a new vault from taking the place of a known one that is only away. Raises NoVault, StoreError.

    Changes that are not sent yet may wait here for that one, and its disk may come back any time.
    """
    known, url = KnownStores(invocation.folders.state), store_url(drive.store)
    vault_id = known.vault_at(url)
    if vault_id is None or state_path(invocation.folders, vault_id) is None:
        return
    if not _has_header(drive):
        raise NoVault(
            f"this machine knows a vault at {drive.store} that is not there now: is its disk plugged in?\n"
            f"if a new one is meant, remove {known.file(url)}"
        )


def _has_header(drive: DriveConfig) -> bool:
    """Whether there is any vault in the store, readable or not."""
    try:
        store = open_store(drive.store)
        try:
            store.stat(HEADER_NAME)
        finally:
            store.close()
    except (ObjectNotFound, Unavailable):
        return False
    return True


def _guarded_store(invocation: Invocation, location: str) -> Store:
    """The store, which may go away and come back, as long as it holds the vault that it held at first."""
    url = store_url(location)
    if url == MEMORY_URL:
        return open_store(location)
    vault_id = KnownStores(invocation.folders.state).vault_at(url)
    if vault_id is None:
        store = open_store(location)
        try:
            vault_id = read_header(store, None).vault_id
        finally:
            store.close()
    return GuardedStore(url, lambda: open_store(location), vault_id)


def check_writable(store: Store, advice: str = "") -> None:
    """Refuse a folder that cannot be written to before anything is changed. Raises StoreRefused.

    ``advice`` ends the message: what else helps.
    """
    folder = store.capabilities.local_path
    if folder is None or os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        return
    try:
        read_only = bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError as error:
        raise StoreRefused(f"{folder}: {error.strerror}") from error
    if read_only:
        raise StoreReadOnly(
            f"{folder} is on a read-only file system; nothing was changed\n"
            f"mount that file system for writing{advice}"
        )
    raise StoreRefused(
        f"{folder}: you may not write there; nothing was changed\n"
        f"make the folder writable for your user{advice}"
    )


def open_drive_of(
    invocation: Invocation, drive: DriveConfig, credentials: "Credentials", *, read_only: bool
) -> "Drive":
    """Open a drive in this process. Raises everything that opening raises; the store is closed then."""
    from cryptdrive.drive import open_drive  # takes longer than all the rest of a small command

    store = _guarded_store(invocation, drive.store)
    try:
        with logs.without_repeating(invocation.told):
            opened = open_drive(store, credentials, drive.settings, invocation.folders, read_only=read_only)
    except BaseException:
        store.close()
        raise
    if not read_only:
        mark_open(opened.state_path, opened.vault_id, opened.store.url)
    return opened


def close_drive(opened: "Drive", *, publish: bool = True) -> None:
    """Close what :func:`open_drive_of` gave. Raises what closing raises: then something is left here."""
    opened.close(publish=publish)
    if not opened.read_only:
        mark_sent(opened.state_path)


@contextmanager
def drive_files(invocation: Invocation, text: str, *, writing: bool) -> Iterator[DriveFiles]:
    """The files of a drive for one command: through the process that has it open, or else opened here.

    What was changed is on the store when the block has ended.
    """
    if writing:
        refuse_read_only(invocation, text)
    record = running_drive(invocation, text, writing=writing)
    if record is not None:
        with ControlClient(RuntimeFolder(invocation.folders.runtime), record) as client:
            remote = RemoteFiles(client)
            yield remote
            if writing:
                remote.sync()
        return
    drive = invocation.drive(text)
    check_vault(invocation, drive, writing=writing)
    if writing:
        refuse_if_running(invocation, drive)
    credentials = credentials_for(invocation, drive)
    with spinner(invocation, "Opening the drive …"):
        opened = open_drive_of(invocation, drive, credentials, read_only=not writing)
    try:
        local = LocalFiles(opened.fs)
        try:
            yield local
        finally:
            local.close_all()
    finally:
        with spinner(invocation, "Saving …"):
            close_drive(opened)
