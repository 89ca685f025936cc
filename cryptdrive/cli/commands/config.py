"""``cryptdrive config``."""

import dataclasses
import json
from importlib import resources
from pathlib import Path
from typing import Any

import click

from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.options import common_options
from cryptdrive.config import DriveConfig
from cryptdrive.errors import ConfigError

_EXAMPLE = "cryptdrive.example.toml"


@click.group()
@common_options
def command() -> None:
    """Show or check the configuration file.

    \b
    Examples:
      cryptdrive config example > ~/.config/cryptdrive/config.toml
      cryptdrive config check
      cryptdrive config show photos
    """


@command.command()
@common_options
@click.pass_obj
def path(invocation: Invocation) -> None:
    """Say which file is read.

    \b
    Example:
      cryptdrive config path
    """
    click.echo(invocation.config_path)


@command.command()
def example() -> None:
    """Write a configuration file in which every option is explained.

    \b
    Example:
      cryptdrive config example > ~/.config/cryptdrive/config.toml
    """
    click.echo(_example_text(), nl=False)


@command.command()
@common_options
@click.pass_obj
def check(invocation: Invocation) -> None:
    """Check the configuration file; a mistake is named with its table and key (exit code 11).

    \b
    Example:
      cryptdrive config check --config ./config.toml
    """
    configuration = invocation.configuration
    if not invocation.config_path.exists():
        click.echo(f"{invocation.config_path}: there is no such file; everything is as by default")
        return
    count = len(configuration.drives)
    click.echo(f"{invocation.config_path}: good, with {count} drive{'' if count == 1 else 's'}")


@command.command()
@click.argument("drive", metavar="[DRIVE]", required=False)
@common_options
@click.pass_obj
def show(invocation: Invocation, drive: str | None) -> None:
    """Show every option with the value that counts, for one drive or for all of them, as TOML.

    \b
    Example:
      cryptdrive config show photos
    """
    configuration = invocation.configuration
    if drive is not None:
        chosen = [configuration.drive(drive)]
    else:
        chosen = [configuration.defaults, *configuration.drives.values()]
    for config in chosen:
        click.echo(_as_toml(config), nl=False)


def _example_text() -> str:
    """The example file: in the installed package, or in the folder of the sources."""
    packaged = resources.files("cryptdrive") / "config" / _EXAMPLE
    beside = Path(__file__).parents[3] / "config" / _EXAMPLE
    for place in (packaged, beside):
        if place.is_file():
            return place.read_text("utf-8")
    raise ConfigError("the example is not part of this installation; it is in the project's folder config/")


def _as_toml(config: DriveConfig) -> str:
    """A drive's options; what is not set is left out, as a comment."""
    table = f"drives.{config.name}" if config.name else "defaults"
    lines: list[str] = []
    _write_table(lines, table, config)
    return "\n".join(lines) + "\n"


def _write_table(lines: list[str], name: str, values: Any) -> None:
    lines.append(f"[{name}]")
    tables = []
    for item in dataclasses.fields(values):
        value = getattr(values, item.name)
        key = item.metadata.get("key") or item.name
        if "table" in item.metadata:
            tables.append((f"{name}.{key}", value))
        elif "read" in item.metadata and (key != "store" or value):
            lines.append(f"{key} = {_toml_value(key, value)}" if value is not None else f"#{key} =")
    lines.append("")
    for table, inner in tables:
        _write_table(lines, table, inner)


def _toml_value(key: str, value: object) -> str:
    """A value as the configuration file writes it: a JSON text is a TOML text too."""
    if key == "umask":
        return f'"{value:03o}"'
    if key == "address" and isinstance(value, tuple):
        host, port = value
        return json.dumps(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    if isinstance(value, tuple):
        return json.dumps(list(value), ensure_ascii=False)
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False)
