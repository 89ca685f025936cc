"""Device certificates: the owner's word that a device writes for the vault (docs/format.md §12)."""

import struct
from dataclasses import dataclass

from cryptdrive.crypto.signatures import SIGNATURE_BYTES, check_public_key, sign, verify
from cryptdrive.errors import Integrity
from cryptdrive.types import Epoch, VaultId

_body = struct.Struct(">B32s3s16sIq")
CERTIFICATE_BYTES = _body.size + SIGNATURE_BYTES
MEMBER_BYTES = 16

_VERSION = 1
_LABEL = "device certificate"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A device's public key and tag, the member it belongs to, from which epoch on, when issued."""

    device_key: bytes
    tag: int
    member: bytes
    epoch: Epoch
    issued_ns: int


def issue(owner_seed: bytes, vault_id: VaultId, certificate: Certificate) -> bytes:
    """The certificate, signed by the vault's owner."""
    body = _body.pack(
        _VERSION,
        certificate.device_key,
        certificate.tag.to_bytes(3, "big"),
        certificate.member,
        certificate.epoch,
        certificate.issued_ns,
    )
    return body + sign(owner_seed, _LABEL, vault_id, body)


def open_certificate(owner_key: bytes, vault_id: VaultId, data: bytes) -> Certificate:
    """Raises Integrity unless the owner of that very vault signed it."""
    if len(data) != CERTIFICATE_BYTES:
        raise Integrity("a device certificate has a wrong length")
    body, signature = data[: _body.size], data[_body.size :]
    verify(owner_key, signature, _LABEL, vault_id, body)
    version, device_key, tag, member, epoch, issued_ns = _body.unpack(body)
    certificate = Certificate(device_key, int.from_bytes(tag, "big"), member, Epoch(epoch), issued_ns)
    if version != _VERSION or not certificate.tag or not epoch:
        raise Integrity("a device certificate is not valid")
    check_public_key(device_key)
    return certificate
