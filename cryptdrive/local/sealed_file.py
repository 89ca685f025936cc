"""Small local files that nobody without the vault's key can read or change unnoticed."""

import struct
from hashlib import sha256

from cryptdrive.crypto.keys import Purpose
from cryptdrive.crypto.padding import size_class
from cryptdrive.crypto.sealing import BLOB_BYTES_MAX, Sealer, sealed_length, table_length
from cryptdrive.errors import Integrity
from cryptdrive.local.disk import LocalFolder, read_file, replace_durably
from cryptdrive.types import Epoch

_MAGIC = b"CDLF"
_head = struct.Struct(">4sII")
_inner = struct.Struct(">16sI")


class SealedFile:
    """One value in one file, mode 0600, replaced atomically and durably.

    The label is sealed with it, so that no file can stand in for another; its size is padded.
    """

    def __init__(self, folder: LocalFolder, name: str, sealer: Sealer, label: str) -> None:
        self._folder = folder
        self._name = name
        self._sealer = sealer
        self._label = label.encode("ascii").ljust(16, b"\0")
        if len(self._label) != 16:
            raise ValueError("a label has at most 16 characters")

    def load(self) -> bytes | None:
        """The value; None if there is none. Raises Integrity."""
        data = read_file(self._folder, self._name)
        if data is None:
            return None
        problem = Integrity(f"{self._folder.path}/{self._name} is damaged, or is not this vault's")
        if len(data) < _head.size:
            raise problem
        magic, epoch, length = _head.unpack_from(data)
        sealed = data[_head.size :]
        if magic != _MAGIC or length > BLOB_BYTES_MAX or len(sealed) != sealed_length(length):
            raise problem
        # No ref names this text; its tag, which needs the vault's key, is what it is trusted by.
        bound = sealed[: table_length(length)] or sealed
        try:
            text = self._sealer.open_whole(
                sealed, Purpose.LOCAL, Epoch(epoch), sha256(bound).digest(), length
            )
        except Integrity:
            raise problem from None
        label, size = _inner.unpack_from(text)
        if label != self._label or size > len(text) - _inner.size:
            raise problem
        return text[_inner.size : _inner.size + size]

    def save(self, value: bytes) -> None:
        """Durable when it returns. Raises OSError; the old value is still there then."""
        plain = _inner.pack(self._label, len(value)) + value
        plain = plain.ljust(size_class(len(plain)), b"\0")
        data = _head.pack(_MAGIC, self._sealer.epoch, len(plain)) + self._sealer.seal(plain, Purpose.LOCAL)
        replace_durably(self._folder, self._name, data)
