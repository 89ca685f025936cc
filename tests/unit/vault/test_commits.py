"""Headers, commits and tips."""

import json
import os
from dataclasses import replace

import pytest

from cryptdrive.crypto.certificates import Certificate, issue
from cryptdrive.crypto.keys import KeyRing, Purpose
from cryptdrive.crypto.padding import is_size_class
from cryptdrive.crypto.sealing import Sealer
from cryptdrive.crypto.signatures import public_key_of
from cryptdrive.errors import FormatTooNew, Integrity, NoVault, OtherVault
from cryptdrive.objects.ref import PackedRef
from cryptdrive.store.memory import MemoryStore
from cryptdrive.types import Epoch, ObjectName, VaultId
from cryptdrive.vault.commits import (
    Commit,
    CommitId,
    commit_name,
    open_commit,
    parse_commit_name,
    seal_commit,
)
from cryptdrive.vault.header import HEADER_NAME, decode_header, encode_header, read_header
from cryptdrive.vault.heads import find_tips
from cryptdrive.vault.slot_tables import SlotTableId

OWNER_SEED, DEVICE_SEED = b"o" * 32, b"d" * 32
OWNER = public_key_of(OWNER_SEED)
VAULT = VaultId(b"v" * 32)
CERTIFICATE = issue(OWNER_SEED, VAULT, Certificate(public_key_of(DEVICE_SEED), 7, bytes(16), Epoch(1), 1_000))


def make_sealer(vault: VaultId = VAULT) -> Sealer:
    return Sealer(KeyRing(vault, {Epoch(1): b"k" * 32}), os.urandom)


def make_commit(number: int = 1, parents: tuple[CommitId, ...] = ()) -> Commit:
    root = PackedRef(b"p" * 16 + (1).to_bytes(4, "big") + bytes(8) + b"h" * 32)
    return Commit(
        number, parents, root, Epoch(1), SlotTableId(1, b"t" * 32), CERTIFICATE, 0, 0, 123_456, "täglich"
    )


def test_a_commit_comes_back() -> None:
    sealer = make_sealer()
    parent = CommitId(4, b"q" * 32)
    for commit in (make_commit(), make_commit(5, (parent,)), replace(make_commit(), root=None, message="")):
        name, data = seal_commit(sealer, DEVICE_SEED, commit)
        assert is_size_class(len(data))
        assert parse_commit_name(commit_name(name)) == name
        assert open_commit(sealer, OWNER, name, data) == commit


def test_no_byte_of_a_commit_can_be_changed() -> None:
    sealer = make_sealer()
    name, data = seal_commit(sealer, DEVICE_SEED, make_commit())
    for place in range(0, len(data), 3):
        damaged = bytearray(data)
        damaged[place] ^= 4
        with pytest.raises(Integrity):
            open_commit(sealer, OWNER, name, bytes(damaged))
        # The store may give it the name that fits, but not a tag or a signature.
        import hashlib

        renamed = CommitId(name.number, hashlib.sha256(damaged).digest())
        with pytest.raises((Integrity, FormatTooNew)):
            open_commit(sealer, OWNER, renamed, bytes(damaged))


def test_a_commit_is_of_one_vault_number_owner_and_device() -> None:
    sealer = make_sealer()
    name, data = seal_commit(sealer, DEVICE_SEED, make_commit())
    with pytest.raises(Integrity):
        open_commit(make_sealer(VaultId(b"w" * 32)), OWNER, name, data)
    with pytest.raises(Integrity):
        open_commit(sealer, public_key_of(b"x" * 32), name, data)
    with pytest.raises(Integrity):
        open_commit(sealer, OWNER, CommitId(2, name.hash), data)
    # Sealed with the right keys, by somebody who is not the certified device: a member, say.
    forged, forged_data = seal_commit(sealer, b"e" * 32, make_commit())
    with pytest.raises(Integrity):
        open_commit(sealer, OWNER, forged, forged_data)


def test_a_signature_cannot_be_sealed_again() -> None:
    """The signature covers the salt: nobody without the device's key can make a second form of a commit."""
    sealer = make_sealer()
    _, data = seal_commit(sealer, DEVICE_SEED, make_commit())
    text = sealer.open(data[12:], Purpose.COMMIT, Epoch(1))
    import hashlib

    again = data[:12] + sealer.seal_with_salt(sealer.new_salt(), text, Purpose.COMMIT)
    with pytest.raises(Integrity):
        open_commit(sealer, OWNER, CommitId(1, hashlib.sha256(again).digest()), again)


def test_commits_that_cannot_be_are_not_even_made() -> None:
    sealer = make_sealer()
    low, high = CommitId(3, b"a" * 32), CommitId(4, b"b" * 32)
    for wrong in (
        make_commit(2),
        make_commit(6, (high,)),
        make_commit(5, (high, low)),
        make_commit(5, (high, high)),
        replace(make_commit(), flags=1),
    ):
        with pytest.raises(Integrity):
            seal_commit(sealer, DEVICE_SEED, wrong)


def test_a_newer_commit_version_is_named() -> None:
    sealer = make_sealer()
    _, data = seal_commit(sealer, DEVICE_SEED, make_commit())
    import hashlib

    newer = data[:4] + b"\x02" + data[5:]
    with pytest.raises(FormatTooNew):
        open_commit(sealer, OWNER, CommitId(1, hashlib.sha256(newer).digest()), newer)


def put_chain(store: MemoryStore, sealer: Sealer, length: int) -> list[CommitId]:
    made: list[CommitId] = []
    for number in range(1, length + 1):
        commit = make_commit(number, (made[-1],) if made else ())
        name, data = seal_commit(sealer, DEVICE_SEED, commit)
        store.put(commit_name(name), data)
        made.append(name)
    return made


def test_the_tip_is_found_and_forks_are_shown() -> None:
    store, sealer = MemoryStore(), make_sealer()
    with pytest.raises(NoVault):
        find_tips(store, sealer, OWNER)
    made = put_chain(store, sealer, 5)
    assert [tip.id for tip in find_tips(store, sealer, OWNER)] == [made[-1]]
    name, data = seal_commit(sealer, DEVICE_SEED, replace(make_commit(5, (made[3],)), message="other"))
    store.put(commit_name(name), data)
    assert {tip.id for tip in find_tips(store, sealer, OWNER)} == {made[-1], name}


def test_listings_are_few_whatever_the_history() -> None:
    store, sealer = MemoryStore(), make_sealer()
    made = put_chain(store, sealer, 3)
    far = make_commit(1025, (CommitId(1024, b"x" * 32),))
    name, data = seal_commit(sealer, DEVICE_SEED, far)
    store.put(commit_name(name), data)
    calls: list[str] = []
    original = store.list
    store.list = lambda folder: (calls.append(folder), original(folder))[1]  # type: ignore[method-assign,func-returns-value]
    assert [tip.id for tip in find_tips(store, sealer, OWNER)] == [name]
    assert len(calls) <= 3
    assert made


def test_junk_among_the_commits_is_reported() -> None:
    sealer = make_sealer()
    for junk in ("commits/000000/junk", "commits/000000/0000000000000009-" + "0" * 64):
        store = MemoryStore()
        put_chain(store, sealer, 2)
        store.put(ObjectName(junk), b"junk" * 1024)
        with pytest.raises(Integrity):
            find_tips(store, sealer, OWNER)


def test_headers() -> None:
    data = encode_header(OWNER, b"n" * 32)
    header = decode_header(data)
    assert header.owner_key == OWNER
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1
        with pytest.raises((Integrity, NoVault, FormatTooNew)):
            decode_header(bytes(damaged))
    newer = json.loads(data)
    newer["version"] = 2
    with pytest.raises(FormatTooNew):
        decode_header(json.dumps(newer).encode())
    with pytest.raises(NoVault):
        decode_header(b'{"format": "something else"}')
    for wrong in (b"", b"[" * 100_000, b"\xff", b"x" * 70_000, b"[]"):
        with pytest.raises((Integrity, NoVault)):
            decode_header(wrong)


def test_a_header_of_another_vault_is_noticed() -> None:
    store = MemoryStore()
    with pytest.raises(NoVault):
        read_header(store)
    store.put(HEADER_NAME, encode_header(OWNER, b"n" * 32))
    found = read_header(store)
    assert read_header(store, found.vault_id) == found
    with pytest.raises(OtherVault):
        read_header(store, VaultId(bytes(32)))
