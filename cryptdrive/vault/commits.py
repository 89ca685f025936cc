"""Commits: sealed, signed, numbered, hash-chained (docs/format.md §13)."""

import re
import struct
from dataclasses import dataclass
from hashlib import sha256

from cryptdrive.crypto.certificates import CERTIFICATE_BYTES, open_certificate
from cryptdrive.crypto.keys import Purpose
from cryptdrive.crypto.padding import is_size_class, size_class
from cryptdrive.crypto.sealing import SALT_BYTES, TAG_BYTES, Sealer
from cryptdrive.crypto.signatures import SIGNATURE_BYTES, sign, verify
from cryptdrive.errors import FormatTooNew, Integrity
from cryptdrive.objects.ref import REF_BYTES, PackedRef, Ref
from cryptdrive.types import Epoch, ObjectName, VaultId
from cryptdrive.vault.slot_tables import SlotTableId

PARENTS_MAX = 32
MESSAGE_BYTES_MAX = 255
COMMIT_BYTES_MIN = 4 * 1024
"""The least size class, and so all of nearly every commit."""
COMMIT_BYTES_MAX = 64 * 1024

_MAGIC = b"CDCM"
_VERSION = 1
_LABEL = "commit"
_clear = struct.Struct(">4sB3xI")
_fixed = struct.Struct(">BQIIQ32sQQqB")
_parent = struct.Struct(">Q32s")
_name = re.compile(r"commits/([0-9a-f]{6})/([0-9a-f]{16})-([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class CommitId:
    """A commit's number and the SHA-256 of its object."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """A state of the vault, and how it came about.

    ``journal_sequence`` is the last entry of its device's journal that the state contains;
    ``pruned_below`` the number below which commits were deleted; ``flags`` are for later.
    """

    number: int
    parents: tuple[CommitId, ...]
    root: PackedRef | None
    epoch: Epoch
    slot_table: SlotTableId
    certificate: bytes
    journal_sequence: int
    pruned_below: int
    time_ns: int
    message: str
    flags: int = 0


def commit_folder(number: int) -> str:
    return f"commits/{number >> 10:06x}"


def commit_name(commit: CommitId) -> ObjectName:
    return ObjectName(f"{commit_folder(commit.number)}/{commit.number:016x}-{commit.hash.hex()}")


def parse_commit_name(name: str) -> CommitId | None:
    """None for a name that no commit has."""
    match = _name.fullmatch(name)
    if match is None or int(match[1], 16) != int(match[2], 16) >> 10:
        return None
    return CommitId(int(match[2], 16), bytes.fromhex(match[3]))


# --- the body --------------------------------------------------------------------------------


def _encode_body(commit: Commit) -> bytes:
    message = commit.message.encode("utf-8")
    if len(message) > MESSAGE_BYTES_MAX or len(commit.parents) > PARENTS_MAX:
        raise ValueError("a commit's message or list of parents is too long")
    if len(commit.certificate) != CERTIFICATE_BYTES:
        raise ValueError("a commit has a device certificate of fixed length")
    table = commit.slot_table
    fixed = _fixed.pack(
        _VERSION,
        commit.number,
        commit.flags,
        commit.epoch,
        table.number,
        table.hash,
        commit.journal_sequence,
        commit.pruned_below,
        commit.time_ns,
        len(commit.parents),
    )
    parents = b"".join(_parent.pack(each.number, each.hash) for each in commit.parents)
    root = b"\0" if commit.root is None else b"\1" + commit.root
    return fixed + parents + root + commit.certificate + bytes([len(message)]) + message


def _decode_body(data: bytes) -> tuple[Commit, int]:
    """The commit, and where its body ends in ``data``. Raises Integrity."""
    try:
        version, number, flags, epoch, table_number, table_hash, sequence, pruned, time_ns, count = (
            _fixed.unpack_from(data)
        )
        if version != _VERSION:
            raise FormatTooNew(f"a commit has body version {version}; this cryptdrive knows {_VERSION}")
        place = _fixed.size
        parents = []
        for _ in range(count):
            parents.append(CommitId(*_parent.unpack_from(data, place)))
            place += _parent.size
        root = None
        if data[place] == 1:
            root = PackedRef(data[place + 1 : place + 1 + REF_BYTES])
            Ref.decode(root)
            place += REF_BYTES
        certificate = data[place + 1 : place + 1 + CERTIFICATE_BYTES]
        place += 1 + CERTIFICATE_BYTES
        end = place + 1 + data[place]
        message = data[place + 1 : end].decode("utf-8")
    except (struct.error, IndexError, UnicodeDecodeError):
        raise Integrity("a commit is malformed") from None
    slot_table = SlotTableId(table_number, table_hash)
    commit = Commit(
        number, tuple(parents), root, Epoch(epoch), slot_table, certificate, sequence, pruned, time_ns,
        message, flags,
    )  # fmt: skip
    _check(commit)
    if _encode_body(commit) != data[:end]:
        raise Integrity("a commit is not canonical")
    return commit, end


def _check(commit: Commit) -> None:
    parents = commit.parents
    if len(parents) > PARENTS_MAX or len(commit.certificate) != CERTIFICATE_BYTES:
        raise Integrity("a commit is out of the format's limits")
    if commit.number != 1 + max((each.number for each in parents), default=0):
        raise Integrity(f"commit {commit.number} does not follow its parents")
    if list(parents) != sorted(set(parents), key=lambda each: (each.number, each.hash)):
        raise Integrity("a commit's parents are not in order")
    if commit.flags or not commit.epoch:
        raise Integrity("a commit is out of the format's limits")


# --- the object ------------------------------------------------------------------------------


def seal_commit(sealer: Sealer, device_seed: bytes, commit: Commit) -> tuple[CommitId, bytes]:
    """The object, and what it is called by.

    The signature covers the sealing's salt, so that one signed body has one sealed form, and
    nobody without the device's key can give a commit another name.
    """
    _check(commit)
    vault_id = sealer.keyring.vault_id
    body = _encode_body(commit)
    salt = sealer.new_salt()
    text = body + sign(device_seed, _LABEL, vault_id, salt, body)
    overhead = _clear.size + SALT_BYTES + TAG_BYTES
    text = text.ljust(size_class(len(text) + overhead) - overhead, b"\0")
    clear = _clear.pack(_MAGIC, _VERSION, sealer.epoch)
    data = clear + sealer.seal_with_salt(salt, text, Purpose.COMMIT)
    return CommitId(commit.number, sha256(data).digest()), data


def open_commit(sealer: Sealer, owner_key: bytes, expected: CommitId, data: bytes) -> Commit:
    """A commit whose every byte was written by a device that the vault's owner certified.

    Raises Integrity, FormatTooNew.
    """
    where = f"commit {expected.number}"
    if len(data) > COMMIT_BYTES_MAX or not is_size_class(len(data)):
        raise Integrity(f"{where} has an impossible size")
    if sha256(data).digest() != expected.hash:
        raise Integrity(f"{where} does not hold what its name says")
    magic, version, epoch = _clear.unpack_from(data)
    if magic == _MAGIC and version > _VERSION:
        raise FormatTooNew(f"{where} has format version {version}; this cryptdrive knows {_VERSION}")
    if data[: _clear.size] != _clear.pack(_MAGIC, _VERSION, epoch):
        raise Integrity(f"{where} is malformed")
    text = sealer.open(data[_clear.size :], Purpose.COMMIT, Epoch(epoch))
    commit, end = _decode_body(text)
    signature, padding = text[end : end + SIGNATURE_BYTES], text[end + SIGNATURE_BYTES :]
    if commit.number != expected.number or commit.epoch != epoch or padding.strip(b"\0"):
        raise Integrity(f"{where} is malformed")
    vault_id: VaultId = sealer.keyring.vault_id
    certificate = open_certificate(owner_key, vault_id, commit.certificate)
    salt = data[_clear.size : _clear.size + SALT_BYTES]
    verify(certificate.device_key, signature, _LABEL, vault_id, salt, text[:end])
    return commit
