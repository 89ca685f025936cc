"""Where log messages go: the terminal, or a file that only this user can read."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from cryptdrive.errors import ConfigError

LOG_FILE_BYTES_MAX = 1 << 20
LOG_FILES_KEPT = 3

_FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


class PrivateFileHandler(RotatingFileHandler):
    """Rotates, and makes its files 0600."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return TextIOWrapper(os.fdopen(descriptor, "ab"), encoding="utf-8", errors="backslashreplace")


def level_of(verbosity: int, quiet: bool) -> int:
    """WARNING; INFO with -v, DEBUG with -vv, ERROR with -q."""
    if quiet:
        return logging.ERROR
    return {0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)


def log_to_terminal(level: int) -> None:
    """Messages go to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("cryptdrive: %(message)s"))
    _use(handler, level)


def log_to_file(path: Path, level: int) -> None:
    """Messages go to ``path``, and to nowhere else. Raises ConfigError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handler = PrivateFileHandler(path, maxBytes=LOG_FILE_BYTES_MAX, backupCount=LOG_FILES_KEPT)
    except OSError as error:
        raise ConfigError(f"{path}: no log can be written there: {error.strerror}") from error
    handler.setFormatter(logging.Formatter(_FORMAT))
    _use(handler, level)


@contextmanager
def without_repeating(told: Sequence[str]) -> Iterator[None]:
    """In the block the terminal is spared messages about what a person has been told; a log file gets all."""

    def is_new(record: logging.LogRecord) -> bool:
        return not any(reason in record.getMessage() for reason in told)

    handlers = [each for each in logging.getLogger().handlers if not isinstance(each, logging.FileHandler)]
    for handler in handlers:
        handler.addFilter(is_new)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(is_new)


def _use(handler: logging.Handler, level: int) -> None:
    """What other packages say is kept out at any level: a server's messages hold the paths of requests."""
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.CRITICAL)
    logging.getLogger("cryptdrive").setLevel(level)
