"""A store's location, as people write it, → the store."""

import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

from cryptdrive.errors import ConfigError
from cryptdrive.store.base import Store
from cryptdrive.store.folder import FolderStore
from cryptdrive.store.memory import MEMORY_URL, MemoryStore

SUPPORTED = "a folder (/path, ./path, ~/path) or file:///path"

_scheme = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)


def open_store(location: str, *, create: bool = False) -> Store:
    """The store at ``location``; with ``create`` its folder is made if there is none.

    To be called after going to the background, not before: descriptors do not outlive a fork well.
    Raises ConfigError for a location that is not understood, StoreError where it cannot be reached.
    """
    match = _scheme.fullmatch(location)
    if match is not None and match[1].lower() == "memory" and not match[2]:
        return MemoryStore()
    path = folder_path(location)
    return FolderStore.create(path) if create else FolderStore(path)


def store_url(location: str) -> str:
    """The URL that the store there has, without opening it. Raises ConfigError."""
    match = _scheme.fullmatch(location)
    if match is not None and match[1].lower() == "memory" and not match[2]:
        return MEMORY_URL
    return Path(folder_path(location)).as_uri()


def folder_path(location: str) -> str:
    """The absolute path that a folder's location names. Raises ConfigError."""
    match = _scheme.fullmatch(location)
    if match is None:
        path = location
    elif match[1].lower() == "file":
        path = _path_of_url(location, match[2])
    else:
        raise ConfigError(
            f'"{location}": stores of the kind "{match[1]}:" are not supported; supported is {SUPPORTED}'
        )
    if not path or "\0" in path:
        raise ConfigError(f'"{location}" does not name a store; supported is {SUPPORTED}')
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise ConfigError(f'"{location}": that home folder is not known')
    return os.path.abspath(expanded)


def _path_of_url(location: str, rest: str) -> str:
    """The path of a ``file:`` URL (RFC 8089): no host but this one."""
    rest = re.sub(r"^//(localhost(?=/))?", "", rest, flags=re.IGNORECASE)
    if not rest.startswith("/"):
        raise ConfigError(f'"{location}": a file URL has the form file:///path')
    return os.fsdecode(unquote_to_bytes(rest))
