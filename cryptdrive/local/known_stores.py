"""Which vault this machine has seen in which store."""

from hashlib import sha256
from pathlib import Path

from cryptdrive.errors import OtherVault
from cryptdrive.local.disk import write_durably
from cryptdrive.types import VaultId


class KnownStores:
    """Remembers the vault of each store, so that another one put in its place is noticed.

    The files hold hashes and vault ids only.
    """

    def __init__(self, state: Path) -> None:
        self._folder = state / "stores"

    def file(self, url: str) -> Path:
        """Where it is kept which vault is known there; without that file this machine has seen none."""
        return self._folder / sha256(b"cryptdrive store\0" + url.encode()).hexdigest()[:32]

    def vault_at(self, url: str) -> VaultId | None:
        """The vault that was there; None if this machine has seen none there."""
        try:
            return VaultId(bytes.fromhex(self.file(url).read_text("ascii").strip()))
        except (FileNotFoundError, ValueError):
            return None

    def remember(self, url: str, vault_id: VaultId) -> None:
        """Raises OtherVault if another one is known there."""
        known = self.vault_at(url)
        if known == vault_id:
            return
        if known is not None:
            raise OtherVault(
                f"the vault at {url} is another one than this machine has used there; "
                f"if that is meant, remove {self.file(url)}"
            )
        self.replace(url, vault_id)

    def replace(self, url: str, vault_id: VaultId) -> None:
        """The vault there is this one from now on, whichever was there before: it is being created."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(self.file(url), vault_id.hex().encode() + b"\n")

    def forget(self, url: str) -> None:
        """This machine has seen no vault there."""
        self.file(url).unlink(missing_ok=True)
