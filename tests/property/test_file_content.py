"""The bytes of files: random writes, truncations, holes and copies, sealed and published at any moment."""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cryptdrive.config import DriveSettings
from cryptdrive.types import HandleId, InodeNumber
from cryptdrive.vfs.values import Caller, SetAttr
from tests.model.clock import ManualClock
from tests.model.content import SparseContent
from tests.property.filesystem_values import pattern
from tests.property.vault_drive import VaultDrive

CALLER = Caller()
PIB = 1 << 50
MIB = 1 << 20
# Around what the code treats specially: inline extents, tails sealed again, segments, blobs, 32 bits.
EDGES = [0, 512, 4096, 16 * 1024, 64 * 1024, 4 * MIB, 1 << 32, 3 * PIB, 1 << 62]
WHOLE_MAX = MIB

PLACES = st.builds(
    lambda edge, step: max(0, edge + step), st.sampled_from(EDGES[:5] * 3 + EDGES), st.integers(-700, 700)
)
LENGTHS = st.one_of(
    st.integers(1, 1500), st.sampled_from([511, 512, 513, 4096, 16_384, 65_536, 70_001, 700_000])
)
PICK = st.integers(0, 7)
NAMES = [b"first", b"second", b"third"]


class FileContentMachine(RuleBasedStateMachine):
    """A few files, of which some are copies of others; little may wait in memory unsealed."""

    limits = DriveSettings(dirty_mib_max=1, sealing_starts_mib=0)

    def __init__(self) -> None:
        super().__init__()
        self.drive = VaultDrive(ManualClock(), self.limits)
        self.expected: dict[bytes, SparseContent] = {}
        self.handles: dict[bytes, HandleId] = {}

    @initialize()
    def first_file(self) -> None:
        self._create(NAMES[0])

    def teardown(self) -> None:
        try:
            if self.handles:
                self.compare_everything()
                self.reopen()
                self.compare_everything()
        finally:
            self.drive.close()

    # --- helpers ---------------------------------------------------------------------

    def _create(self, name: bytes) -> None:
        fs = self.drive.fs
        self.handles[name], _ = fs.create(fs.root, name, 0o644, os.O_RDWR, CALLER)
        self.expected[name] = SparseContent()

    def _pick(self, pick: int) -> bytes:
        names = sorted(self.handles)
        return names[pick % len(names)]

    def _inode(self, name: bytes) -> InodeNumber:
        fs = self.drive.fs
        return fs.lookup(fs.root, name).inode

    def _check(self, name: bytes, offset: int, size: int) -> None:
        found = self.drive.fs.read(self.handles[name], offset, size)
        assert found == self.expected[name].read(offset, size), (name, offset, size)

    @invariant()
    def sizes_agree(self) -> None:
        for name, content in self.expected.items():
            attr = self.drive.fs.getattr(self._inode(name))
            assert attr.size == content.size

    # --- changing --------------------------------------------------------------------

    @rule(pick=PICK, offset=PLACES, seed=PICK, length=LENGTHS)
    def write(self, pick: int, offset: int, seed: int, length: int) -> None:
        name, data = self._pick(pick), pattern(seed, length)
        assert self.drive.fs.write(self.handles[name], offset, data) == length
        self.expected[name].write(offset, data)

    @rule(pick=PICK, count=st.integers(1, 9), seed=PICK, length=LENGTHS)
    def append(self, pick: int, count: int, seed: int, length: int) -> None:
        """As a log grows: pieces side by side."""
        name, content = self._pick(pick), self.expected[self._pick(pick)]
        for number in range(count):
            data = pattern(seed + number, min(length, 20_000))
            self.drive.fs.write(self.handles[name], content.size, data)
            content.write(content.size, data)

    @rule(pick=PICK, back=st.integers(0, 3000), length=st.integers(1, 3000), seed=PICK)
    def write_near_the_end(self, pick: int, back: int, length: int, seed: int) -> None:
        name = self._pick(pick)
        self.write(pick, max(0, self.expected[name].size - back), seed, length)

    @rule(pick=PICK, size=PLACES)
    def truncate(self, pick: int, size: int) -> None:
        name = self._pick(pick)
        self.drive.fs.setattr(self._inode(name), SetAttr(size=size), CALLER)
        self.expected[name].truncate(size)

    @rule(pick=PICK, back=st.integers(-3000, 3000))
    def truncate_near_the_end(self, pick: int, back: int) -> None:
        self.truncate(pick, max(0, self.expected[self._pick(pick)].size - back))

    @rule(pick=PICK, onto=st.sampled_from(NAMES))
    def clone(self, pick: int, onto: bytes) -> None:
        source, fs = self._pick(pick), self.drive.fs
        if source == onto:
            return
        if onto in self.handles:
            fs.close(self.handles[onto])
        attr = fs.clone(self._inode(source), fs.root, onto, True, CALLER)
        assert attr.size == self.expected[source].size
        self.handles[onto] = fs.open(attr.inode, os.O_RDWR, CALLER)
        self.expected[onto] = self.expected[source].copy()

    @rule(pick=PICK, onto=st.sampled_from(NAMES), length=LENGTHS)
    def upload(self, pick: int, onto: bytes, length: int) -> None:
        """A whole new file in the place of another."""
        fs, data, content = self.drive.fs, pattern(pick, length), SparseContent()
        stage = fs.stage(0o644, CALLER)
        for offset in (0, length):
            fs.write(stage, offset, data)
            content.write(offset, data)
        attr = fs.publish(stage, fs.root, onto, True, CALLER)
        if onto in self.handles:
            fs.close(self.handles[onto])
        self.handles[onto] = fs.open(attr.inode, os.O_RDWR, CALLER)
        self.expected[onto] = content

    @precondition(lambda self: len(self.handles) > 1)
    @rule(pick=PICK)
    def remove(self, pick: int) -> None:
        """While it is open it can still be read and written; then it goes with all that it held."""
        name, fs = self._pick(pick), self.drive.fs
        fs.unlink(fs.root, name, CALLER)
        handle, content = self.handles.pop(name), self.expected.pop(name)
        fs.write(handle, 100, b"unlinked")
        content.write(100, b"unlinked")
        assert fs.read(handle, 0, 2000) == content.read(0, 2000)
        fs.close(handle)

    # --- reading ---------------------------------------------------------------------

    @rule(pick=PICK, offset=PLACES, size=LENGTHS)
    def read(self, pick: int, offset: int, size: int) -> None:
        self._check(self._pick(pick), offset, size)

    @rule()
    def compare_everything(self) -> None:
        """All that was written, what is beside it, and the end."""
        for name, content in self.expected.items():
            if content.size <= WHOLE_MAX:
                self._check(name, 0, content.size + 1)
                continue
            for offset, length in content.data_ranges():
                self._check(name, max(0, offset - 100), length + 200)
            self._check(name, max(0, content.size - 5000), 10_000)

    # --- the drive -------------------------------------------------------------------

    @rule()
    def seal(self) -> None:
        self.drive.seal()

    @rule()
    def publish(self) -> None:
        self.drive.publish()

    @rule()
    def drop_caches(self) -> None:
        self.drive.drop_caches()

    @rule()
    def holes_cost_nothing(self) -> None:
        """Once all is sealed, what counts as data is what was written."""
        self.drive.publish()
        for name, content in self.expected.items():
            assert self.drive.fs.getattr(self._inode(name)).allocated <= content.allocated

    @rule()
    def reopen(self) -> None:
        self.drive.reopen()
        fs = self.drive.fs
        for name in self.handles:
            self.handles[name] = fs.open(self._inode(name), os.O_RDWR, CALLER)


def _settings(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


TestFileContent = FileContentMachine.TestCase
TestFileContent.settings = _settings(200, 40)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_file_content_for_long() -> None:
    run_state_machine_as_test(FileContentMachine, settings=_settings(2000, 100))
