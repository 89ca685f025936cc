"""The file system against the model: random calls, publications, lost caches and reopening in between."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.clock import ManualClock
from tests.model.posix import PosixModel
from tests.model.side_by_side import Drive, ModelDrive
from tests.property.filesystem_machine import FileSystemMachine
from tests.property.vault_drive import VaultDrive


class ModelAgainstModel(FileSystemMachine):
    """Tries the comparison itself: a model has nothing to object to another."""

    def make_drive(self, clock: ManualClock) -> Drive:
        return ModelDrive(PosixModel(clock))


class FileSystemAgainstModel(FileSystemMachine):
    """The real thing."""

    def make_drive(self, clock: ManualClock) -> Drive:
        return VaultDrive(clock)


def _settings(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


TestModelAgainstModel = ModelAgainstModel.TestCase
TestModelAgainstModel.settings = _settings(10, 40)
TestFileSystemAgainstModel = FileSystemAgainstModel.TestCase
TestFileSystemAgainstModel.settings = _settings(300, 60)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_file_system_against_model_for_long() -> None:
    run_state_machine_as_test(FileSystemAgainstModel, settings=_settings(2000, 100))
