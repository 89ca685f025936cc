"""The file system against the model: random calls, publications, lost caches and reopening in between."""

from hypothesis import HealthCheck, settings

from tests.model.clock import ManualClock
from tests.model.posix import PosixModel
from tests.model.side_by_side import Drive, ModelDrive
from tests.property.filesystem_machine import FileSystemMachine


class ModelAgainstModel(FileSystemMachine):
    """Tries the comparison itself: a model has nothing to object to another."""

    def make_drive(self, clock: ManualClock) -> Drive:
        return ModelDrive(PosixModel(clock))


TestModelAgainstModel = ModelAgainstModel.TestCase
TestModelAgainstModel.settings = settings(
    max_examples=20, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
