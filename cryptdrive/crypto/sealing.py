"""Sealing: the one way in which plaintext becomes bytes for the store (docs/format.md §4).

A sealing starts with 16 fresh random bytes, from which its own key is derived. Nonces are
segment numbers: they may be fixed because each key is used for one sealing only, whatever
crashes, clones or restored backups do to this machine. The hash in a ref commits to the
ciphertext, because AES-GCM does not commit to its key.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cryptdrive.crypto.keys import KEY_BYTES, KeyRing, Purpose
from cryptdrive.errors import Integrity
from cryptdrive.types import Epoch

SALT_BYTES = 16
TAG_BYTES = 16
HASH_BYTES = 32
SEGMENT_BYTES = 64 * 1024
BLOB_BYTES_MAX = 4 * 1024 * 1024

FORMAT_VERSION = 1
_MORE, _FINAL, _TABLE = 0, 1, 2
_nonce = struct.Struct(">7xIB").pack

Buffer = bytes | bytearray | memoryview


def segment_count(length: int) -> int:
    """Segments of a blob with ``length`` bytes of plaintext; an empty one has one."""
    return max(1, -(-length // SEGMENT_BYTES))


def table_length(length: int) -> int:
    """Bytes from a blob's start that opening any of its segments needs first; 0 if there is one segment."""
    if length <= SEGMENT_BYTES:
        return 0
    return SALT_BYTES + segment_count(length) * HASH_BYTES + TAG_BYTES


def sealed_length(length: int) -> int:
    """Bytes of a sealed blob with ``length`` bytes of plaintext."""
    if length <= SEGMENT_BYTES:
        return SALT_BYTES + length + TAG_BYTES
    return table_length(length) + length + segment_count(length) * TAG_BYTES


def segment_place(length: int, index: int) -> tuple[int, int]:
    """Offset in the sealed blob and sealed length of segment ``index`` of a blob with a table."""
    start = index * SEGMENT_BYTES
    return (
        table_length(length) + start + index * TAG_BYTES,
        min(SEGMENT_BYTES, length - start) + TAG_BYTES,
    )


@dataclass(frozen=True, slots=True)
class SegmentTable:
    """The opened start of a large blob: its cipher and the hashes of its sealed segments."""

    cipher: AESGCM
    hashes: tuple[bytes, ...]


class Sealer:
    """Seals and opens with one vault's keys. Thread-safe."""

    def __init__(self, keyring: KeyRing, randomness: Callable[[int], bytes]) -> None:
        self.keyring = keyring
        self._randomness = randomness
        self._associated = {
            purpose: bytes([FORMAT_VERSION]) + keyring.vault_id + bytes([purpose]) for purpose in Purpose
        }
        self._info = {
            purpose: b"cryptdrive 1 sealing\0" + keyring.vault_id + bytes([purpose]) for purpose in Purpose
        }

    @property
    def epoch(self) -> Epoch:
        """The epoch that new sealings use."""
        return self.keyring.current

    def new_salt(self) -> bytes:
        """A salt for :meth:`seal_with_salt`."""
        return self._randomness(SALT_BYTES)

    def _cipher(self, salt: bytes, purpose: Purpose, epoch: Epoch) -> AESGCM:
        secret = self.keyring.purpose_key(epoch, purpose)
        return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, self._info[purpose]).derive(secret))

    def seal_into(self, out: memoryview, plaintext: Buffer, purpose: Purpose) -> bytes:
        """Seal a blob into ``out``, which is exactly ``sealed_length(len(plaintext))`` long.

        Returns the hash that its ref must carry. Raises ValueError if it is over BLOB_BYTES_MAX.
        """
        salt = self._randomness(SALT_BYTES)
        cipher = self._cipher(salt, purpose, self.epoch)
        associated = self._associated[purpose]
        out[:SALT_BYTES] = salt
        length = len(plaintext)
        if length <= SEGMENT_BYTES:
            cipher.encrypt_into(_nonce(0, _FINAL), plaintext, associated, out[SALT_BYTES:])
            return sha256(out).digest()
        if length > BLOB_BYTES_MAX:
            raise ValueError(f"a blob holds at most {BLOB_BYTES_MAX} bytes, not {length}")
        source = memoryview(plaintext)
        count = segment_count(length)
        hashes = []
        for index in range(count):
            start = index * SEGMENT_BYTES
            offset, size = segment_place(length, index)
            sealed = out[offset : offset + size]
            flag = _FINAL if index == count - 1 else _MORE
            cipher.encrypt_into(
                _nonce(index, flag), source[start : start + SEGMENT_BYTES], associated, sealed
            )
            hashes.append(sha256(sealed).digest())
        table = out[: table_length(length)]
        cipher.encrypt_into(_nonce(0, _TABLE), b"".join(hashes), associated, table[SALT_BYTES:])
        return sha256(table).digest()

    def seal(self, plaintext: Buffer, purpose: Purpose) -> bytes:
        """A blob sealed into bytes of its own."""
        out = bytearray(sealed_length(len(plaintext)))
        self.seal_into(memoryview(out), plaintext, purpose)
        return bytes(out)

    def seal_with_salt(self, salt: bytes, plaintext: bytes, purpose: Purpose) -> bytes:
        """Seal at most one segment under a salt from :meth:`new_salt`.

        For texts that sign over their own salt. The salt must be used for this one text only:
        sealing two texts under one salt would repeat a key and nonce.
        """
        if len(salt) != SALT_BYTES or len(plaintext) > SEGMENT_BYTES:
            raise ValueError("wrong salt, or more than one segment")
        cipher = self._cipher(salt, purpose, self.epoch)
        return salt + cipher.encrypt(_nonce(0, _FINAL), plaintext, self._associated[purpose])

    def open(
        self, sealed: Buffer, purpose: Purpose, epoch: Epoch, expected_hash: bytes | None = None
    ) -> bytes:
        """The plaintext of a blob of one segment.

        Without ``expected_hash`` the caller must bind the bytes in another way (a commit by its
        name and signature, local state by its place).

        Raises Integrity.
        """
        if not SALT_BYTES + TAG_BYTES <= len(sealed) <= sealed_length(SEGMENT_BYTES):
            raise Integrity("a sealed text has an impossible length")
        if expected_hash is not None and not compare_digest(sha256(sealed).digest(), expected_hash):
            raise Integrity("a blob is not the one its ref names")
        view = memoryview(sealed)
        cipher = self._cipher(bytes(view[:SALT_BYTES]), purpose, epoch)
        return self._decrypt(cipher, _nonce(0, _FINAL), view[SALT_BYTES:], purpose)

    def open_table(
        self, sealed_table: Buffer, purpose: Purpose, epoch: Epoch, expected_hash: bytes, length: int
    ) -> SegmentTable:
        """The segment table of a blob with ``length`` > SEGMENT_BYTES plaintext bytes. Raises Integrity."""
        if len(sealed_table) != table_length(length):
            raise Integrity("a blob ends before its segment table does")
        if not compare_digest(sha256(sealed_table).digest(), expected_hash):
            raise Integrity("a blob is not the one its ref names")
        view = memoryview(sealed_table)
        cipher = self._cipher(bytes(view[:SALT_BYTES]), purpose, epoch)
        text = self._decrypt(cipher, _nonce(0, _TABLE), view[SALT_BYTES:], purpose)
        hashes = tuple(text[start : start + HASH_BYTES] for start in range(0, len(text), HASH_BYTES))
        return SegmentTable(cipher, hashes)

    def open_segment(self, table: SegmentTable, index: int, sealed: Buffer, purpose: Purpose) -> bytes:
        """The plaintext of segment ``index`` of a large blob. Raises Integrity."""
        if not compare_digest(sha256(sealed).digest(), table.hashes[index]):
            raise Integrity("a segment is not the one its blob's table names")
        flag = _FINAL if index == len(table.hashes) - 1 else _MORE
        return self._decrypt(table.cipher, _nonce(index, flag), sealed, purpose)

    def open_whole(
        self, sealed: Buffer, purpose: Purpose, epoch: Epoch, expected_hash: bytes, length: int
    ) -> bytes:
        """The plaintext of a blob of any size, given all of its sealed bytes. Raises Integrity."""
        if len(sealed) != sealed_length(length):
            raise Integrity("a blob is cut short")
        if length <= SEGMENT_BYTES:
            return self.open(sealed, purpose, epoch, expected_hash)
        view = memoryview(sealed)
        table = self.open_table(view[: table_length(length)], purpose, epoch, expected_hash, length)
        parts: Sequence[bytes] = [
            self.open_segment(table, index, view[offset : offset + size], purpose)
            for index in range(segment_count(length))
            for offset, size in [segment_place(length, index)]
        ]
        return b"".join(parts)

    def _decrypt(self, cipher: AESGCM, nonce: bytes, sealed: Buffer, purpose: Purpose) -> bytes:
        # Only ever into fresh bytes: decrypt_into leaves unauthenticated plaintext behind when it raises.
        try:
            return cipher.decrypt(nonce, sealed, self._associated[purpose])
        except InvalidTag:
            raise Integrity(f"a sealed {purpose.name.lower()} does not authenticate") from None
