"""Vaults that are quick to make: the cheapest costs that a vault may have."""

import os
from pathlib import Path

from cryptdrive.config import DriveSettings, LocalFolders
from cryptdrive.crypto.passwords import Argon2Costs
from cryptdrive.drive import Drive, create_drive, open_drive
from cryptdrive.store.base import Store
from cryptdrive.vault.creation import NewVault, begin_vault, finish_vault
from cryptdrive.vault.unlocking import Credentials

CHEAP = Argon2Costs(64 * 1024, 1, 1)
PASSWORD = "correct horse"


def local_folders(path: Path) -> LocalFolders:
    """Local state below ``path``, as on a machine of its own."""
    folders = LocalFolders(path / "state", path / "cache", path / "config", path / "run")
    folders.create()
    return folders


def new_vault(store: Store) -> NewVault:
    """Header and slots only, without a commit."""
    vault = begin_vault(store, PASSWORD, CHEAP, os.urandom)
    finish_vault(store, vault)
    return vault


def create(store: Store, folders: LocalFolders) -> str:
    return create_drive(store, PASSWORD, folders, costs=CHEAP)


def open_with_password(
    store: Store, folders: LocalFolders, password: str = PASSWORD, *, read_only: bool = False
) -> Drive:
    return open_drive(store, Credentials(password=password), DriveSettings(), folders, read_only=read_only)
