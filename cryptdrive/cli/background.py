"""Going to the background: the terminal's process ends once the drive works, or says why it does not."""

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

from cryptdrive.cli.errors import OTHER, exit_code, message

_log = logging.getLogger(__name__)

REPORT_BYTES_MAX = 64 * 1024

Report = Callable[[str], None]
"""Called with what the person is to read, once everything works."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the start in the background went: an exit code, and what to say."""

    exit_code: int
    text: str


def run_in_background(serve: Callable[[Report], int]) -> Outcome:
    """Run ``serve`` in a process of its own, detached from the terminal; wait until it reports.

    To be called before threads are started and stores opened: neither gets through fork(2) well.
    ``serve`` gets a function that it calls once all works, and returns its exit code.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    between = os.fork()
    if between:
        os.close(writing)
        os.waitpid(between, 0)  # it ends at once
        return _received(reading)
    # From here on nothing may return into the caller's frames: its commands are the parent's.
    try:
        os.close(reading)
        os.setsid()
        if os.fork():
            os._exit(0)
        _detach(writing)
        os._exit(_serve(serve, writing))
    except BaseException as error:  # noqa: BLE001 - the parent reports it
        _send(writing, Outcome(exit_code(error), message(error)))
        os._exit(OTHER)


def _serve(serve: Callable[[Report], int], writing: int) -> int:
    reported = False

    def report(text: str) -> None:
        nonlocal reported
        reported = True
        if not _send(writing, Outcome(0, text)):
            raise InterruptedError("whoever started the drive has given it up")

    try:
        code = serve(report)
    except BaseException as error:  # noqa: BLE001 - the log has it; the parent reports it if it still waits
        _log.error("%s", message(error))
        _log.debug("it ended here", exc_info=True)
        if not reported:
            _send(writing, Outcome(exit_code(error), message(error)))
        return exit_code(error)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def _detach(writing: int) -> None:
    """Let go of the terminal and the working folder; what is open keeps its number."""
    os.chdir("/")
    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    os.set_inheritable(writing, False)


def _send(writing: int, outcome: Outcome) -> bool:
    """Whether somebody was there to be told."""
    data = json.dumps(asdict(outcome)).encode()[:REPORT_BYTES_MAX]
    try:
        os.write(writing, data)
        os.close(writing)
    except OSError:
        return False
    return True


def _received(reading: int) -> Outcome:
    data = b""
    while piece := os.read(reading, REPORT_BYTES_MAX):
        data += piece
    os.close(reading)
    try:
        return Outcome(**json.loads(data))
    except (ValueError, TypeError):
        return Outcome(
            OTHER, "the process in the background ended before the drive worked; its log says more"
        )
