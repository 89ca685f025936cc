"""How far sending changes to the store has come, shown while a person waits for it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cryptdrive.cli.finding import runtime_folder
from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.local_state import Waiting
from cryptdrive.cli.terminal import count_text, duration_text, printable, size_text
from cryptdrive.control.client import ControlClient
from cryptdrive.control.records import RunningRecord
from cryptdrive.errors import CryptdriveError


@contextmanager
def sending_progress(invocation: Invocation, record: RunningRecord) -> Iterator[Callable[[], None]]:
    """Gives a function that looks once more at the running drive, and shows how much of its data is sent."""
    if invocation.quiet or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (
        TextColumn("Sending"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TextColumn("{task.description}", markup=False),
    )
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    task = progress.add_task("…", total=0)
    most = 0

    def look() -> None:
        nonlocal most
        try:
            with ControlClient(runtime_folder(invocation), record) as client:
                status = client.status()
        except CryptdriveError:
            return  # it is ending, or does not answer, which whoever waits will be told
        waiting = status["waiting_bytes"]
        most = max(most, waiting)
        progress.update(task, total=most, completed=most - waiting, description=printable(what_waits(status)))

    look()  # what is shown first is true already
    with progress:
        yield look


def what_waits(status: dict[str, Any]) -> str:
    """``12 files and folders (3.4 MiB) to be sent, 1.2 MiB/s, about 3 s left``, or when it is tried again."""
    if not status["changed_records"] and not status["waiting_bytes"]:
        return "everything is on the store"
    parts = [f"{count_text(status['waiting_files'])} ({size_text(status['waiting_bytes'])}) to be sent"]
    if status["retry_in_s"] is not None:
        parts.append(f"tried again in {duration_text(status['retry_in_s'])}")
    if not is_failing(status):
        if status["bytes_per_s"]:
            parts.append(f"{size_text(int(status['bytes_per_s']))}/s")
        if status["seconds_left"] is not None:
            parts.append(f"about {duration_text(status['seconds_left'])} left")
    return ", ".join(parts)


def is_failing(status: dict[str, Any]) -> bool:
    """Whether nothing is being sent: the rate is that of better times, and tells nothing of now."""
    return bool(status["errors"]) or status["retry_in_s"] is not None


def what_may_wait(waiting: Waiting) -> str:
    """Of a drive that no process has open, whose changes cannot be counted without its keys."""
    size = f" ({size_text(waiting.waiting_bytes)} of data and more)" if waiting.waiting_bytes else ""
    return f"changes that are not on the store yet may wait here{size}: mount it to send them"
