"""The command line in this process, with all its folders in a temporary one."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cryptdrive.cli import main


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees this machine's configuration or variables."""
    for variable in ("STATE_HOME", "CACHE_HOME", "CONFIG_HOME", "DATA_HOME"):
        monkeypatch.setenv(f"XDG_{variable}", str(tmp_path / "xdg" / variable.lower()))
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def quiet_logging() -> Iterator[None]:
    """Take away what the program has set up for its messages; the tests' own handlers come back."""
    root, ours = logging.getLogger(), logging.getLogger("cryptdrive")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.fixture
def run(quiet_logging: None, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the program: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main.run([str(each) for each in arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return call
