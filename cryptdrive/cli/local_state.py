"""What this machine keeps of a vault, seen from outside: without its keys, and without opening it."""

from pathlib import Path

from cryptdrive.config import LocalFolders
from cryptdrive.types import VaultId


def state_path(folders: LocalFolders, vault_id: VaultId) -> Path | None:
    """The folder of a vault's local state; None where this machine has none. Nothing is made."""
    path = folders.state / "drives" / vault_id.hex()[:32]
    return path if path.is_dir() else None
