"""What a drive needs of the store to be opened without it: header, key slots, the head commit."""

import logging

from cryptdrive.errors import CryptdriveError, Integrity
from cryptdrive.local.disk import LocalFolder, disk_errors, read_file, replace_durably
from cryptdrive.store.base import Store
from cryptdrive.store.memory import MemoryStore
from cryptdrive.types import ObjectName
from cryptdrive.vault.commits import CommitId, commit_name
from cryptdrive.vault.header import HEADER_NAME
from cryptdrive.vault.slot_tables import SlotTableId, table_place

_HEADER, _TABLE, _COMMIT = "header", "key-slots", "commit"
_log = logging.getLogger(__name__)


class VaultCopy:
    """Copies of three objects, byte for byte as the store has them, and checked as those are."""

    def __init__(self, folder: LocalFolder) -> None:
        self._folder = folder

    def update(self, store: Store, table: SlotTableId, commit: CommitId) -> None:
        """Copy what is not here yet. A failure is logged: the copy is for bad times, not for now."""
        names = {
            _HEADER: HEADER_NAME,
            _TABLE: table_place(table),
            _COMMIT: commit_name(commit),
        }
        try:
            for file, name in names.items():
                if self._name_of(file) != name:
                    self._save(file, name, store.get(name))
        except CryptdriveError as error:
            _log.info("the drive cannot be opened without its store for now: %s", error)

    def save_commit(self, commit: CommitId, data: bytes) -> None:
        """The new head. Raises DiskError, NoSpace: it must not be noted as the head before it is here."""
        self._save(_COMMIT, commit_name(commit), data)

    def store(self) -> Store | None:
        """A store that holds the copies and nothing else; None where one is missing."""
        store = MemoryStore()
        with disk_errors(self._folder, "reading the vault's copy"):
            for file in (_HEADER, _TABLE, _COMMIT):
                content = read_file(self._folder, file)
                if content is None:
                    return None
                name, _, data = content.partition(b"\n")
                try:
                    store.put(ObjectName(name.decode("ascii")), data)
                except ValueError:
                    raise Integrity(f"{self._folder.path}/{file} is damaged") from None
        return store

    def _name_of(self, file: str) -> str | None:
        content = read_file(self._folder, file)
        return content.partition(b"\n")[0].decode("ascii", "replace") if content is not None else None

    def _save(self, file: str, name: ObjectName, data: bytes) -> None:
        with disk_errors(self._folder, "keeping the vault's copy"):
            replace_durably(self._folder, file, name.encode() + b"\n" + data)
