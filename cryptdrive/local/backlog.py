"""What waits on this machine to be sent to the store."""

from cryptdrive.errors import CryptdriveError
from cryptdrive.local.journal import Journal
from cryptdrive.local.outbox import Outbox
from cryptdrive.local.packing import PackAppender
from cryptdrive.local.publisher import Publisher
from cryptdrive.local.sending import PackSender
from cryptdrive.local.working_map import WorkingMap
from cryptdrive.schema.keys import is_inode_key


class Backlog:
    """Plain numbers, for back-pressure and for people."""

    def __init__(
        self,
        working_map: WorkingMap,
        appender: PackAppender,
        outbox: Outbox,
        journal: Journal,
        publisher: Publisher,
        sender: PackSender,
    ) -> None:
        self._appender = appender
        self._map = working_map
        self._outbox = outbox
        self._journal = journal
        self._publisher = publisher
        self._sender = sender

    @property
    def kept_bytes(self) -> int:
        """Bytes on the local disk of what is not published: packs, and the journal."""
        return self._outbox.waiting_bytes + self._journal.byte_size

    @property
    def waiting_bytes(self) -> int:
        """Bytes of file data that are sealed and not on the store."""
        return self._outbox.waiting_bytes + self._appender.open_bytes

    @property
    def waiting_files(self) -> int:
        """Files and folders that are changed and not on the store."""
        with self._map.lock:
            layers = [layer.keys() for layer in self._map.layers]
        return len({key for keys in layers for key in keys if is_inode_key(key)})

    @property
    def unsent_bytes(self) -> int:
        """Bytes of complete packs that no publication under way takes along."""
        return self._outbox.waiting_bytes - sum(length for _, length in self._publisher.pending_packs)

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory that unpublished records take, about."""
        return sum(layer.byte_size for layer in self._map.layers)

    @property
    def sent_bytes(self) -> int:
        """Bytes that the store has confirmed since the drive was opened."""
        return self._sender.sent_bytes

    @property
    def send_rate(self) -> float:
        """Bytes a second that it confirms of late."""
        return self._sender.rate

    @property
    def failure(self) -> CryptdriveError | None:
        """Why nothing could be sent the last time; None if it could."""
        return self._publisher.last_error

    def free_bytes(self) -> int:
        """Bytes that may still be written on the local disk. Raises OSError."""
        return self._outbox.free_bytes()
