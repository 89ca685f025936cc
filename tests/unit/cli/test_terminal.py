"""What people see, and what a terminal must not be told."""

import sys

import pytest

from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.terminal import (
    complain,
    displayed,
    say,
    size_text,
    spinner,
    transfer_meter,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (1 << 70, "1048576.0 PiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"plain", "plain"),
        ("grün".encode(), "grün"),
        (b"\xff", r"\xff"),
        (b"a\x1b[31mred", r"a\x1b[31mred"),
        (b"two\nlines", r"two\nlines"),
        ("right\u202eleft".encode(), r"right\u202eleft"),
    ],
)
def test_names_do_not_steer_the_terminal(name: bytes, text: str) -> None:
    assert displayed(name) == text


def test_complaints(capsys: pytest.CaptureFixture[str]) -> None:
    complain("first\nsecond \x1b[0m")
    assert capsys.readouterr().err == "cryptdrive: first\ncryptdrive: second \\x1b[0m\n"


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    say(Invocation(quiet=True), "done")
    assert capsys.readouterr().err == ""
    say(Invocation(), "done")
    assert capsys.readouterr().err == "done\n"


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_is_for_people(
    quiet: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with transfer_meter(Invocation(quiet=quiet), "put") as meter:
        meter.name("[red]file")
        meter.expect(2_000_000)
        meter.advance(1_000_000)
        meter.advance(1_000_000)
    with spinner(Invocation(quiet=quiet), "Saving …") as show:
        show("[red]left")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert ("1.9/1.9 MiB" in shown.err) is not quiet
    assert ("iB/s" in shown.err) is not quiet
    assert "MB" not in shown.err
    assert ("[red]file" in shown.err) is not quiet


def test_no_progress_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    with transfer_meter(Invocation(), "put") as meter, spinner(Invocation(), "Saving …") as show:
        meter.expect(1)
        meter.name("x")
        meter.advance(1)
        show("x")
    assert capsys.readouterr() == ("", "")
