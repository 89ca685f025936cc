"""From a password to a key: Argon2id (RFC 9106)."""

import unicodedata
from dataclasses import dataclass

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from cryptdrive.errors import Invalid

SALT_BYTES = 32
STRETCHED_BYTES = 32
PASSWORD_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Argon2Costs:
    """How dear one password try is: 0.6 s and 256 MiB with the defaults, on two cores."""

    memory_kib: int = 256 * 1024
    passes: int = 3
    lanes: int = 4

    @property
    def within_bounds(self) -> bool:
        """Whether a vault may ask for them. Fixed, so that whoever writes to the store can neither
        make tries cheap nor make the reader run out of memory."""
        return (
            64 * 1024 <= self.memory_kib <= 1024 * 1024 and 1 <= self.passes <= 10 and 1 <= self.lanes <= 16
        )


def stretch(password: str, salt: bytes, costs: Argon2Costs) -> bytes:
    """32 bytes from a password, in Unicode's NFC, as UTF-8. Raises Invalid."""
    if not costs.within_bounds or len(salt) != SALT_BYTES:
        raise Invalid("the costs of stretching a password are out of bounds")
    try:
        text = unicodedata.normalize("NFC", password).encode("utf-8")
    except UnicodeEncodeError:
        raise Invalid("the password is not valid Unicode") from None
    if not 1 <= len(text) <= PASSWORD_BYTES_MAX:
        raise Invalid(f"a password has 1 to {PASSWORD_BYTES_MAX} bytes")
    return Argon2id(
        salt=salt,
        length=STRETCHED_BYTES,
        iterations=costs.passes,
        lanes=costs.lanes,
        memory_cost=costs.memory_kib,
    ).derive(text)
