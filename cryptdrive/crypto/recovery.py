"""Recovery keys: 160 random bits as text that can be copied by hand (docs/format.md §11)."""

from hashlib import sha256

from cryptdrive.clock import Randomness
from cryptdrive.errors import Invalid

KEY_BYTES = 20
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_GROUPS = 8
_CHARACTERS = 4
_LOOKALIKES = str.maketrans("OIL", "011", " -\t\r\n")


def generate(randomness: Randomness) -> bytes:
    return randomness(KEY_BYTES)


def format_key(key: bytes) -> str:
    """Eight groups of five: four characters of Crockford's base 32, and one that checks them."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a recovery key has {KEY_BYTES} bytes")
    number = int.from_bytes(key, "big")
    text = ""
    for _ in range(_GROUPS * _CHARACTERS):
        number, digit = divmod(number, 32)
        text = _ALPHABET[digit] + text
    groups = [text[start : start + _CHARACTERS] for start in range(0, len(text), _CHARACTERS)]
    return "-".join(group + _check(place, group) for place, group in enumerate(groups))


def parse_key(text: str) -> bytes:
    """The key. Case, spaces and dashes do not matter; O reads as 0, I and L as 1.

    Raises Invalid, which names the group that was copied wrongly and never what it holds.
    """
    plain = text.upper().translate(_LOOKALIKES)
    size = _CHARACTERS + 1
    if len(plain) != _GROUPS * size:
        raise Invalid(
            f"a recovery key has {_GROUPS} groups of {size} characters; this has {len(plain)} characters"
        )
    number = 0
    for place in range(_GROUPS):
        group, check = plain[place * size :][:_CHARACTERS], plain[place * size + _CHARACTERS]
        if any(character not in _ALPHABET for character in group) or _check(place, group) != check:
            raise Invalid(f"group {place + 1} of the recovery key is copied wrongly")
        for character in group:
            number = number * 32 + _ALPHABET.index(character)
    return number.to_bytes(KEY_BYTES, "big")


def _check(place: int, group: str) -> str:
    """Depends on the group's place, so that two groups swapped are found too."""
    return _ALPHABET[sha256(b"cryptdrive recovery %d " % place + group.encode("ascii")).digest()[0] % 32]
