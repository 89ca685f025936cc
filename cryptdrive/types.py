"""Names for the plain values that cross package borders."""

from typing import NewType

InodeNumber = NewType("InodeNumber", int)
"""Device tag (24 bits) and counter (40 bits), as one unsigned 64-bit number; never reused."""

VaultId = NewType("VaultId", bytes)
"""32 bytes: SHA-256 of the owner's public key and 32 random bytes."""

PackId = NewType("PackId", bytes)
"""16 random bytes."""

Epoch = NewType("Epoch", int)
"""Generation of the vault's keys, from 1."""

ObjectName = NewType("ObjectName", str)
"""Name of an object in a store: parts of ``[0-9a-z.-]`` joined by ``/``."""

HandleId = NewType("HandleId", int)
"""An open file or directory of one running drive."""

ROOT_INODE = InodeNumber(1)
"""The root directory of every vault (device tag 0, which no device has)."""
