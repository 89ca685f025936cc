"""Mounts for the tests: one for all tests of a file, and a folder of its own for each test."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.fuse_support import Mounted, mounted_at

_numbers = itertools.count(1)

FILE_SYSTEM = os.environ.get("CRYPTDRIVE_TEST_FILE_SYSTEM", "drive")


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    """A mount that the tests of one file share."""
    folder = tmp_path_factory.mktemp("fuse")
    with mounted_at(FILE_SYSTEM, folder / "mount", folder / "vault") as mounted:
        yield mounted


@pytest.fixture
def here(mount: Mounted) -> Path:
    """An empty folder on the shared mount."""
    folder = mount.path / f"test-{next(_numbers)}"
    folder.mkdir()
    return folder
