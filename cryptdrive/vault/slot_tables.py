"""Slot tables in the store: the newest one counts (docs/format.md §11)."""

import logging
import re
from dataclasses import dataclass
from hashlib import sha256

from cryptdrive.crypto.slots import TABLE_BYTES_MAX, SlotTable, decode_table
from cryptdrive.errors import Integrity, ObjectNotFound
from cryptdrive.store.base import Store
from cryptdrive.types import ObjectName
from cryptdrive.vault.header import Header
from cryptdrive.vault.putting import put_once

_name = re.compile(r"keys/([0-9a-f]{8})-([0-9a-f]{32})")
_TABLES_READ_MAX = 16
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SlotTableId:
    """Which slot table: commits name the one that was in force when they were made."""

    number: int
    hash: bytes


def table_place(table: SlotTableId) -> ObjectName:
    """The object of a table that is known."""
    return ObjectName(f"keys/{table.number:08x}-{table.hash.hex()[:32]}")


def table_name(number: int, data: bytes) -> ObjectName:
    return ObjectName(f"keys/{number:08x}-{sha256(data).hexdigest()[:32]}")


def load_newest(store: Store, header: Header) -> tuple[SlotTableId, SlotTable]:
    """The table with the highest number that the owner signed for this vault.

    A newer object that is not one (a put that broke off, or junk) is reported in the log and
    passed over. That gives a store nothing it has not anyway: it could as well delete the object.
    The head commit names the table that was in force, and an older one is refused after unlocking.

    Raises Integrity where no table is left, or two were signed with one number; FormatTooNew.
    """
    # Some stores list an object twice, or for a while after it was deleted.
    found = sorted({(int(match[1], 16), info.name) for info in store.list("keys").objects
                    if (match := _name.fullmatch(info.name))}, reverse=True)  # fmt: skip
    valid: list[tuple[SlotTableId, SlotTable]] = []
    problem = Integrity("the vault has no key slots: its keys folder is empty")
    for number, name in found[:_TABLES_READ_MAX]:
        if valid and number < valid[0][0].number:
            break
        try:
            valid.append(_load(store, header, number, name))
        except ObjectNotFound:
            continue
        except Integrity as error:
            _log.warning("%s is damaged or was tampered with, and is passed over: %s", name, error)
            problem = error
    if not valid:
        raise problem
    if len(valid) > 1:
        raise Integrity(f"there are several key-slot tables with the number {valid[0][0].number}")
    return valid[0]


def _load(store: Store, header: Header, number: int, name: ObjectName) -> tuple[SlotTableId, SlotTable]:
    data = store.get(name, 0, TABLE_BYTES_MAX + 1)
    if table_name(number, data) != name:
        raise Integrity("it does not hold what its name says")
    table = decode_table(data, header.owner_key, header.vault_id, header.hash)
    if table.number != number:
        raise Integrity("it holds the slot table of another number")
    return SlotTableId(number, sha256(data).digest()), table


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
