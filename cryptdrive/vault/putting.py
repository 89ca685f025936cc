"""Putting an object whose name holds its hash."""

from cryptdrive.errors import Integrity, ObjectExists
from cryptdrive.store.base import Store
from cryptdrive.types import ObjectName


def put_once(store: Store, name: ObjectName, data: bytes) -> None:
    """Put an object that nobody else can have put, so that trying again is no conflict.

    What an earlier put that broke off has left is completed. Raises Integrity if the store holds
    other bytes under that name: only the store can have done that.
    """
    try:
        store.put(name, data, exclusive=store.capabilities.create_if_absent)
    except ObjectExists:
        found = store.get(name)
        if not data.startswith(found):
            raise Integrity(f"the store holds something else under the name {name}") from None
        if len(found) < len(data):
            store.put(name, data)
