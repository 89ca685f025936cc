"""Every option, as frozen dataclasses; their fields are the keys of the configuration file."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cryptdrive.config.values import (
    WEBDAV_PORT,
    parse_address,
    parse_command,
    parse_duration,
    parse_flag,
    parse_path,
    parse_store,
    parse_texts,
    parse_umask,
    seconds,
    whole_number,
)
from cryptdrive.errors import ConfigError

T = TypeVar("T")


def _option(default: T, read: Callable[[object], T], *, key: str | None = None) -> T:
    """A field that the file may set under its own name, or under ``key``."""
    return field(default=default, metadata={"read": read, "key": key})


def _table(kind: type[T]) -> T:
    """A field that is a table of its own."""
    return field(default_factory=kind, metadata={"table": kind})


@dataclass(frozen=True, slots=True)
class DriveSettings:
    """Limits of one open drive. Raises ConfigError for a value out of its bounds."""

    dirty_mib_max: int = _option(64, whole_number(1, 65536))
    """Memory for written file data that is not sealed yet; writers wait when it is full."""
    sealing_starts_mib: int = _option(8, whole_number(0, 65536))
    """Sealing in the background starts when that much is waiting."""
    block_cache_mib: int = _option(64, whole_number(1, 65536))
    """Memory for decrypted file data."""
    node_cache_mib: int = _option(128, whole_number(8, 65536))
    """Memory for decoded nodes of the tree."""
    outbox_mib_max: int = _option(10240, whole_number(64, 1 << 24))
    """Room on the local disk for what is not on the store yet; writers are slowed down from half of it on."""
    disk_reserve_mib: int = _option(256, whole_number(0, 1 << 24))
    """Space that the local disk keeps: writing stops before it."""
    memtable_mib_max: int = _option(256, whole_number(8, 65536))
    """Memory for records (names, attributes, places of data) that are not on the store yet."""
    retry_interval_max_s: float = _option(60.0, seconds(0.01, 86400))
    """A store that does not answer is asked again at the latest after that long."""
    parallel_uploads: int = _option(2, whole_number(1, 64))
    """Packs that are sent to the store at once."""
    save_interval_s: float = _option(5.0, seconds(0.01, 3600))
    """Changes are durable on this machine at the latest after that long, also without fsync."""
    publish_quiet_s: float = _option(5.0, seconds(0.01, 86400))
    """Publish when nothing was changed for that long."""
    publish_interval_s: float = _option(30.0, seconds(0.01, 86400))
    """Publish at least that often while changes go on."""
    publish_interval_max_s: float = _option(120.0, seconds(0.01, 86400))
    """Steady small changes double the interval up to this."""

    def __post_init__(self) -> None:
        _check(self, "settings")
        if self.sealing_starts_mib > self.dirty_mib_max:
            raise ConfigError('"sealing_starts_mib" in table [settings] is larger than "dirty_mib_max"')
        if self.publish_interval_s > self.publish_interval_max_s:
            raise ConfigError(
                '"publish_interval_s" in table [settings] is larger than "publish_interval_max_s"'
            )


@dataclass(frozen=True, slots=True)
class MountOptions:
    """How a drive is mounted by FUSE."""

    allow_other: bool = _option(False, parse_flag)
    uid: int | None = _option(None, whole_number(0, 2**32 - 2))
    gid: int | None = _option(None, whole_number(0, 2**32 - 2))
    umask: int | None = _option(None, parse_umask)
    foreground: bool = _option(False, parse_flag)
    options: tuple[str, ...] = _option((), parse_texts)
    """What ``-o`` takes, one text each: ``fsname=…``, ``dev``, ``suid``."""


@dataclass(frozen=True, slots=True)
class WebDavOptions:
    """How a drive is served by WebDAV."""

    enabled: bool = _option(False, parse_flag)
    """``mount`` serves WebDAV too, without ``--webdav``."""
    address: tuple[str, int] = _option(("127.0.0.1", WEBDAV_PORT), parse_address)
    certificate_file: Path | None = _option(None, parse_path)
    key_file: Path | None = _option(None, parse_path)
    allowed_hosts: tuple[str, ...] = _option((), parse_texts)
    """Further names that a request's Host header may have."""

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ConfigError('"certificate_file" and "key_file" in table [webdav] go together')


@dataclass(frozen=True, slots=True)
class DriveConfig:
    """Everything that is known of one drive before it is opened."""

    name: str = ""
    """The table's name in the file; empty for a store that was named directly."""
    store: str = _option("", parse_store)
    mountpoint: Path | None = _option(None, parse_path)
    read_only: bool = _option(False, parse_flag)
    idle_s: float | None = _option(None, parse_duration, key="idle")
    """Unmount after that long without use; None for never."""
    password_file: Path | None = _option(None, parse_path)
    password_command: tuple[str, ...] | None = _option(None, parse_command)
    recovery_key_file: Path | None = _option(None, parse_path)
    settings: DriveSettings = _table(DriveSettings)
    mount: MountOptions = _table(MountOptions)
    webdav: WebDavOptions = _table(WebDavOptions)


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration file."""

    drives: Mapping[str, DriveConfig] = field(default_factory=dict)
    defaults: DriveConfig = field(default_factory=DriveConfig)
    """Has no name and no store; its values are already in every drive."""
    cache_dir: Path | None = _option(None, parse_path)
    log_file: Path | None = _option(None, parse_path)

    def drive(self, text: str) -> DriveConfig:
        """The drive of that name, or else the defaults for ``text`` as a store.

        Raises ConfigError: neither a drive's name nor a store, which has a ``/`` or ``:`` in it,
        starts with ``.`` or ``~``, or is a folder that is there.
        """
        if text in self.drives:
            return self.drives[text]
        if "/" in text or ":" in text or text.startswith((".", "~")) or Path(text).is_dir():
            return dataclasses.replace(self.defaults, store=text)
        known = ", ".join(self.drives) or "it names none"
        raise ConfigError(f'no drive "{text}" in the configuration ({known}); a folder is written ./{text}')


def _check(table: Any, where: str) -> None:
    for item in dataclasses.fields(table):
        convert(item, getattr(table, item.name), where)


def convert(item: "dataclasses.Field[Any]", value: object, where: str) -> Any:
    try:
        return item.metadata["read"](value)
    except ValueError as error:
        place = f"in table [{where}]" if where else "at the top of the file"
        raise ConfigError(f'"{item.metadata["key"] or item.name}" {place} {error}') from error
