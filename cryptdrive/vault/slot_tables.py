"""Slot tables in the store: the newest one counts (docs/format.md §11)."""

import re
from dataclasses import dataclass
from hashlib import sha256

from cryptdrive.crypto.slots import TABLE_BYTES_MAX, SlotTable, decode_table
from cryptdrive.errors import FormatTooNew, Integrity
from cryptdrive.store.base import Store
from cryptdrive.types import ObjectName
from cryptdrive.vault.header import Header
from cryptdrive.vault.putting import put_once

_name = re.compile(r"keys/([0-9a-f]{8})-([0-9a-f]{32})")
_TABLES_READ_MAX = 16


@dataclass(frozen=True, slots=True)
class SlotTableId:
    """Which slot table: commits name the one that was in force when they were made."""

    number: int
    hash: bytes


def table_name(number: int, data: bytes) -> ObjectName:
    return ObjectName(f"keys/{number:08x}-{sha256(data).hexdigest()[:32]}")


def load_newest(store: Store, header: Header) -> tuple[SlotTableId, SlotTable]:
    """The table with the highest number that the owner signed for this vault.

    Raises Integrity where there is none, or where the objects contradict each other: two tables
    of one number, or one under a name that is not its own.
    """
    found = [(match[1], info) for info in store.list("keys").objects if (match := _name.fullmatch(info.name))]
    found.sort(reverse=True, key=lambda each: each[0])
    problem: Integrity | None = None
    for number_text, info in found[:_TABLES_READ_MAX]:
        try:
            if [each[0] for each in found].count(number_text) > 1:
                raise Integrity(f"there are several slot tables with the number of {info.name}")
            data = store.get(info.name, 0, TABLE_BYTES_MAX + 1)
            if table_name(int(number_text, 16), data) != info.name:
                raise Integrity(f"{info.name} does not hold what its name says")
            table = decode_table(data, header.owner_key, header.vault_id, header.hash)
            if table.number != int(number_text, 16):
                raise Integrity(f"{info.name} holds the slot table of another number")
        except FormatTooNew:
            raise
        except Integrity as error:
            problem = problem or error
            continue
        if problem is not None:
            break
        return SlotTableId(table.number, sha256(data).digest()), table
    if problem is not None:
        raise Integrity(f"the vault's key slots are damaged or were tampered with: {problem}")
    raise Integrity("the vault has no key slots: its keys folder is empty")


def put_table(store: Store, number: int, data: bytes) -> SlotTableId:
    """Write a new table. Raises Integrity if the store holds something else under its name."""
    put_once(store, table_name(number, data), data)
    return SlotTableId(number, sha256(data).digest())


def delete_older(store: Store, current: SlotTableId) -> None:
    """Remove the tables before ``current``, once a commit names it."""
    for info in store.list("keys").objects:
        match = _name.fullmatch(info.name)
        if match and int(match[1], 16) < current.number:
            store.delete(info.name)
