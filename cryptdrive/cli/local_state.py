"""What this machine keeps of a vault, seen from outside: without its keys, and without opening it."""

import json
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptdrive.config import DriveConfig, LocalFolders
from cryptdrive.local.disk import write_durably
from cryptdrive.local.known_stores import KnownStores
from cryptdrive.store.opening import open_store, store_url
from cryptdrive.types import VaultId
from cryptdrive.vault.header import read_header

_log = logging.getLogger(__name__)

MARK = "unsent"
"""A file in a drive's state folder: the drive was opened, and since then not everything was sent for certain.

What waits in the journal cannot be told from outside, for it is sealed and its files have one size.
"""
MARK_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Waiting:
    """Changes that may wait on this machine, of a drive that no process has open."""

    vault_id: str
    """In hexadecimal; where only the folder's name tells it, the first 32 digits."""
    store: str | None
    """The store's URL, where it is known."""
    path: Path
    waiting_bytes: int
    """Of complete packs; what the journal holds is not known."""


def state_path(folders: LocalFolders, vault_id: VaultId) -> Path | None:
    """The folder of a vault's local state; None where this machine has none. Nothing is made."""
    path = folders.state / "drives" / vault_id.hex()[:32]
    return path if path.is_dir() else None


# --- the mark --------------------------------------------------------------------------------------


def mark_open(path: Path, vault_id: VaultId, store: str) -> None:
    """Note that from now on changes may wait here. A failure is logged: the mark is for people."""
    fields = {"pid": os.getpid(), "vault_id": vault_id.hex(), "store": store}
    try:
        write_durably(path / MARK, json.dumps(fields).encode() + b"\n")
    except OSError as error:
        _log.info("it cannot be noted that the drive is open: %s", error.strerror)


def mark_sent(path: Path) -> None:
    """The drive is closed, and everything is on the store."""
    if _mark_of(path).get("pid") == os.getpid():  # else the next process has it open already
        with suppress(OSError):
            (path / MARK).unlink()


def _mark_of(path: Path) -> dict[str, object]:
    """What the mark in a state folder says; nothing where there is none, or not a good one."""
    try:
        with (path / MARK).open("rb") as file:
            fields = json.loads(file.read(MARK_BYTES_MAX))
    except (OSError, ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


# --- what waits ------------------------------------------------------------------------------------


def all_waiting(folders: LocalFolders) -> list[Waiting]:
    """Every vault for which something may wait here; the running ones too."""
    found = [waiting_in(path) for path in sorted((folders.state / "drives").glob("*"))]
    return [each for each in found if each is not None]


def waiting_in(path: Path) -> Waiting | None:
    """What may wait in one state folder; None if nothing there says so."""
    packs = _unsent_packs(path / "outbox")
    if not packs and not (path / MARK).exists():
        return None
    mark = _mark_of(path)
    vault_id, store = mark.get("vault_id"), mark.get("store")
    return Waiting(
        vault_id=vault_id if isinstance(vault_id, str) else path.name,
        store=store if isinstance(store, str) else None,
        path=path,
        waiting_bytes=sum(packs),
    )


def _unsent_packs(outbox: Path) -> list[int]:
    """The sizes of the packs that the store has not confirmed."""
    sizes = []
    for file in outbox.glob("*"):
        if file.suffix != ".kept":
            with suppress(OSError):  # sent meanwhile
                sizes.append(file.stat().st_size)
    return sizes


def waiting_for(folders: LocalFolders, drive: DriveConfig) -> Waiting | None:
    """What may wait here for one drive, by the vault that is known in its store, or is there now.

    Raises NoVault, Integrity, StoreError where this machine knows of none and the store shows none.
    """
    vault_id = KnownStores(folders.state).vault_at(store_url(drive.store))
    if vault_id is None:
        store = open_store(drive.store)
        try:
            vault_id = read_header(store).vault_id
        finally:
            store.close()
    path = state_path(folders, vault_id)
    return waiting_in(path) if path is not None else None
