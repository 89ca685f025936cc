"""How far sending has come, while a person looks on."""

import sys
from typing import Any

import pytest

from cryptdrive.cli import sending
from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.sending import sending_progress
from cryptdrive.errors import CryptdriveError
from tests.unit.control.conftest import make_record

WAITING: dict[str, Any] = {
    "changed_records": 3,
    "waiting_bytes": 3 << 20,
    "waiting_files": 2,
    "bytes_per_s": 0.0,
    "seconds_left": None,
    "retry_in_s": None,
    "errors": [],
}


class FakeClient:
    """Answers with what the test wants told."""

    told: dict[str, Any] | None = WAITING

    def __init__(self, *_: object) -> None:
        if self.told is None:
            raise CryptdriveError("it has ended")

    def __enter__(self) -> "FakeClient":
        return self

    def __exit__(self, *_: object) -> None: ...

    def status(self) -> dict[str, Any]:
        assert self.told is not None
        return self.told


def use_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sending, "ControlClient", FakeClient)


@pytest.mark.parametrize("told", [WAITING, {**WAITING, "changed_records": 0, "waiting_bytes": 0}, None])
def test_what_is_shown_first_is_true(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, told: dict[str, Any] | None
) -> None:
    use_terminal(monkeypatch)
    monkeypatch.setattr(FakeClient, "told", told)
    with sending_progress(Invocation(), make_record()):
        shown = capsys.readouterr().err
    assert "?" not in shown.replace("[?", "")
    if told is WAITING:
        assert "0.0/3.0 MiB" in shown
        assert "2 files and folders (3.0 MiB) to be sent" in shown
    elif told is not None:
        assert "everything is on the store" in shown


def test_it_goes_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    use_terminal(monkeypatch)
    with sending_progress(Invocation(), make_record()) as look:
        monkeypatch.setattr(FakeClient, "told", {**WAITING, "waiting_bytes": 1 << 20})
        look()
    assert "2.0/3.0 MiB" in capsys.readouterr().err
