"""Creating a vault."""

from dataclasses import dataclass

from cryptdrive.clock import Randomness
from cryptdrive.crypto.passwords import SALT_BYTES, Argon2Costs, stretch
from cryptdrive.crypto.recovery import format_key, generate
from cryptdrive.crypto.signatures import SEED_BYTES, public_key_of
from cryptdrive.crypto.slots import Secrets, SlotKind, SlotTable, encode_table, make_slot
from cryptdrive.errors import ObjectExists, StoreRefused, VaultExists
from cryptdrive.store.base import Store
from cryptdrive.types import Epoch
from cryptdrive.vault.header import HEADER_NAME, NONCE_BYTES, Header, decode_header, encode_header
from cryptdrive.vault.slot_tables import put_table
from cryptdrive.vault.unlocking import UnlockedVault

FIRST_EPOCH = Epoch(1)


@dataclass(frozen=True, slots=True, repr=False)
class NewVault:
    """The keys of a vault that is being created, and what is shown once."""

    unlocked: UnlockedVault
    header_bytes: bytes
    recovery_key: str


def check_place(store: Store) -> None:
    """Raises VaultExists for a vault, StoreRefused for anything else that is there already."""
    top = store.list("")
    names = [info.name for info in top.objects] + list(top.folders)
    if HEADER_NAME in names:
        raise VaultExists(f"there is a vault at {store.url} already; nothing was changed")
    if names:
        raise StoreRefused(
            f"{store.url} is not empty (it holds {names[0]!r}); a vault needs a place of its own: "
            "choose an empty folder, or remove what an unfinished init left there"
        )


def begin_vault(store: Store, password: str, costs: Argon2Costs, randomness: Randomness) -> NewVault:
    """Make keys and write the first slot table; :func:`finish_vault` makes it a vault.

    Raises VaultExists, StoreRefused, Invalid for a password that cannot be one.
    """
    check_place(store)
    owner_seed = randomness(SEED_BYTES)
    header_bytes = encode_header(public_key_of(owner_seed), randomness(NONCE_BYTES))
    header: Header = decode_header(header_bytes)
    secrets = Secrets({FIRST_EPOCH: randomness(32)}, owner_seed)
    salt, recovery = randomness(SALT_BYTES), generate(randomness)
    slots = (
        make_slot(SlotKind.PASSWORD, stretch(password, salt, costs), secrets, header.hash, randomness),
        make_slot(SlotKind.RECOVERY_KEY, recovery, secrets, header.hash, randomness),
    )
    table = SlotTable(1, header.hash, costs, salt, slots)
    table_id = put_table(store, 1, encode_table(table, owner_seed, header.vault_id))
    unlocked = UnlockedVault(header, table_id, table, secrets)
    return NewVault(unlocked, header_bytes, format_key(recovery))


def finish_vault(store: Store, vault: NewVault) -> None:
    """Write the header, last of all: until then an interrupted creation is not a vault.

    Raises VaultExists: somebody else created one here meanwhile.
    """
    try:
        store.put(HEADER_NAME, vault.header_bytes, exclusive=store.capabilities.create_if_absent)
    except ObjectExists:
        if store.get(HEADER_NAME) != vault.header_bytes:
            raise VaultExists(f"another vault was created at {store.url} meanwhile") from None
