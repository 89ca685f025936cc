"""Ed25519 signatures (RFC 8032), each over a label and its context (docs/format.md §12)."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cryptdrive.errors import Integrity

PUBLIC_KEY_BYTES = 32
SEED_BYTES = 32
SIGNATURE_BYTES = 64

_FIELD = 2**255 - 19
# The y coordinates of the eight points of small order (RFC 7748 §6.1 and its Edwards form): under
# such a key anybody can make a "signature" that verifies for many messages.
_SMALL_ORDER_Y = frozenset(
    (
        0,
        1,
        _FIELD - 1,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    )
)


def _message(label: str, parts: tuple[bytes, ...]) -> bytes:
    return b"cryptdrive 1 " + label.encode("ascii") + b"\0" + b"".join(parts)


def public_key_of(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def check_public_key(key: bytes) -> None:
    """Refuse keys under which a signature says nothing. Raises Integrity."""
    y = int.from_bytes(key, "little") & ((1 << 255) - 1)
    if len(key) != PUBLIC_KEY_BYTES or y >= _FIELD or y in _SMALL_ORDER_Y:
        raise Integrity("a public key is malformed or of small order")


def sign(seed: bytes, label: str, *parts: bytes) -> bytes:
    """64 bytes. The parts' lengths must follow from the label and the parts before."""
    return Ed25519PrivateKey.from_private_bytes(seed).sign(_message(label, parts))


def verify(key: bytes, signature: bytes, label: str, *parts: bytes) -> None:
    """Raises Integrity."""
    check_public_key(key)
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _message(label, parts))
    except InvalidSignature:
        raise Integrity(f"the signature of a {label} does not verify") from None
