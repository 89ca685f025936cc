"""This device's identity and its last verified head, kept sealed in the drive's state folder."""

import os
import struct
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptdrive.crypto.sealing import Sealer
from cryptdrive.errors import Integrity
from cryptdrive.local.disk import LocalFolder, RealFolder, disk_errors
from cryptdrive.local.sealed_file import SealedFile
from cryptdrive.types import VaultId

_device = struct.Struct(">B32s3s16s32sQH")
_head = struct.Struct(">BQ32sQ")
_VERSION, _HEAD_VERSION = 1, 2
_head_of_version_1 = struct.Struct(">BQ32s")
_MACHINE_ID_FILES = ("/etc/machine-id", "/var/lib/dbus/machine-id")


@dataclass(frozen=True, slots=True)
class Device:
    """One installation: the seed of its signing key, its tag, and its certificate."""

    seed: bytes
    tag: int
    member: bytes
    certificate: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """The last commit that this device has verified and works from.

    ``journal_sequence`` is the last group of this device's journal that is on the store.
    """

    number: int
    hash: bytes
    journal_sequence: int = 0


class DeviceState:
    """The files in which a drive keeps its device and head.

    State that finds itself copied (on another machine, or in another folder than it was made in)
    is not used: two devices with one tag would give one inode number twice.
    """

    def __init__(self, folder: LocalFolder, sealer: Sealer) -> None:
        self._folder = folder
        self._device = SealedFile(folder, "device", sealer, "device")
        self._head = SealedFile(folder, "head", sealer, "head")

    def load_device(self) -> Device | None:
        """None if there is none, or it was made elsewhere. Raises Integrity."""
        data = self._device.load()
        if data is None:
            return None
        if len(data) < _device.size:
            raise Integrity(f"{self._folder.path}/device is damaged")
        version, seed, tag, member, machine, folder_inode, length = _device.unpack_from(data)
        if version != _VERSION or len(data) != _device.size + length:
            raise Integrity(f"{self._folder.path}/device is damaged, or was written by a newer version")
        if machine != _machine_id() or folder_inode != _inode_of(self._folder):
            return None
        return Device(seed, int.from_bytes(tag, "big"), member, data[_device.size :])

    def save_device(self, device: Device) -> None:
        folder_inode = _inode_of(self._folder)
        head = _device.pack(
            _VERSION,
            device.seed,
            device.tag.to_bytes(3, "big"),
            device.member,
            _machine_id(),
            folder_inode,
            len(device.certificate),
        )
        self._device.save(head + device.certificate)

    def load_head(self) -> Head | None:
        """Raises Integrity."""
        data = self._head.load()
        if data is None:
            return None
        if len(data) == _head_of_version_1.size and data[0] == 1:
            return Head(*_head_of_version_1.unpack(data)[1:])
        if len(data) != _head.size or data[0] != _HEAD_VERSION:
            raise Integrity(f"{self._folder.path}/head is damaged, or was written by a newer version")
        return Head(*_head.unpack(data)[1:])

    def save_head(self, head: Head) -> None:
        """Raises DiskError, NoSpace."""
        with disk_errors(self._folder, "keeping the head"):
            self._head.save(_head.pack(_HEAD_VERSION, head.number, head.hash, head.journal_sequence))


def state_folder(state: Path, vault_id: VaultId) -> Path:
    """A vault's folder on this machine, made if it is not there; mode 0700."""
    folder = state / "drives" / vault_id.hex()[:32]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Also of folders that are there: who made them may have died before they were on disk.
    for above in (folder.parent, folder.parent.parent, folder.parent.parent.parent):
        RealFolder(above).sync()
    return folder


def _inode_of(folder: LocalFolder) -> int:
    """Tells a folder from its copies on the same machine."""
    return folder.path.stat().st_ino if folder.path is not None else 0


def _machine_id() -> bytes:
    """Tells machines apart; hashed, for the id itself should not lie in other places than its own."""
    for path in _MACHINE_ID_FILES:
        try:
            return sha256(b"cryptdrive machine\0" + Path(path).read_bytes().strip()).digest()
        except OSError:
            continue
    return sha256(b"cryptdrive machine\0" + os.uname().nodename.encode()).digest()
