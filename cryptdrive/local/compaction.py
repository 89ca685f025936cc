"""Copying what is alive in packs that are mostly dead, before they are sent."""

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence

from cryptdrive.errors import DiskError
from cryptdrive.local.outbox import Outbox
from cryptdrive.local.packing import PackAppender
from cryptdrive.objects.ref import PackedRef, Ref
from cryptdrive.schema.keys import is_inode_key
from cryptdrive.schema.references import blob_of, entry_of, with_blob
from cryptdrive.tree.memtable import Memtable
from cryptdrive.types import PackId

Places = dict[PackedRef, list[bytes]]
"""Blobs, and the keys of the records that name each."""


Copies = dict[PackedRef, tuple[PackedRef, list[bytes]]]
"""Blobs → their copies, and the keys of the records that name them."""


def blobs_named_by(layer: Memtable) -> dict[PackId, Places]:
    """The blobs that a layer's records name, by pack."""
    found: dict[PackId, Places] = defaultdict(lambda: defaultdict(list))
    for key, value in layer.items():
        ref = blob_of(key, value) if value is not None else None
        if ref is not None:
            found[PackId(ref[:16])][ref].append(key)
    return found


def is_half_dead(blobs: Places, length: int) -> bool:
    """Whether less than half of a pack of that length is named."""
    return 2 * sum(Ref.decode(ref).sealed_length for ref in blobs) < length


def copy_half_dead(
    frozen: Memtable,
    packs: Mapping[PackId, int],
    lock: threading.Lock,
    outbox: Outbox,
    appender: PackAppender,
) -> dict[PackId, Copies]:
    """Copy, byte for byte, what ``frozen`` names in packs that are more than half dead.

    Returns the copies of each pack's blobs; nothing names them yet. ``lock`` guards the layers.
    Raises DiskError, NoSpace; what was copied by then is dead itself.
    """
    with lock:
        named = blobs_named_by(frozen)
    copies: dict[PackId, Copies] = {}
    for pack, blobs in named.items():
        length = packs.get(pack)
        if length is None or not is_half_dead(blobs, length):
            continue
        # Inodes, with their links' targets, are also in memory outside of the layers.
        if not any(is_inode_key(key) for keys in blobs.values() for key in keys):
            copies[pack] = {
                ref: (_copy(frozen, keys, ref, lock, outbox, appender), keys) for ref, keys in blobs.items()
            }
    return copies


def name_copies(frozen: Memtable, newer: Sequence[Memtable], copies: Mapping[PackId, Copies]) -> None:
    """Let ``frozen`` name the copies instead; under the lock of the layers.

    Not of packs that a newer layer names too: its records would have to be saved again.
    """
    kept = {pack for layer in newer for pack in blobs_named_by(layer)}
    for pack in copies.keys() - kept:
        for ref, (copy, keys) in copies[pack].items():
            for key in keys:
                value = frozen.get(key)
                if isinstance(value, bytes) and blob_of(key, value) == ref:
                    frozen.put(key, with_blob(value, copy))


def _copy(
    frozen: Memtable,
    keys: Sequence[bytes],
    ref: PackedRef,
    lock: threading.Lock,
    outbox: Outbox,
    appender: PackAppender,
) -> PackedRef:
    blob = Ref.decode(ref)
    sealed = outbox.read(blob.pack, blob.offset, blob.sealed_length)
    if sealed is None or len(sealed) != blob.sealed_length:
        raise DiskError(f"pack {blob.pack.hex()} is missing on this machine, and not on the store")
    with lock:
        value = frozen.get(keys[0])
    assert isinstance(value, bytes)
    return appender.add_sealed(sealed, blob, *entry_of(keys[0], value)).encode()
