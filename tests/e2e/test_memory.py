"""A drive under a steady mixed load takes no more and more memory."""

import threading
import time
from pathlib import Path

import pytest

from benchmarks.durability import mixed_load, resident_mib
from tests.e2e.cli_support import command_line

pytestmark = pytest.mark.fuse

# Small caches are full soon: what grows after that is a leak.
SETTINGS = """[defaults.settings]
block_cache_mib = 8
node_cache_mib = 8
dirty_mib_max = 16
publish_interval_s = 3
publish_interval_max_s = 3
"""


@pytest.mark.parametrize(
    ("minutes", "growth_max"), [(0.7, 1.25), pytest.param(10, 1.1, marks=pytest.mark.slow)]
)
@pytest.mark.timeout(1200)
def test_memory_stays_as_it_is(tmp_path: Path, minutes: float, growth_max: float) -> None:
    with command_line(tmp_path) as line:
        line.create_vault()
        (tmp_path / "config/cryptdrive").mkdir(parents=True)
        (tmp_path / "config/cryptdrive/config.toml").write_text(SETTINGS)
        line.run("mount", line.vault, line.mountpoint).ok()
        pid, ended = line.status()["pid"], threading.Event()
        samples: list[float] = []

        def sample() -> None:
            while not ended.wait(0.2):
                samples.append(resident_mib(pid))

        watcher = threading.Thread(target=sample)
        watcher.start()
        start = time.monotonic()
        try:
            load = mixed_load(line, minutes)
        finally:
            ended.set()
            watcher.join()
        assert time.monotonic() - start >= minutes * 60
        assert load["operations"] > minutes * 60 * 20
        assert line.status()["publications"] > 2
        third = len(samples) // 3
        middle, last = max(samples[third : 2 * third]), max(samples[2 * third :])
        assert last <= middle * growth_max, (middle, last, samples[::5])
