"""Putting an object whose name holds its hash."""

from cryptdrive.errors import Integrity, ObjectExists, ObjectNotFound, Unavailable
from cryptdrive.store.base import Store
from cryptdrive.types import ObjectName


def put_once(store: Store, name: ObjectName, data: bytes, *, again: bool = False) -> None:
    """Put an object that nobody else can have put, so that trying again is no conflict.

    ``again``: it may be there already. Where the store cannot refuse to overwrite it is looked for
    first, for a put that breaks off might tear what was whole.

    What an earlier put that broke off has left is completed. Raises Unavailable if the store says
    that it took the object and has not got it; Integrity if it holds other bytes under that name:
    only the store can have done that.
    """
    exclusive = store.capabilities.create_if_absent
    if again and not exclusive and _is_there(store, name, data):
        return
    try:
        store.put(name, data, exclusive=exclusive)
    except ObjectExists:
        if _is_there(store, name, data):
            return
        store.put(name, data)
    if not _is_there(store, name, data):
        raise Unavailable(f"the store says that it took {name}, and has not got it")


def _is_there(store: Store, name: ObjectName, data: bytes) -> bool:
    """Whether the store holds all of an object. Raises Integrity if it holds something else."""
    try:
        found = store.get(name)
    except ObjectNotFound:
        return False
    if not data.startswith(found):
        raise Integrity(f"the store holds something else under the name {name}")
    return len(found) == len(data)
