"""A reader of whole vaults, written from docs/format.md alone: it shares no code with cryptdrive.

Slow and plain. What it reads, and the drive does not, or the other way round, is a fault in the
document or in the code. ``check`` is for what the document says must be so.
"""

import json
import struct
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PURPOSES = {"data": 1, "node": 2, "index": 3, "footer": 4, "commit": 5, "journal": 6, "local": 7}
DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class BadVaultError(Exception):
    """Something is not as the document says."""


def check(condition: bool, what: str) -> None:
    if not condition:
        raise BadVaultError(what)


# --- chapters 3 to 5 ------------------------------------------------------------------------------


def derive(secret: bytes, salt: bytes, label: str, context: bytes = b"") -> bytes:
    return HKDF(SHA256(), 32, salt, b"cryptdrive 1 " + label.encode() + b"\0" + context).derive(secret)


def sealed_length(n: int) -> int:
    segments = -(-n // 65536)
    return n + 32 if n <= 65536 else 16 + 32 * segments + 16 + n + 16 * segments


def nonce(segment: int, flag: int) -> bytes:
    return bytes(7) + struct.pack(">IB", segment, flag)


def is_size_class(n: int) -> bool:
    return any(n == base << k for base in (4096, 5120, 6144, 7168) for k in range(40))


@dataclass
class Keys:
    vault_id: bytes
    epochs: dict[int, bytes]

    def _cipher(self, purpose: str, epoch: int, salt: bytes) -> tuple[AESGCM, bytes]:
        number = bytes([PURPOSES[purpose]])
        secret = derive(self.epochs[epoch], self.vault_id, f"purpose {purpose}")
        key = derive(secret, salt, "sealing", self.vault_id + number)
        return AESGCM(key), b"\x01" + self.vault_id + number

    def open(self, purpose: str, epoch: int, sealed: bytes, n: int, expected: bytes | None) -> bytes:
        """The text of ``n`` bytes; ``expected`` is the hash that a ref has."""
        check(len(sealed) == sealed_length(n), "length of a sealing")
        cipher, ad = self._cipher(purpose, epoch, sealed[:16])
        if n <= 65536:
            check(expected in (None, sha256(sealed).digest()), "hash of a sealing")
            return cipher.decrypt(nonce(0, 1), sealed[16:], ad)
        k = -(-n // 65536)
        end = 16 + 32 * k + 16
        check(expected in (None, sha256(sealed[:end]).digest()), "hash of a segment table")
        hashes = cipher.decrypt(nonce(0, 2), sealed[16:end], ad)
        text = b""
        for i in range(k):
            size = min(65536, n - 65536 * i) + 16
            segment = sealed[end : end + size]
            end += size
            check(sha256(segment).digest() == hashes[32 * i : 32 * i + 32], "hash of a segment")
            text += cipher.decrypt(nonce(i, 1 if i == k - 1 else 0), segment, ad)
        return text


# --- chapters 10 to 12 ----------------------------------------------------------------------------


def verify(key: bytes, signature: bytes, label: str, *parts: bytes) -> None:
    message = b"cryptdrive 1 " + label.encode() + b"\0" + b"".join(parts)
    Ed25519PublicKey.from_public_bytes(key).verify(signature, message)


def recovery_key(text: str) -> bytes:
    plain = "".join(text.upper().translate(str.maketrans("OIL", "011", "-")).split())
    check(len(plain) == 40, "length of a recovery key")
    number = 0
    for i in range(8):
        group, mark = plain[5 * i : 5 * i + 4], plain[5 * i + 4]
        digest = sha256(f"cryptdrive recovery {i} {group}".encode()).digest()
        check(DIGITS[digest[0] % 32] == mark, f"group {i} of a recovery key")
        for digit in group:
            number = number * 32 + DIGITS.index(digit)
    return number.to_bytes(20, "big")


def read_header(data: bytes) -> tuple[bytes, bytes, bytes]:
    """(vault id, owner's key, header's hash)."""
    fields = json.loads(data)
    check(list(fields) == ["format", "version", "vault_id", "owner_public_key", "nonce"], "header")
    check((fields["format"], fields["version"]) == ("cryptdrive", 1), "version of the header")
    owner, salt = bytes.fromhex(fields["owner_public_key"]), bytes.fromhex(fields["nonce"])
    check(fields["vault_id"] == sha256(owner + salt).hexdigest(), "vault id")
    lines = ",\n".join(f'  "{name}": {json.dumps(value)}' for name, value in fields.items())
    check(data == ("{\n" + lines + "\n}\n").encode(), "bytes of the header")
    return bytes.fromhex(fields["vault_id"]), owner, sha256(data).digest()


@dataclass
class Table:
    number: int
    hash: bytes
    epochs: dict[int, bytes]


def open_table(
    data: bytes, name: str, vault_id: bytes, owner: bytes, header: bytes, secrets: dict[int, Any]
) -> Table:
    """``secrets``: by kind of slot, a password as text, a recovery key's 20 bytes, or a key file's bytes."""
    check(is_size_class(len(data)), "size of a slot table")
    check(name == f"{int(name[:8], 16):08x}-{sha256(data).hexdigest()[:32]}", "name of a slot table")
    verify(owner, data[-64:], "slot table", vault_id, data[:-64])
    magic, version, number, named, memory, passes, lanes, salt, count = struct.unpack_from(
        ">4sB3xI32sIII32sH", data
    )
    check((magic, version, named) == (b"CDKS", 1, header), "slot table")
    check(number == int(name[:8], 16), "number of a slot table")
    place, found = 90, None
    for _ in range(count):
        kind, slot_id, slot_salt, commitment, length = struct.unpack_from(">B16s16s32sH", data, place)
        wrapped = data[place + 67 : place + 67 + length]
        place += 67 + length
        if kind not in secrets or found is not None:
            continue
        key = secrets[kind]
        if kind == 1:
            key = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory).derive(
                unicodedata.normalize("NFC", key).encode()
            )
        elif kind == 3:
            key = sha256(b"cryptdrive 1 key file\0" + key).digest()
        context = header + bytes([kind]) + slot_id
        if derive(key, slot_salt, "slot commitment", context) == commitment:
            found = AESGCM(derive(key, slot_salt, "slot wrap", context)).decrypt(bytes(12), wrapped, context)
    check(not any(data[place:-64]), "zeros of a slot table")
    if found is None:
        raise BadVaultError("no slot opens")
    has_seed, seed, epochs = struct.unpack_from(">B32sH", found)
    if has_seed:
        check(Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw() == owner, "seed")
    rings = struct.iter_unpack(">I32s", found[35:])
    ring = dict(rings)
    check(len(ring) == epochs and 35 + 36 * epochs == len(found), "epochs of a slot")
    return Table(number, sha256(data).digest(), ring)


# --- chapter 13 -------------------------------------------------------------------------------------


@dataclass
class Commit:
    number: int
    parents: list[tuple[int, bytes]]
    root: bytes | None
    table: tuple[int, bytes]
    tag: int
    time_ns: int
    message: str


def open_commit(data: bytes, path: Path, keys: Keys, owner: bytes) -> Commit:
    number = int(path.name[:16], 16)
    check(path.parent.name == f"{number >> 10:06x}", "folder of a commit")
    check(path.name == f"{number:016x}-{sha256(data).hexdigest()}", "name of a commit")
    check(is_size_class(len(data)) and len(data) <= 65536, "size of a commit")
    magic, version, epoch = struct.unpack_from(">4sB3xI", data)
    check(data[:12] == struct.pack(">4sB3xI", b"CDCM", 1, epoch) and magic and version, "start of a commit")
    text = keys.open("commit", epoch, data[12:], len(data) - 12 - 32, None)
    version, own, flags, named_epoch, table_number = struct.unpack_from(">BQIIQ", text)
    table_hash = text[25:57]
    _sequence, _pruned, time_ns, count = struct.unpack_from(">QQqB", text, 57)
    check((version, own, flags, named_epoch) == (1, number, 0, epoch), "body of a commit")
    place = 82
    parents = []
    for _ in range(count):
        parents.append(struct.unpack_from(">Q32s", text, place))
        place += 40
    check(own == 1 + max([0, *(parent for parent, _ in parents)]), "number of a commit")
    check(parents == sorted(set(parents)), "parents of a commit")
    root = None
    if text[place]:
        root = text[place + 1 : place + 61]
        place += 60
    certificate = text[place + 1 : place + 129]
    place += 129
    message = text[place + 1 : place + 1 + text[place]].decode()
    place += 1 + text[place]
    check(not any(text[place + 64 :]), "zeros of a commit")
    verify(owner, certificate[64:], "device certificate", keys.vault_id, certificate[:64])
    check(certificate[0] == 1, "version of a certificate")
    verify(certificate[1:33], text[place : place + 64], "commit", keys.vault_id, data[12:28], text[:place])
    tag = int.from_bytes(certificate[33:36], "big")
    return Commit(number, parents, root, (table_number, table_hash), tag, time_ns, message)


# --- chapters 6 to 9 --------------------------------------------------------------------------------


@dataclass
class File:
    """A file as the map has it; ``extents`` are (offset, bytes)."""

    mode: int
    uid: int
    gid: int
    links: int
    rdev: int
    size: int
    allocated: int
    times: tuple[int, int, int, int]
    change: int
    parent: int
    target: bytes | None
    extents: list[tuple[int, bytes]] = field(default_factory=list)
    attributes: dict[bytes, bytes] = field(default_factory=dict)
    entries: dict[bytes, tuple[int, int]] = field(default_factory=dict)

    def content(self) -> bytes:
        found = bytearray(self.size)
        end = 0
        for offset, data in self.extents:
            check(offset >= end, "extents that overlap")
            end = offset + len(data)
            found[offset:end] = data
        check(sum(len(data) for _, data in self.extents) == self.allocated, "allocated bytes")
        check(len(found) == self.size, "an extent beyond the end")
        return bytes(found)


class Vault:
    """A vault in a folder, read whole, every object looked at."""

    def __init__(self, folder: Path, password: str | None = None, recovery: str | None = None) -> None:
        self.folder = folder
        vault_id, owner, header = read_header((folder / "cryptdrive.json").read_bytes())
        secrets: dict[int, Any] = {}
        if password is not None:
            secrets[1] = password
        if recovery is not None:
            secrets[2] = recovery_key(recovery)
        newest = max((folder / "keys").iterdir(), key=lambda path: path.name[:8])
        table = open_table(newest.read_bytes(), newest.name, vault_id, owner, header, secrets)
        self.keys = Keys(vault_id, table.epochs)
        self.commits = {
            (commit.number, bytes.fromhex(path.name[17:])): commit
            for path in sorted((folder / "commits").glob("*/*"))
            for commit in [open_commit(path.read_bytes(), path, self.keys, owner)]
        }
        named = {parent for commit in self.commits.values() for parent in commit.parents}
        tips = sorted(set(self.commits) - named)
        check(len(tips) == 1, "several tips")
        self.tip = self.commits[tips[0]]
        check(self.tip.table == (table.number, table.hash), "slot table of the newest commit")
        self.blobs = dict(self._packs())
        self.records = dict(self._node(self.tip.root, None, b"", None)) if self.tip.root else {}
        check(list(self.records) == sorted(self.records), "order of keys")
        history = {struct.unpack(">Q32s", key[9:]) for key in self.records if key[:9] == bytes(8) + b"\x12"}
        check(history == set(self.commits) - {tips[0]}, "history records")
        self.files = self._files()

    def _packs(self) -> Iterator[tuple[tuple[bytes, int], tuple[int, int, bytes]]]:
        """(pack, offset) → (role, length, hash), from every pack's index."""
        for path in sorted((self.folder / "packs").glob("*/*")):
            data = path.read_bytes()
            check(path.parent.name == path.name[:2] and is_size_class(len(data)), "name or size of a pack")
            check(sha256(data[:-32]).digest() == data[-32:], "checksum of a pack")
            magic, version, epoch, pack = struct.unpack_from(">4sB3xI16s4x", data)
            check((magic, version, pack.hex()) == (b"CDPK", 1, path.name), "header of a pack")
            footer = self.keys.open("footer", epoch, data[-112:-32], 48, None)
            kind, end, start, size, digest = struct.unpack(">B3xIII32s", footer)
            check(start + sealed_length(size) == len(data) - 112, "place of an index")
            index = self.keys.open("index", epoch, data[start:-112], size, digest)
            place = 32
            for role, offset, length, blob_hash, _, _ in struct.iter_unpack(">B3xII32sQQ", index):
                check(offset == place and (role == 2) == (kind == 2), "index of a pack")
                place += sealed_length(length)
                yield (pack, offset), (role, length, blob_hash)
            check(place == end, "end of the blobs")

    def blob(self, ref: bytes, role: int) -> bytes:
        pack, epoch, offset, length, digest = struct.unpack(">16sIII32s", ref)
        check(self.blobs[pack, offset] == (role, length, digest), "ref and index")
        data = (self.folder / "packs" / pack.hex()[:2] / pack.hex()).read_bytes()
        sealed = data[offset : offset + sealed_length(length)]
        return self.keys.open("node" if role == 2 else "data", epoch, sealed, length, digest)

    def _node(
        self, ref: bytes, level: int | None, low: bytes, high: bytes | None
    ) -> Iterator[tuple[bytes, bytes]]:
        page = self.blob(ref, 2)
        own, count = struct.unpack_from(">BH", page)
        check(level in (None, own), "level of a node")
        lengths = struct.unpack_from(f">{2 * count if own == 0 else count - 1}H", page, 3)
        place = 3 + 2 * len(lengths)
        parts = []
        for length in lengths:
            parts.append(page[place : place + length])
            place += length
        keys = parts[:count] if own == 0 else parts
        check(keys == sorted(set(keys)), "order in a node")
        check(all(low <= key and (high is None or key < high) for key in keys), "keys out of their place")
        if own == 0:
            check(place == len(page), "end of a leaf")
            yield from zip(keys, parts[count:], strict=True)
            return
        check(place + 60 * count == len(page), "end of a branch")
        bounds = [low, *keys, high]
        for i in range(count):
            child = page[place + 60 * i : place + 60 * i + 60]
            yield from self._node(child, own - 1, bounds[i] or b"", bounds[i + 1])

    def _files(self) -> dict[int, File]:
        files: dict[int, File] = {}
        fill: dict[int, Callable[[File, bytes, bytes], None]] = {
            2: self._entry,
            3: self._extent,
            4: self._attribute,
        }
        for key, value in self.records.items():
            number, kind = struct.unpack_from(">QB", key)
            if number and kind == 1:
                files[number] = self._inode(value)
            elif number:
                fill[kind](files[number], key[9:], value)
        return files

    def _inode(self, value: bytes) -> File:
        fields = struct.unpack_from(">BBHIIIIQQQqqqqQQ", value)
        version, tail_kind, flags, mode, uid, gid, links, rdev, size, allocated = fields[:10]
        check(version == 1 and flags <= 1, "inode")
        tail = value[struct.calcsize(">BBHIIIIQQQqqqqQQ") :]
        target = {0: lambda: None, 1: lambda: tail, 2: lambda: self.blob(tail, 4)}[tail_kind]()
        return File(
            mode, uid, gid, links, rdev, size, allocated, fields[10:14], fields[14], fields[15], target
        )  # fmt: skip

    def _entry(self, file: File, name: bytes, value: bytes) -> None:
        version, kind, number = struct.unpack(">BBQ", value)
        check(version == 1, "entry")
        file.entries[name] = (number, kind)

    def _extent(self, file: File, offset: bytes, value: bytes) -> None:
        if value[0] == 1:
            data = value[1:]
        else:
            start, length = struct.unpack(">II", value[61:])
            data = self.blob(value[1:61], 1)[start : start + length]
            check(value[0] == 2 and len(data) == length, "extent")
        file.extents.append((int.from_bytes(offset, "big"), data))

    def _attribute(self, file: File, name: bytes, value: bytes) -> None:
        file.attributes[name] = value[1:] if value[0] == 1 else self.blob(value[1:], 3)

    def walk(self, number: int = 1, path: bytes = b"") -> Iterator[tuple[bytes, int, File]]:
        """(path, inode number, file) of all that has a name, the root first."""
        file = self.files[number]
        yield path or b"/", number, file
        for name, (child, kind) in sorted(file.entries.items()):
            check(self.files[child].mode >> 12 == kind, "type in an entry")
            yield from self.walk(child, path + b"/" + name)
