"""Derivation of every key from the epoch keys, with labels (docs/format.md §3)."""

import enum

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cryptdrive.errors import Integrity
from cryptdrive.types import Epoch, VaultId

KEY_BYTES = 32


class Purpose(enum.IntEnum):
    """What a sealing holds; part of its key and of its associated data."""

    DATA = 1
    NODE = 2
    INDEX = 3
    FOOTER = 4
    COMMIT = 5
    JOURNAL = 6
    LOCAL = 7


def derive(secret: bytes, salt: bytes, label: str, *context: bytes) -> bytes:
    """32 bytes by HKDF-SHA256 (RFC 5869); info = ``"cryptdrive 1 " label NUL context…``.

    Each context part has a fixed length for its label, so the info is never ambiguous.
    """
    info = b"cryptdrive 1 " + label.encode("ascii") + b"\0" + b"".join(context)
    return HKDF(SHA256(), KEY_BYTES, salt, info).derive(secret)


class KeyRing:
    """The epoch keys that this process may use; derived purpose keys are kept."""

    def __init__(self, vault_id: VaultId, epoch_keys: dict[Epoch, bytes]) -> None:
        self.vault_id = vault_id
        self._epoch_keys = dict(epoch_keys)
        self._purpose_keys: dict[tuple[Epoch, Purpose], bytes] = {}

    @property
    def current(self) -> Epoch:
        """The epoch that new sealings use."""
        return max(self._epoch_keys)

    def epoch_key(self, epoch: Epoch) -> bytes:
        """Raises Integrity if the ring does not hold that epoch."""
        try:
            return self._epoch_keys[epoch]
        except KeyError:
            raise Integrity(f"sealed with epoch {epoch}, whose key this vault's slots do not hold") from None

    def purpose_key(self, epoch: Epoch, purpose: Purpose) -> bytes:
        """The key that all sealings of one purpose in one epoch derive theirs from."""
        key = self._purpose_keys.get((epoch, purpose))
        if key is None:
            label = "purpose " + purpose.name.lower()
            key = derive(self.epoch_key(epoch), self.vault_id, label)
            self._purpose_keys[epoch, purpose] = key
        return key
