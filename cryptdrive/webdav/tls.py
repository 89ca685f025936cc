"""Certificates for a server that others than this machine may reach."""

import datetime
import ipaddress
import os
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cryptdrive.errors import ConfigError
from cryptdrive.local.disk import write_durably

_DAYS = 3650


def load_or_make(folder: Path, host: str) -> tuple[Path, Path]:
    """(certificate, key) of a self-made certificate for ``host``, kept 0600 in ``folder``."""
    digest = sha256(host.encode()).hexdigest()[:16]
    certificate, key = folder / f"webdav-{digest}.crt", folder / f"webdav-{digest}.key"
    if not _belong_together(certificate, key) or _expires_soon(certificate):
        _make(certificate, key, host)
    return certificate, key


def fingerprint(certificate: Path) -> str:
    """SHA-256 as browsers show it. Raises ConfigError."""
    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{certificate} is not a certificate that can be read: {error}") from None
    text = loaded.fingerprint(hashes.SHA256()).hex().upper()
    return ":".join(text[start : start + 2] for start in range(0, len(text), 2))


def _belong_together(certificate: Path, key: Path) -> bool:
    """False where one is missing or damaged, or a crash came between writing the two."""
    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        return False
    return loaded.public_key() == private.public_key()


def _expires_soon(certificate: Path) -> bool:
    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    except ValueError:
        return True
    left = loaded.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return left < datetime.timedelta(days=30)


def _make(certificate_path: Path, key_path: Path, host: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64] or "cryptdrive")])
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        alternative = x509.DNSName(host)
    names = [alternative, x509.DNSName("localhost"), x509.DNSName(os.uname().nodename)]
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_durably(key_path, private)
    write_durably(certificate_path, certificate.public_bytes(serialization.Encoding.PEM))
