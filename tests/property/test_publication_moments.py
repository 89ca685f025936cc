"""A publication is of one moment: whatever goes on meanwhile, and wherever it fails."""

import os
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from cryptdrive.config import DriveSettings
from cryptdrive.errors import StoreError
from cryptdrive.store.faults import Fault
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.vfs.values import Caller, RenameFlags, SetAttr
from tests.model.content import SparseContent
from tests.property.filesystem_values import pattern
from tests.property.test_file_content import LENGTHS, PICK, PLACES, FileContentMachine

CALLER = Caller()
PARTS_MAX = 12

Contents = dict[bytes, SparseContent]


@dataclass(frozen=True)
class Deed:
    """Something done while a publication is under way."""

    kind: str
    pick: int
    offset: int
    length: int


DEEDS = st.lists(
    st.builds(
        Deed, st.sampled_from(["write", "write", "read", "grow", "rename", "remove"]), PICK, PLACES, LENGTHS
    ),
    max_size=PARTS_MAX,
)


class PublicationMachine(FileContentMachine):
    """Adds publications that are disturbed; what others see is always a state that there was."""

    limits = DriveSettings()

    def __init__(self) -> None:
        super().__init__()
        self.committed: list[Contents] = []
        """The states that the last commit may show: more than one after a publication failed."""
        self.unfinished = False
        """Whether a sealing or publication failed and goes on with the next."""

    # --- disturbed publications --------------------------------------------------------

    @rule(deeds=DEEDS)
    def publish_meanwhile(self, deeds: list[Deed]) -> None:
        """The commit shows the moment of the call, or a later one where it began with what had failed."""
        states, waiting = [self._state()], list(deeds)

        def next_deed() -> None:
            if waiting:
                self._do(waiting.pop(0))
                states.append(self._state())

        with self.drive.meanwhile(next_deed):
            self.drive.fs.sync()
        self.committed = states if self.unfinished else states[:1]
        self.unfinished = False
        self.compare_with_the_commit()
        self.compare_everything()

    @rule(deeds=DEEDS)
    def seal_meanwhile(self, deeds: list[Deed]) -> None:
        """An early sealing shows in nothing."""
        waiting = list(deeds)

        def next_deed() -> None:
            if waiting:
                self._do(waiting.pop(0))

        with self.drive.meanwhile(next_deed):
            self.drive.seal()
        self.compare_everything()

    @rule(operation=st.sampled_from(["put", "get"]), fault=st.sampled_from(Fault), early=st.booleans())
    def fail(self, operation: str, fault: Fault, early: bool) -> None:
        """Nothing is lost where the store fails; a later publication makes up for it."""
        state = self._state()
        with self.drive.failing(lambda called, name: fault if called == operation else None):
            try:
                if early:
                    self.drive.seal()
                self.drive.fs.sync()
            except StoreError:
                self.committed.append(state)
                self.unfinished = True
            else:
                self._everything_is_committed()
        self.compare_everything()

    @rule()
    def compare_with_the_commit(self) -> None:
        seen = self.drive.last_commit()
        if seen is None or not self.committed:
            return
        names = _names(seen)
        assert any(_shows(seen, names, state) for state in self.committed), "a mixture of states"

    # --- what the other rules need -------------------------------------------------------

    def publish(self) -> None:
        super().publish()
        self._everything_is_committed()

    def reopen(self) -> None:
        super().reopen()
        self._everything_is_committed()

    def holes_cost_nothing(self) -> None:
        super().holes_cost_nothing()
        self._everything_is_committed()

    def _everything_is_committed(self) -> None:
        self.unfinished = False
        self.committed = [self._state()]

    def _state(self) -> Contents:
        return {name: content.copy() for name, content in self.expected.items()}

    def _do(self, deed: Deed) -> None:
        fs, name = self.drive.fs, self._pick(deed.pick)
        content, length = self.expected[name], min(deed.length, 20_000)
        if deed.kind == "write":
            self.write(deed.pick, deed.offset, deed.pick, length)
        elif deed.kind == "read":
            self._check(name, deed.offset, length)
        elif deed.kind == "grow":
            fs.setattr(self._inode(name), SetAttr(size=content.size + length), CALLER)
            content.truncate(content.size + length)
        elif deed.kind == "rename" and b"moved" not in self.handles:
            fs.rename(fs.root, name, fs.root, b"moved", RenameFlags.NONE, CALLER)
            self.handles[b"moved"] = self.handles.pop(name)
            self.expected[b"moved"] = self.expected.pop(name)
        elif deed.kind == "remove" and len(self.handles) > 1:
            self.remove(deed.pick)


def _names(fs: FileSystem) -> list[bytes]:
    handle = fs.opendir(fs.root)
    names = sorted(entry.name for entry in fs.readdir(handle))
    fs.closedir(handle)
    return names


def _shows(fs: FileSystem, names: list[bytes], state: Contents) -> bool:
    return names == sorted(state) and all(_holds(fs, name, state[name]) for name in names)


def _holds(fs: FileSystem, name: bytes, content: SparseContent) -> bool:
    attr = fs.lookup(fs.root, name)
    if attr.size != content.size:
        return False
    handle = fs.open(attr.inode, os.O_RDONLY, CALLER)
    ranges = [(max(0, offset - 100), length + 200) for offset, length in content.data_ranges()]
    found = all(fs.read(handle, *each) == content.read(*each) for each in ranges)
    fs.close(handle)
    return found


def _settings(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


TestPublicationMoments = PublicationMachine.TestCase
TestPublicationMoments.settings = _settings(200, 40)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_publication_moments_for_long() -> None:
    run_state_machine_as_test(PublicationMachine, settings=_settings(2000, 100))


def test_pattern_has_no_zeros() -> None:
    """Else a hole could pass for it."""
    assert 0 not in pattern(3, 1000)
