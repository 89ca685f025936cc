"""Values of options: each function takes what the file or the command line has, and raises ValueError.

The error's text goes on after the name of the option: ``"idle" must be a time such as …``.
"""

import math
import re
import shlex
from collections.abc import Callable
from pathlib import Path

WEBDAV_PORT = 4918
"""The default port: the number of the RFC that describes WebDAV."""

_duration = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|)")
_seconds_in = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: object) -> float | None:
    """Seconds of ``"90s"``, ``"30m"``, ``"2h"``, ``"1d"`` or a plain number; None for 0 (never)."""
    if isinstance(text, str) and (match := _duration.fullmatch(text.strip())):
        return float(match[1]) * _seconds_in[match[2]] or None
    if isinstance(text, int | float) and not isinstance(text, bool) and text >= 0 and math.isfinite(text):
        return float(text) or None
    raise ValueError("must be a time such as 90s, 30m or 2h, or 0 for never")


def parse_address(text: object) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, ``HOST``, ``:PORT``, ``PORT`` or ``[IPV6]:PORT``."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/@]*))(?::(\d{1,5}))?", str(text))
    if match is None or not match[0] or isinstance(text, bool) or not isinstance(text, str | int):
        raise ValueError("must be HOST:PORT, for example 127.0.0.1:4918 or [::1]:4918")
    host, port = match[1] or match[2], match[3]
    if port is None and host.isdigit():
        host, port = "", host
    if port is not None and int(port) > 65535:
        raise ValueError("must have a port of at most 65535")
    return host or "127.0.0.1", WEBDAV_PORT if port is None else int(port)


def parse_umask(text: object) -> int:
    """The mode bits to take away, from octal digits such as ``"077"``."""
    if not isinstance(text, str) or not re.fullmatch(r"(0o)?[0-7]{1,4}", text) or int(text, 8) > 0o777:
        raise ValueError('must be octal digits in quotes, for example "077"')
    return int(text, 8)


def parse_command(value: object) -> tuple[str, ...]:
    """A program and its arguments, from a list or from one line with a shell's quoting (no shell runs)."""
    try:
        words = shlex.split(value) if isinstance(value, str) else value
    except ValueError:
        words = None  # a quotation mark without its partner
    if isinstance(words, list) and words and all(isinstance(word, str) and word for word in words):
        return tuple(words)
    raise ValueError("must be a command line, or a list of a program and its arguments")


def parse_text(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("must be a text that is not empty")
    return value


def parse_texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("must be a list of texts")
    return tuple(parse_text(item) for item in value)


def parse_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def parse_path(value: object) -> Path:
    path = Path(parse_text(value))
    try:
        path = path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"names a home folder that is not known: {path}") from error
    if not path.is_absolute():
        raise ValueError("must be a path that starts with / or ~")
    return path


def parse_store(value: object) -> str:
    location = parse_text(value)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", location):
        return location
    return str(parse_path(location))


def whole_number(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return read


def seconds(low: float, high: float) -> Callable[[object], float]:
    def read(value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"must be a number of seconds from {low:g} to {high:g}")
        return float(value)

    return read
