"""By which words a running drive is found."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptdrive.cli.finding import drive_or_mountpoint, running_drives
from cryptdrive.cli.invocation import Invocation
from cryptdrive.control.records import RunningRecord, RuntimeFolder
from cryptdrive.errors import ConfigError

URL = "http://127.0.0.1:4918/"


@pytest.fixture
def record(tmp_path: Path) -> Iterator[RunningRecord]:
    """Of a drive that listens."""
    record = RunningRecord(
        pid=1,
        store=(tmp_path / "vault").as_uri(),
        vault_id="ab" * 32,
        read_only=False,
        mountpoint=str(tmp_path / "mount"),
        webdav_url=URL,
        log_file=None,
        started_ns=1,
    )
    folder = RuntimeFolder(Invocation().folders.runtime)
    with folder.listen(record):
        folder.add(record)
        yield record


def test_all_that_status_shows_names_a_running_drive(tmp_path: Path, record: RunningRecord) -> None:
    for text in (str(tmp_path / "vault"), record.store, str(tmp_path / "mount"), URL, URL.rstrip("/")):
        assert running_drives(Invocation(), text) == [record], text
        assert drive_or_mountpoint(Invocation(), text).store == str(tmp_path / "vault")


def test_other_urls_name_nothing(record: RunningRecord) -> None:
    for text in ("http://127.0.0.1:4919/", "https://127.0.0.1:4918/"):
        with pytest.raises(ConfigError):
            running_drives(Invocation(), text)
