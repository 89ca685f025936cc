"""``cryptdrive.json``: the one public object of a vault (docs/format.md §10)."""

import json
from dataclasses import dataclass
from hashlib import sha256

from cryptdrive.crypto.sealing import FORMAT_VERSION
from cryptdrive.crypto.signatures import check_public_key
from cryptdrive.errors import FormatTooNew, Integrity, NoVault, ObjectNotFound, OtherVault
from cryptdrive.store.base import Store
from cryptdrive.types import ObjectName, VaultId

HEADER_NAME = ObjectName("cryptdrive.json")
HEADER_BYTES_MAX = 64 * 1024
NONCE_BYTES = 32
_FORMAT = "cryptdrive"


@dataclass(frozen=True, slots=True)
class Header:
    """Who owns the vault; ``hash`` is the SHA-256 of the object's bytes."""

    vault_id: VaultId
    owner_key: bytes
    hash: bytes


def make_vault_id(owner_key: bytes, nonce: bytes) -> VaultId:
    return VaultId(sha256(owner_key + nonce).digest())


def encode_header(owner_key: bytes, nonce: bytes) -> bytes:
    fields = {
        "format": _FORMAT,
        "version": FORMAT_VERSION,
        "vault_id": make_vault_id(owner_key, nonce).hex(),
        "owner_public_key": owner_key.hex(),
        "nonce": nonce.hex(),
    }
    return (json.dumps(fields, indent=2) + "\n").encode("ascii")


def decode_header(data: bytes) -> Header:
    """Raises FormatTooNew, Integrity; NoVault for a file that is something else altogether."""
    if len(data) > HEADER_BYTES_MAX:
        raise Integrity(f"{HEADER_NAME} is larger than any header")
    try:
        fields = json.loads(data.decode("ascii"))
    except (ValueError, RecursionError):
        raise Integrity(f"{HEADER_NAME} is damaged: it is not valid JSON") from None
    if not isinstance(fields, dict) or fields.get("format") != _FORMAT:
        raise NoVault(f"{HEADER_NAME} is not the header of a cryptdrive vault")
    version = fields.get("version")
    if type(version) is int and version > FORMAT_VERSION:
        raise FormatTooNew(
            f"the vault has format version {version}, and this cryptdrive knows {FORMAT_VERSION}: update it"
        )
    owner_key, nonce = _hex(fields, "owner_public_key"), _hex(fields, "nonce")
    if len(nonce) != NONCE_BYTES or encode_header(owner_key, nonce) != data:
        raise Integrity(f"{HEADER_NAME} is damaged")
    check_public_key(owner_key)
    return Header(make_vault_id(owner_key, nonce), owner_key, sha256(data).digest())


def _hex(fields: dict[object, object], name: str) -> bytes:
    value = fields.get(name)
    try:
        return bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        return b""


def read_header(store: Store, expected: VaultId | None = None) -> Header:
    """The header of the vault in a store.

    Raises NoVault, OtherVault if it is not the ``expected`` one, FormatTooNew, Integrity, StoreError.
    """
    try:
        data = store.get(HEADER_NAME, 0, HEADER_BYTES_MAX + 1)
    except ObjectNotFound:
        raise _nothing_there(store.url, expected) from None
    header = decode_header(data)
    if expected is not None and header.vault_id != expected:
        raise OtherVault(
            f"the vault at {store.url} is another one than this machine knows there; nothing was changed: "
            "bring the known one back, or use another place for this one"
        )
    return header


def _nothing_there(url: str, expected: VaultId | None) -> NoVault:
    """A new vault is not the advice where one was seen before, which may only be away."""
    if expected is None:
        return NoVault(f"there is no vault at {url}; cryptdrive init creates one")
    return NoVault(f"the vault that this machine knows at {url} is not there now: is its disk plugged in?")
