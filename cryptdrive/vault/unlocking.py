"""From what the user knows or has to the vault's keys."""

from dataclasses import dataclass
from hashlib import sha256

from cryptdrive.clock import Randomness
from cryptdrive.crypto.keys import KeyRing
from cryptdrive.crypto.passwords import Argon2Costs, stretch
from cryptdrive.crypto.recovery import parse_key
from cryptdrive.crypto.slots import (
    Secrets,
    Slot,
    SlotKind,
    SlotTable,
    encode_table,
    make_slot,
    password_key,
    unlock,
    wrong_key,
)
from cryptdrive.errors import Integrity, Invalid, WrongKey
from cryptdrive.store.base import Store
from cryptdrive.types import VaultId
from cryptdrive.vault.header import Header, read_header
from cryptdrive.vault.slot_tables import SlotTableId, load_newest, put_table


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the user offers; the first slot that opens counts."""

    password: str | None = None
    recovery_key: str | None = None
    key_file: bytes | None = None

    def __repr__(self) -> str:
        """Never shows a secret, whatever log or traceback it ends up in."""
        given = [name for name in self.__slots__ if getattr(self, name) is not None]
        return f"Credentials({', '.join(given)})"


@dataclass(frozen=True, slots=True, repr=False)
class UnlockedVault:
    """A vault whose keys are known."""

    header: Header
    table_id: SlotTableId
    table: SlotTable
    secrets: Secrets

    @property
    def vault_id(self) -> VaultId:
        return self.header.vault_id

    def keyring(self) -> KeyRing:
        return KeyRing(self.vault_id, self.secrets.epoch_keys)


def key_file_key(content: bytes) -> bytes:
    """What a key file stands for: the hash of its content."""
    return sha256(b"cryptdrive 1 key file\0" + content).digest()


def unlock_vault(store: Store, credentials: Credentials, expected: VaultId | None = None) -> UnlockedVault:
    """Raises WrongKey, NoVault, OtherVault, FormatTooNew, Integrity, StoreError.

    A slot table that was tampered with gives the same error as a wrong password: the store must
    learn nothing by trying.
    """
    header = read_header(store, expected)
    try:
        table_id, table = load_newest(store, header)
    except Integrity as error:
        raise wrong_key() from error

    def key_for(kind: SlotKind) -> bytes | None:
        if kind is SlotKind.PASSWORD and credentials.password is not None:
            return password_key(credentials.password, table.salt, table.costs)
        if kind is SlotKind.RECOVERY_KEY and credentials.recovery_key is not None:
            return parse_key(credentials.recovery_key)
        if kind is SlotKind.KEY_FILE and credentials.key_file is not None:
            return key_file_key(credentials.key_file)
        return None

    if credentials == Credentials():
        raise WrongKey("no password or key was given")
    return UnlockedVault(header, table_id, table, unlock(table, header.owner_key, key_for))


def change_password(
    store: Store,
    credentials: Credentials,
    new_password: str,
    randomness: Randomness,
    costs: Argon2Costs | None = None,
    expected: VaultId | None = None,
) -> SlotTableId:
    """Write the next slot table, in which the password slots are replaced by one for ``new_password``.

    The other slots (recovery key, key files) stay as they are. Raises WrongKey, Invalid for a new
    password that cannot be one, and NotPermitted-like Invalid without the owner's key.
    """
    unlocked = unlock_vault(store, credentials, expected)
    seed = unlocked.secrets.owner_seed
    if seed is None:
        raise Invalid("only the vault's owner can change the password")
    old = unlocked.table
    new_costs = costs or old.costs
    salt = randomness(len(old.salt))
    key = stretch(new_password, salt, new_costs)
    header = unlocked.header
    slot = make_slot(SlotKind.PASSWORD, key, unlocked.secrets, header.hash, randomness)
    kept: tuple[Slot, ...] = tuple(each for each in old.slots if each.kind is not SlotKind.PASSWORD)
    table = SlotTable(old.number + 1, header.hash, new_costs, salt, (slot, *kept))
    return put_table(store, table.number, encode_table(table, seed, header.vault_id))
