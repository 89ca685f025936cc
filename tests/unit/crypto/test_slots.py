"""Key slots: what opens them, and what never does."""

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from cryptdrive.crypto import slots
from cryptdrive.crypto.passwords import Argon2Costs, stretch
from cryptdrive.crypto.recovery import format_key, generate, parse_key
from cryptdrive.crypto.signatures import public_key_of
from cryptdrive.crypto.slots import (
    Secrets,
    SlotKind,
    SlotTable,
    decode_table,
    encode_table,
    make_slot,
    open_slot,
    unlock,
)
from cryptdrive.errors import FormatTooNew, Integrity, Invalid, WrongKey
from cryptdrive.types import Epoch, VaultId
from tests.support.keys import CHEAP

VAULT = VaultId(b"v" * 32)
HEADER = b"h" * 32
SEED = b"s" * 32
OWNER = public_key_of(SEED)
SECRETS = Secrets({Epoch(1): b"1" * 32, Epoch(2): b"2" * 32}, SEED)
KEY = b"k" * 32


def make_table(number: int = 1, costs: Argon2Costs = CHEAP) -> SlotTable:
    made = (
        make_slot(SlotKind.PASSWORD, KEY, SECRETS, HEADER, os.urandom),
        make_slot(SlotKind.RECOVERY_KEY, b"r" * 20, SECRETS, HEADER, os.urandom),
    )
    return SlotTable(number, HEADER, costs, b"salt" * 8, made)


def given(key: bytes, kind: SlotKind = SlotKind.PASSWORD) -> Callable[[SlotKind], bytes | None]:
    return lambda asked: key if asked is kind else None


def test_each_slot_opens_with_its_key_only() -> None:
    table = make_table()
    assert unlock(table, OWNER, given(KEY)) == SECRETS
    assert unlock(table, OWNER, given(b"r" * 20, SlotKind.RECOVERY_KEY)) == SECRETS
    for wrong in (b"r" * 20, b"x" * 32, b""):
        with pytest.raises(WrongKey):
            unlock(table, OWNER, given(wrong))
    with pytest.raises(WrongKey):
        unlock(table, OWNER, lambda _: None)


def test_a_table_survives_encoding_and_shows_nothing_by_its_size() -> None:
    table = make_table()
    data = encode_table(table, SEED, VAULT)
    assert decode_table(data, OWNER, VAULT, HEADER) == table
    one = replace(table, slots=table.slots[:1])
    assert len(data) == len(encode_table(one, SEED, VAULT)) == 4096


def test_no_byte_of_a_table_can_be_changed() -> None:
    data = encode_table(make_table(), SEED, VAULT)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1
        with pytest.raises((Integrity, FormatTooNew)):
            decode_table(bytes(damaged), OWNER, VAULT, HEADER)
    for wrong in (data[:-1], data + b"\0", data[:2048], b"", data * 2):
        with pytest.raises(Integrity):
            decode_table(wrong, OWNER, VAULT, HEADER)


def test_a_table_belongs_to_one_vault_header_and_owner() -> None:
    data = encode_table(make_table(), SEED, VAULT)
    for owner, vault, header in (
        (public_key_of(b"t" * 32), VAULT, HEADER),
        (OWNER, VaultId(b"w" * 32), HEADER),
        (OWNER, VAULT, b"i" * 32),
    ):
        with pytest.raises(Integrity):
            decode_table(data, owner, vault, header)


@pytest.mark.parametrize(
    "costs",
    [
        Argon2Costs(8, 1, 1), Argon2Costs(64 * 1024 - 1, 3, 4), Argon2Costs(2**32 - 1, 1, 1),
        Argon2Costs(64 * 1024, 0, 1), Argon2Costs(64 * 1024, 11, 1), Argon2Costs(64 * 1024, 1, 17),
        Argon2Costs(64 * 1024, 1, 0),
    ],
)  # fmt: skip
def test_costs_out_of_bounds_are_refused_before_deriving(costs: Argon2Costs) -> None:
    """Even the owner's signature does not help a table whose costs are out of bounds."""
    data = encode_table(make_table(costs=costs), SEED, VAULT)
    with pytest.raises(Integrity):
        decode_table(data, OWNER, VAULT, HEADER)
    with pytest.raises(Invalid):
        stretch("password", b"s" * 32, costs)


def test_every_changed_part_of_a_slot_closes_it() -> None:
    slot = make_table().slots[0]
    assert open_slot(slot, KEY, HEADER) == SECRETS
    changed = [
        replace(slot, kind=SlotKind.KEY_FILE),
        replace(slot, slot_id=bytes(16)),
        replace(slot, salt=bytes(16)),
        replace(slot, commitment=bytes(32)),
        replace(slot, wrapped=slot.wrapped[:-1] + bytes([slot.wrapped[-1] ^ 1])),
        replace(slot, wrapped=slot.wrapped[:-1]),
        replace(slot, wrapped=b""),
        replace(slot, wrapped=slot.wrapped + bytes(10_000)),
    ]
    for each in changed:
        assert open_slot(each, KEY, HEADER) is None
    assert open_slot(slot, KEY, b"i" * 32) is None


def test_a_commitment_ties_a_slot_to_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """With another key nothing is even decrypted, so no ciphertext can serve several passwords."""

    def never(*_: object) -> None:
        raise AssertionError("decrypted without the right commitment")

    slot = make_table().slots[0]
    monkeypatch.setattr(slots, "AESGCM", never)
    assert open_slot(slot, b"x" * 32, HEADER) is None


def test_an_owner_seed_that_is_not_the_owners_is_refused() -> None:
    other = Secrets(SECRETS.epoch_keys, b"t" * 32)
    slot = make_slot(SlotKind.PASSWORD, KEY, other, HEADER, os.urandom)
    table = replace(make_table(), slots=(slot,))
    with pytest.raises(WrongKey):
        unlock(table, OWNER, given(KEY))


def test_keys_are_asked_for_once_a_kind() -> None:
    asked: list[SlotKind] = []
    several = tuple(make_slot(SlotKind.PASSWORD, b"o" * 32, SECRETS, HEADER, os.urandom) for _ in range(5))

    def count(kind: SlotKind) -> bytes:
        asked.append(kind)
        return b"w" * 32

    with pytest.raises(WrongKey):
        unlock(replace(make_table(), slots=several), OWNER, count)
    assert asked == [SlotKind.PASSWORD]


def test_passwords_are_normalised_and_bounded() -> None:
    salt = b"s" * 32
    assert stretch("é", salt, CHEAP) == stretch("e\u0301", salt, CHEAP)
    assert stretch("a", salt, CHEAP) != stretch("a ", salt, CHEAP)
    for wrong in ("", "x" * 5000, "\ud800"):
        with pytest.raises(Invalid):
            stretch(wrong, salt, CHEAP)


def test_recovery_keys_are_easy_to_copy() -> None:
    for _ in range(50):
        key = generate(os.urandom)
        text = format_key(key)
        assert len(text.split("-")) == 8
        assert parse_key(text) == key
        assert parse_key(text.lower().replace("-", " ")) == key
        assert parse_key(text.replace("0", "O").replace("1", "l")) == key


def test_typing_errors_in_a_recovery_key_are_located() -> None:
    text = format_key(bytes(range(20)))
    groups = text.split("-")
    found = 0
    for place, group in enumerate(groups):
        wrong = ("A" if group[0] != "A" else "B") + group[1:]
        try:
            parse_key("-".join([*groups[:place], wrong, *groups[place + 1 :]]))
        except Invalid as error:
            found += f"group {place + 1} " in str(error)
            assert wrong not in str(error)
    assert found >= 7, "a check character misses one error in 32"
    swapped = [groups[1], groups[0], *groups[2:]]
    with pytest.raises(Invalid):
        parse_key("-".join(swapped))
    for wrong in ("", "AAAAA", text + "A", text[:-1], "*" * 47):
        with pytest.raises(Invalid):
            parse_key(wrong)
