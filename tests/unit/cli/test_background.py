"""Going to the background, in processes of their own: what the terminal's one is told, and when it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import json, os, sys, time
from cryptdrive.cli.background import run_in_background
from cryptdrive.errors import Busy, WrongKey
marker = sys.argv[1]

def serve(report):
    {body}

outcome = run_in_background(serve)
print(json.dumps([outcome.exit_code, outcome.text]))
"""


def run(body: str, marker: Path) -> tuple[int, str]:
    code = SCRIPT.format(body=body.replace("\n", "\n    "))
    done = subprocess.run(
        [sys.executable, "-c", code, str(marker)], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1, "only one of the processes goes on"
    exit_code, text = json.loads(done.stdout)
    return exit_code, text


def wait_for(marker: Path) -> str:
    end = time.monotonic() + 10
    while not (marker.exists() and marker.read_text()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return marker.read_text()


def test_success_is_told_while_it_goes_on(tmp_path: Path) -> None:
    body = (
        "report('mounted')\ntime.sleep(0.3)\n"
        "open(marker, 'w').write(f'{os.getsid(0)} {os.getcwd()}')\nreturn 0"
    )
    assert run(body, tmp_path / "m") == (0, "mounted")
    assert not (tmp_path / "m").exists()
    session, folder = wait_for(tmp_path / "m").split()
    assert int(session) != os.getsid(0)
    assert folder == "/"


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("raise WrongKey('wrong password or key')", 12, "wrong password or key"),
        ("raise Busy('in use by bash (17)')", 21, "in use by bash (17)"),
        ("raise KeyError('secret')", 1, "unexpected error (KeyError)"),
        ("raise SystemExit(3)", 1, "unexpected error"),
        ("os._exit(9)", 1, "ended before"),
        ("os.kill(os.getpid(), 9)", 1, "ended before"),
        ("return 0", 1, "ended before"),
    ],
)
def test_failure_is_told(tmp_path: Path, body: str, code: int, words: str) -> None:
    found = run(body, tmp_path / "m")
    assert found[0] == code
    assert words in found[1]
    assert "secret" not in found[1]


def test_output_goes_nowhere(tmp_path: Path) -> None:
    body = "print('noise')\nos.write(2, b'noise')\nassert os.read(0, 1) == b''\nreport('done')\nreturn 0"
    assert run(body, tmp_path / "m") == (0, "done")


def test_whoever_gives_up_waiting_ends_it(tmp_path: Path) -> None:
    body = (
        "open(marker, 'w').write(str(os.getpid()))\ntime.sleep(0.5)\n"
        "try: report('mounted')\n"
        "except InterruptedError: open(marker + '.ended', 'w').write('x'); raise\nreturn 0"
    )
    code = SCRIPT.format(body=body.replace("\n", "\n    "))
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "m")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_for(tmp_path / "m")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert wait_for(tmp_path / "m.ended") == "x"
