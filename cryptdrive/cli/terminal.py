"""What is said on the terminal. Results go to standard output, everything else to standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import click

from cryptdrive.cli.invocation import Invocation

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def say(invocation: Invocation, text: str) -> None:
    """Tell a person that something was done; nothing with -q."""
    if not invocation.quiet:
        click.echo(text, err=True)


def complain(text: str) -> None:
    """Tell what went wrong, or what to look out for."""
    for line in text.splitlines():
        click.echo(f"cryptdrive: {printable(line)}", err=True)


def printable(text: str) -> str:
    """``text`` without what a terminal would obey, and fit for any encoding."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def displayed(name: bytes) -> str:
    """A name for people; bytes that are not UTF-8 show as ``\\x..``."""
    return printable(name.decode("utf-8", "backslashreplace"))


def size_text(count: int) -> str:
    """``1.5 MiB``."""
    size = float(count)
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def count_text(count: int) -> str:
    """``3 files and folders``."""
    return "1 file or folder" if count == 1 else f"{count} files and folders"


def duration_text(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def time_text(time_ns: int) -> str:
    """Local time, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(time_ns / 1_000_000_000))


class Meter(Protocol):
    """Shows how far something has come."""

    def name(self, text: str) -> None:
        """What is worked on now."""

    def expect(self, count: int) -> None:
        """``count`` more bytes will come."""

    def advance(self, count: int) -> None:
        """``count`` bytes are done."""


class SilentMeter:
    """Where nobody looks."""

    def name(self, text: str) -> None: ...

    def expect(self, count: int) -> None: ...

    def advance(self, count: int) -> None: ...


@contextmanager
def transfer_meter(invocation: Invocation, title: str) -> Iterator[Meter]:
    """Bytes and rate of a transfer, while a person looks on."""
    if invocation.quiet or not sys.stderr.isatty():
        yield SilentMeter()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class RateColumn(ProgressColumn):
        """In the units of everything else, which rich's own column has not got."""

        def render(self, task: Task) -> Text:
            rate = task.finished_speed or task.speed
            return Text(f"{size_text(int(rate))}/s" if rate else "", style="progress.data.speed")

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        RateColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=0)
        expected = 0

        class RichMeter:
            def name(self, text: str) -> None:
                progress.update(task, description=printable(text)[-40:])

            def expect(self, count: int) -> None:
                nonlocal expected
                expected += count
                progress.update(task, total=expected)

            def advance(self, count: int) -> None:
                progress.advance(task, count)

        yield RichMeter()


@contextmanager
def spinner(invocation: Invocation, text: str) -> Iterator[Callable[[str], None]]:
    """Something takes a while; shown while a person looks on. Gives a function that changes the text."""
    if invocation.quiet or not sys.stderr.isatty():
        yield lambda new_text: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(text)) as status:
        yield lambda new_text: status.update(Text(printable(new_text)))
