"""Key slots: the ways to unlock a vault (docs/format.md §11).

A slot table is signed by the vault's owner, whose key stands in the header. Signature, bounds and
lengths are checked before a password is stretched, so a store can neither lower the costs nor
learn from errors: whatever is wrong with password or table is one error with one text.
"""

import enum
import struct
from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cryptdrive.clock import Randomness
from cryptdrive.crypto.keys import derive
from cryptdrive.crypto.padding import is_size_class, size_class
from cryptdrive.crypto.passwords import SALT_BYTES, Argon2Costs, stretch
from cryptdrive.crypto.signatures import SEED_BYTES, SIGNATURE_BYTES, public_key_of, sign, verify
from cryptdrive.errors import FormatTooNew, Integrity, Invalid, WrongKey
from cryptdrive.types import Epoch, VaultId

SLOTS_MAX = 64
EPOCHS_MAX = 64
TABLE_BYTES_MAX = 1 << 20

_MAGIC = b"CDKS"
_VERSION = 1
_LABEL = "slot table"
_head = struct.Struct(">4sB3xI32sIII32sH")
_slot = struct.Struct(">B16s16s32sH")
_ring = struct.Struct(">B32sH")
_epoch = struct.Struct(">I32s")
_TAG_BYTES = 16
_ZERO_NONCE = bytes(12)


class SlotKind(enum.IntEnum):
    """What unlocks a slot."""

    PASSWORD = 1
    RECOVERY_KEY = 2
    KEY_FILE = 3


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a slot wraps: the epoch keys, and the seed of the owner's signing key if it is an owner's."""

    epoch_keys: dict[Epoch, bytes]
    owner_seed: bytes | None


@dataclass(frozen=True, slots=True)
class Slot:
    """One wrapped copy of the secrets. ``commitment`` ties it to one key only."""

    kind: SlotKind
    slot_id: bytes
    salt: bytes
    commitment: bytes
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class SlotTable:
    """All slots of a vault, with the salt and costs that its passwords share."""

    number: int
    header_hash: bytes
    costs: Argon2Costs
    salt: bytes
    slots: tuple[Slot, ...]


# --- the table's bytes -----------------------------------------------------------------------


def encode_table(table: SlotTable, owner_seed: bytes, vault_id: VaultId) -> bytes:
    """The signed object, zero-padded to a size class; the signature stands at its end."""
    costs = table.costs
    parts = [
        _head.pack(
            _MAGIC,
            _VERSION,
            table.number,
            table.header_hash,
            costs.memory_kib,
            costs.passes,
            costs.lanes,
            table.salt,
            len(table.slots),
        )
    ]
    for slot in table.slots:
        parts.append(_slot.pack(slot.kind, slot.slot_id, slot.salt, slot.commitment, len(slot.wrapped)))
        parts.append(slot.wrapped)
    body = b"".join(parts)
    body = body.ljust(size_class(len(body) + SIGNATURE_BYTES) - SIGNATURE_BYTES, b"\0")
    return body + sign(owner_seed, _LABEL, vault_id, body)


def decode_table(data: bytes, owner_key: bytes, vault_id: VaultId, header_hash: bytes) -> SlotTable:
    """Raises Integrity for anything the owner did not write for that header; FormatTooNew."""
    if len(data) > TABLE_BYTES_MAX or not is_size_class(len(data)):
        raise Integrity("a slot table has an impossible size")
    if data[:4] == _MAGIC and data[4] > _VERSION:
        raise FormatTooNew(f"the slot table has format version {data[4]}; this is {_VERSION}")
    body, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
    verify(owner_key, signature, _LABEL, vault_id, body)
    _, _, number, named_header, memory, passes, lanes, salt, count = _head.unpack_from(body)
    costs = Argon2Costs(memory, passes, lanes)
    if named_header != header_hash or not costs.within_bounds or not number or not 1 <= count <= SLOTS_MAX:
        raise Integrity("a slot table is out of the format's bounds")
    slots = []
    place = _head.size
    try:
        for _ in range(count):
            kind, slot_id, slot_salt, commitment, length = _slot.unpack_from(body, place)
            place += _slot.size
            wrapped = body[place : place + length]
            place += length
            slots.append(Slot(SlotKind(kind), slot_id, slot_salt, commitment, wrapped))
    except (struct.error, ValueError):
        raise Integrity("a slot table is malformed") from None
    table = SlotTable(number, named_header, costs, salt, tuple(slots))
    if _canonical_body(table) != body:
        raise Integrity("a slot table is not canonical")
    return table


def _canonical_body(table: SlotTable) -> bytes:
    return encode_table(table, bytes(SEED_BYTES), VaultId(bytes(32)))[:-SIGNATURE_BYTES]


# --- wrapping --------------------------------------------------------------------------------


def _slot_context(header_hash: bytes, kind: SlotKind, slot_id: bytes) -> bytes:
    return header_hash + bytes([kind]) + slot_id


def make_slot(
    kind: SlotKind, key: bytes, secrets: Secrets, header_hash: bytes, randomness: Randomness
) -> Slot:
    """Wrap the secrets under ``key`` (stretched password, recovery key, hashed key file).

    The nonce may be zero, for the wrapping key comes from a fresh salt and is used once.
    """
    slot_id, salt = randomness(16), randomness(16)
    context = _slot_context(header_hash, kind, slot_id)
    wrapping_key = derive(key, salt, "slot wrap", context)
    wrapped = AESGCM(wrapping_key).encrypt(_ZERO_NONCE, _encode_secrets(secrets), context)
    return Slot(kind, slot_id, salt, derive(key, salt, "slot commitment", context), wrapped)


def open_slot(slot: Slot, key: bytes, header_hash: bytes) -> Secrets | None:
    """The secrets, or None if ``key`` is not the slot's. The commitment is checked before anything is
    decrypted, so that no ciphertext can be made that opens under several passwords."""
    context = _slot_context(header_hash, slot.kind, slot.slot_id)
    if not compare_digest(derive(key, slot.salt, "slot commitment", context), slot.commitment):
        return None
    if not 0 <= len(slot.wrapped) - _TAG_BYTES - _ring.size <= EPOCHS_MAX * _epoch.size:
        return None
    wrapping_key = derive(key, slot.salt, "slot wrap", context)
    try:
        return _decode_secrets(AESGCM(wrapping_key).decrypt(_ZERO_NONCE, slot.wrapped, context))
    except (InvalidTag, Integrity):
        return None


def _encode_secrets(secrets: Secrets) -> bytes:
    has_seed = secrets.owner_seed is not None
    head = _ring.pack(has_seed, secrets.owner_seed or bytes(SEED_BYTES), len(secrets.epoch_keys))
    return head + b"".join(_epoch.pack(*each) for each in sorted(secrets.epoch_keys.items()))


def _decode_secrets(data: bytes) -> Secrets:
    if len(data) < _ring.size:
        raise Integrity("a slot's content is cut short")
    has_seed, seed, count = _ring.unpack_from(data)
    if not 1 <= count <= EPOCHS_MAX or len(data) != _ring.size + count * _epoch.size:
        raise Integrity("a slot's content has a wrong length")
    keys = {Epoch(number): key for number, key in _epoch.iter_unpack(data[_ring.size :])}
    secrets = Secrets(keys, seed if has_seed else None)
    if _encode_secrets(secrets) != data or 0 in keys:
        raise Integrity("a slot's content is not canonical")
    return secrets


# --- unlocking -------------------------------------------------------------------------------


def wrong_key() -> WrongKey:
    """The one error for every way in which unlocking fails."""
    return WrongKey("wrong password or key, or the vault's key slots were tampered with")


def unlock(table: SlotTable, owner_key: bytes, keys: Callable[[SlotKind], bytes | None]) -> Secrets:
    """The secrets from the first slot that opens.

    ``keys`` gives what the user has for a kind of slot; it is asked once a kind, so that a password
    is stretched once, whatever the number of slots. Raises WrongKey.
    """
    asked: dict[SlotKind, bytes | None] = {}
    for slot in table.slots:
        if slot.kind not in asked:
            asked[slot.kind] = keys(slot.kind)
        key = asked[slot.kind]
        secrets = open_slot(slot, key, table.header_hash) if key is not None else None
        if secrets is not None:
            if secrets.owner_seed is not None and public_key_of(secrets.owner_seed) != owner_key:
                break
            return secrets
    raise wrong_key()


def password_key(password: str, table_salt: bytes, costs: Argon2Costs) -> bytes:
    """Raises WrongKey for what cannot be a password."""
    try:
        return stretch(password, table_salt, costs)
    except Invalid:
        raise wrong_key() from None


def new_table_salt(randomness: Randomness) -> bytes:
    return randomness(SALT_BYTES)
