"""What status says of a drive, to people and to programs."""

from typing import Any

import pytest

from cryptdrive.cli.commands.status import _show
from cryptdrive.cli.sending import what_waits

WAITING: dict[str, Any] = {
    "changed_records": 3,
    "waiting_bytes": 3 << 20,
    "waiting_files": 2,
    "bytes_per_s": float(1 << 20),
    "seconds_left": 3.0,
    "retry_in_s": None,
    "errors": [],
}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "2 files and folders (3.0 MiB) to be sent, 1.0 MiB/s, about 3 s left"),
        ({"waiting_files": 1}, "1 file or folder (3.0 MiB) to be sent, 1.0 MiB/s, about 3 s left"),
        ({"retry_in_s": 9.0}, "2 files and folders (3.0 MiB) to be sent, tried again in 9 s"),
        ({"errors": ["full"]}, "2 files and folders (3.0 MiB) to be sent"),
        ({"changed_records": 0, "waiting_bytes": 0}, "everything is on the store"),
    ],
)
def test_what_waits(changes: dict[str, Any], text: str) -> None:
    assert what_waits({**WAITING, **changes}) == text


def test_programs_get_one_line_for_each_value(capsys: pytest.CaptureFixture[str]) -> None:
    error = "no answer from " + "a long name " * 20 + "/end"
    _show(
        {
            "state": "does not answer",
            "pid": 17,
            "store": "file:///" + "folder/" * 30,
            "mountpoint": "/home/x/Drive",
            "errors": [error],
        }
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "/home/x/Drive"
    assert lines[1:] == [
        " state   does not answer (process 17)",
        " store   file:///" + "folder/" * 30,
        f" error   {error}",
        "",
    ]
