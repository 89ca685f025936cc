"""Signatures and certificates."""

import pytest

from cryptdrive.crypto.certificates import Certificate, issue, open_certificate
from cryptdrive.crypto.signatures import _FIELD, _SMALL_ORDER_Y, check_public_key, public_key_of, sign, verify
from cryptdrive.errors import Integrity
from cryptdrive.types import Epoch, VaultId

SEED, VAULT = b"s" * 32, VaultId(b"v" * 32)
_D = -121665 * pow(121666, -1, _FIELD) % _FIELD


def add(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int]:
    """Addition on edwards25519 (RFC 8032 §5.1)."""
    (x1, y1), (x2, y2) = first, second
    product = _D * x1 * x2 * y1 * y2 % _FIELD
    return (
        (x1 * y2 + y1 * x2) * pow(1 + product, -1, _FIELD) % _FIELD,
        (y1 * y2 + x1 * x2) * pow(1 - product, -1, _FIELD) % _FIELD,
    )


def square_root(value: int) -> int:
    root = pow(value, (_FIELD + 3) // 8, _FIELD)
    if root * root % _FIELD != value:
        root = root * pow(2, (_FIELD - 1) // 4, _FIELD) % _FIELD
    assert root * root % _FIELD == value, "not on the curve"
    return root


@pytest.mark.parametrize("y", sorted(_SMALL_ORDER_Y))
def test_the_refused_points_have_small_order(y: int) -> None:
    x = square_root((y * y - 1) * pow(_D * y * y + 1, -1, _FIELD) % _FIELD)
    point = (x, y)
    for _ in range(3):
        point = add(point, point)
    assert point == (0, 1)
    for sign_bit in (0, 1 << 255):
        with pytest.raises(Integrity):
            check_public_key((y | sign_bit).to_bytes(32, "little"))


def test_all_points_of_small_order_are_refused() -> None:
    """There are eight, with five different y."""
    assert len(_SMALL_ORDER_Y) == 5


def test_keys_that_are_not_canonical_are_refused() -> None:
    for wrong in (_FIELD.to_bytes(32, "little"), (_FIELD + 5).to_bytes(32, "little"), b"", b"k" * 31):
        with pytest.raises(Integrity):
            check_public_key(wrong)


def test_a_signature_is_for_one_label_text_and_key() -> None:
    key = public_key_of(SEED)
    signature = sign(SEED, "label", b"text")
    verify(key, signature, "label", b"text")
    for other_key, other_signature, label, text in (
        (public_key_of(b"t" * 32), signature, "label", b"text"),
        (key, signature, "other", b"text"),
        (key, signature, "label", b"texT"),
        (key, bytes(64), "label", b"text"),
        (key, signature[:-1], "label", b"text"),
    ):
        with pytest.raises(Integrity):
            verify(other_key, other_signature, label, text)


def test_certificates_are_of_one_owner_and_vault() -> None:
    certificate = Certificate(public_key_of(b"d" * 32), 0xABCDEF, bytes(16), Epoch(1), 1_700_000_000)
    data = issue(SEED, VAULT, certificate)
    owner = public_key_of(SEED)
    assert open_certificate(owner, VAULT, data) == certificate
    with pytest.raises(Integrity):
        open_certificate(public_key_of(b"x" * 32), VAULT, data)
    with pytest.raises(Integrity):
        open_certificate(owner, VaultId(b"w" * 32), data)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1
        with pytest.raises(Integrity):
            open_certificate(owner, VAULT, bytes(damaged))


def test_a_certificate_for_a_bad_device_key_is_refused() -> None:
    certificate = Certificate(bytes(32), 1, bytes(16), Epoch(1), 0)
    with pytest.raises(Integrity):
        open_certificate(public_key_of(SEED), VAULT, issue(SEED, VAULT, certificate))
