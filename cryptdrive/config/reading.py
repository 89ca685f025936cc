"""A TOML file → :class:`~cryptdrive.config.options.Config`, or an error that names table and key."""

import dataclasses
import difflib
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from cryptdrive.config.options import Config, DriveConfig, convert
from cryptdrive.errors import ConfigError

T = TypeVar("T")

CONFIG_FILE_BYTES_MAX = 1 << 20

_drive_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_password_keys = frozenset({"password_file", "password_command", "recovery_key_file"})


def load_config(path: Path, *, required: bool = True) -> Config:
    """Read and check a configuration file; without ``required`` a missing one is an empty one.

    Raises ConfigError, naming the file and what is wrong: table and key, or the line.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(CONFIG_FILE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        if not required:
            return Config()
        raise ConfigError(f"{path}: there is no such file") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if len(content) > CONFIG_FILE_BYTES_MAX:
        raise ConfigError(f"{path}: larger than {CONFIG_FILE_BYTES_MAX} bytes")
    try:
        config = parse_config(tomllib.loads(content.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if status.st_mode & stat.S_IWOTH and any(drive.password_command for drive in _all_drives(config)):
        raise ConfigError(
            f"{path}: has a password_command, but everybody may write to the file: chmod o-w it"
        )
    return config


def parse_config(content: Mapping[str, object]) -> Config:
    """Check what a TOML file holds. Raises ConfigError."""
    top = {key: value for key, value in content.items() if key not in ("defaults", "drives")}
    common = _table_of(content.get("defaults", {}), "defaults")
    for key in ("store", "mountpoint"):
        if key in common:
            raise ConfigError(f'"{key}" in table [defaults] belongs to one drive: put it under [drives.NAME]')
    defaults = _read(DriveConfig, common, "defaults")
    drives = {}
    for name, own in _table_of(content.get("drives", {}), "drives").items():
        where = f"drives.{name}"
        if not _drive_name.fullmatch(name):
            raise ConfigError(f"[{where}]: a drive's name has 1 to 64 letters, digits, and . _ -")
        table = _merged(common, _table_of(own, where))
        if "store" not in table:
            raise ConfigError(f'"store" in table [{where}] is missing')
        drives[name] = dataclasses.replace(_read(DriveConfig, table, where), name=name)
    known = ("defaults", "drives")
    return dataclasses.replace(_read(Config, top, "", also_known=known), drives=drives, defaults=defaults)


def _all_drives(config: Config) -> list[DriveConfig]:
    return [config.defaults, *config.drives.values()]


def _table_of(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ConfigError(f'"{where}" must be a table: [{where}]')
    return value


def _merged(common: dict[str, object], own: dict[str, object]) -> dict[str, object]:
    """A drive's own keys over the defaults; its own way to unlock replaces every default way."""
    table = dict(common)
    if _password_keys & own.keys():
        table = {key: value for key, value in table.items() if key not in _password_keys}
    for key, value in own.items():
        default = table.get(key)
        if isinstance(default, dict) and isinstance(value, dict):
            table[key] = {**default, **value}
        else:
            table[key] = value
    return table


def _read(kind: type[T], table: Mapping[str, object], where: str, *, also_known: tuple[str, ...] = ()) -> T:
    """``table`` as ``kind``; ``where`` is its name in the file, empty for the top of the file."""
    items = {
        item.metadata.get("key") or item.name: item
        for item in dataclasses.fields(cast(Any, kind))
        if item.metadata
    }
    values: dict[str, Any] = {}
    for key, value in table.items():
        item = items.get(key)
        if item is None:
            raise ConfigError(_unknown(key, where, [*items, *also_known]))
        name = f"{where}.{key}" if where else key
        inner = item.metadata.get("table")
        values[item.name] = (
            convert(item, value, where) if inner is None else _read(inner, _table_of(value, name), name)
        )
    try:
        return kind(**values)
    except (
        ConfigError
    ) as error:  # what holds between two keys: says [settings] where the file says [drives.x.settings]
        raise ConfigError(str(error).replace(f"[{where.rpartition('.')[2]}]", f"[{where}]")) from error


def _unknown(key: str, where: str, known: list[str]) -> str:
    if key in ("password", "recovery_key"):
        hint = f"; secrets do not belong here: use {key}_file"
    else:
        close = difflib.get_close_matches(key, known, 1)
        hint = f'; did you mean "{close[0]}"?' if close else ""
    place = f"in table [{where}]" if where else "at the top of the file"
    return f'unknown key "{key}" {place}{hint}'
