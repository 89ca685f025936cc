"""The journal: what is appended is found again; torn tails are cut, damage is told."""

import os
import random

import pytest

from cryptdrive.crypto.keys import KeyRing
from cryptdrive.crypto.sealing import Sealer
from cryptdrive.errors import DiskError, Integrity, NoSpace
from cryptdrive.local.frames import (
    FILE_HEADER_BYTES,
    FrameKind,
    Group,
    PackChange,
    Prepared,
    decode_group,
    encode_group,
    encode_prepared,
)
from cryptdrive.local.journal import Journal, JournalEnd
from cryptdrive.local.journal_reading import JournalContent, read_journal
from cryptdrive.objects.pack import IndexEntry, Role
from cryptdrive.objects.ref import PackedRef
from cryptdrive.types import Epoch, PackId, VaultId
from cryptdrive.vault.commits import CommitId
from tests.support.disk import SimulatedDisk

SEALER = Sealer(KeyRing(VaultId(b"v" * 32), {Epoch(1): b"k" * 32}), os.urandom)
FILE_BYTES = 16 * 1024


def group(sequence: int, size: int = 100) -> Group:
    return Group(sequence, [(b"key %d" % sequence, bytes(size)), (b"gone", None)], [])


class Drive:
    """A journal on a disk, over several lives."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.error = 5
        self.disk = SimulatedDisk(self._before)
        self.open()

    def _before(self, operation: str, name: str) -> None:
        if operation in self.failures:
            self.failures.remove(operation)
            raise OSError(self.error, "failed on purpose")

    def open(self) -> JournalContent:
        self.disk.kill()
        self.folder = self.disk.top().folder("journal")
        content = read_journal(self.folder, SEALER)
        self.journal = Journal(self.folder, SEALER, os.urandom, content.end, file_bytes=FILE_BYTES)
        return content

    def append(self, *groups: Group) -> None:
        for each in groups:
            self.journal.append(FrameKind.GROUP, encode_group(each), each.sequence)

    def newest(self) -> bytearray:
        """The content of the file that is written now."""
        names = self.disk.folders["journal"].seen
        return names[max(name for name in names if len(name) == 16)].seen


def test_an_empty_journal() -> None:
    content = Drive().open()
    assert list(content.groups) == []
    assert (content.last_sequence, content.prepared, content.end) == (0, None, JournalEnd())


def test_what_was_appended_is_there_after_any_crash() -> None:
    drive = Drive()
    for sequence in range(1, 60):
        drive.append(group(sequence, sequence * 50))
        if sequence % 7 == 0:
            drive.disk.lose_power(random.Random(sequence))
            assert [each.sequence for each in drive.open().groups] == list(range(1, sequence + 1))
    assert list(drive.open().groups)[41] == group(42, 2100)
    assert len(drive.folder.names()) > 5


def test_a_large_group_takes_several_frames() -> None:
    records: list[tuple[bytes, bytes | None]] = [(b"%06d" % n, bytes(2000)) for n in range(3000)]
    entry = IndexEntry(Role.FILE_DATA, 64, 10, b"h" * 32, 7, 0)
    packs = [
        PackChange(PackId(b"p" * 16), Epoch(1), 64, 106, 0, [entry], b"x" * 42),
        PackChange(PackId(b"q" * 16), Epoch(1), 500, 500, 4096),
        PackChange(PackId(b"r" * 16), Epoch(1), 0, 700_000, 0, [entry] * 9000),
    ]
    large = Group(1, records, packs)
    bodies = encode_group(large)
    assert len(bodies) > 5
    assert decode_group(bodies) == large
    drive = Drive()
    drive.append(large, group(2))
    assert list(drive.open().groups) == [large, group(2)]


def test_a_torn_tail_is_no_damage() -> None:
    drive = Drive()
    drive.append(group(1), group(2))
    content = drive.newest()
    place = len(bytes(content).rstrip(b"\0"))
    drive.append(group(3))
    content[place + 40 : place + 60] = bytes(20)
    found = drive.open()
    assert [each.sequence for each in found.groups] == [1, 2]
    drive.append(group(3, 7))
    assert list(drive.open().groups)[2] == group(3, 7)


def test_damage_in_the_middle_is_told() -> None:
    drive = Drive()
    drive.append(group(1), group(2), group(3), group(4))
    content = drive.newest()
    second = bytes(content).index(content[16:24], FILE_HEADER_BYTES + 250)
    content[second + 30] ^= 1
    with pytest.raises(Integrity, match="damaged"):
        drive.open()


def test_damage_before_a_later_file_is_told() -> None:
    drive = Drive()
    drive.append(group(1))
    first = drive.newest()
    drive.open()
    drive.append(group(2))
    first[FILE_HEADER_BYTES + 250] ^= 1
    with pytest.raises(Integrity, match="damaged"):
        drive.open()


def test_a_file_of_another_place_or_key_is_no_journal() -> None:
    drive = Drive()
    drive.append(group(1))
    names = drive.disk.folders["journal"]
    names.set(f"{9:016x}", names.seen[f"{1:016x}"])
    with pytest.raises(Integrity):
        drive.open()
    names.set(f"{9:016x}", None)
    assert list(drive.open().groups)
    other = Sealer(KeyRing(VaultId(b"w" * 32), {Epoch(1): b"k" * 32}), os.urandom)
    with pytest.raises(Integrity):
        read_journal(drive.folder, other)


@pytest.mark.parametrize("operation", ["write", "sync", "rename", "create", "sync_folder"])
def test_after_a_failure_the_same_group_is_appended_again(operation: str) -> None:
    drive = Drive()
    drive.append(group(1))
    if operation in ("rename", "create", "sync_folder"):
        drive.open()  # only beginning a file takes those
    drive.failures.append(operation)
    with pytest.raises(DiskError, match="failed on purpose"):
        drive.append(group(2))
    drive.append(group(2), group(3))
    drive.disk.lose_power(random.Random(3))
    assert [each.sequence for each in drive.open().groups] == [1, 2, 3]


def test_a_full_disk_is_named() -> None:
    drive = Drive()
    drive.error = 28
    drive.failures.append("write")
    with pytest.raises(NoSpace):
        drive.append(group(1))


def test_what_is_on_the_store_is_let_go() -> None:
    drive = Drive()
    for sequence in range(1, 100):
        drive.append(group(sequence, 1000))
        drive.journal.trim(sequence - 1)
        assert len(drive.folder.names()) <= 4
    drive.disk.lose_power(random.Random(1))
    content = drive.open()
    assert content.last_sequence == 99
    assert list(content.groups)[-1].sequence == 99
    drive.append(group(100))
    drive.journal.trim(100)
    assert len(drive.folder.names()) <= 2


def test_the_last_prepared_commit_is_found() -> None:
    drive = Drive()
    for number in (1, 2):
        prepared = Prepared(
            number, CommitId(number, b"h" * 32), PackedRef(b"r" * 60), ((PackId(b"p" * 16), 4096),), b"data"
        )
        drive.journal.append(FrameKind.PREPARED, [encode_prepared(prepared)], number)
    assert drive.open().prepared == prepared


def test_every_changed_byte_is_noticed_or_cut() -> None:
    drive = Drive()
    drive.append(*[group(sequence, 10) for sequence in range(1, 5)])
    whole = list(drive.open().groups)
    content = drive.newest()
    for place in range(0, len(bytes(content).rstrip(b"\0")), 3):
        content[place] ^= 0x40
        try:
            found = list(drive.open().groups)
        except Integrity:
            found = []
        assert found == whole[: len(found)]
        content[place] ^= 0x40
    assert list(drive.open().groups) == whole
