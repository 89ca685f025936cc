"""How a drive is to be reached: what the configuration and the command line say together."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from cryptdrive.config import DriveConfig, WebDavOptions, parse_address, parse_duration
from cryptdrive.fuse.options import MountOptions, with_option_text


@dataclass(frozen=True, slots=True)
class FrontEnds:
    """What is started over one open drive."""

    mountpoint: str | None = None
    """As :func:`cryptdrive.fuse.mountpoint.absolute` gives it."""
    mount: MountOptions = MountOptions()
    webdav: WebDavOptions | None = None
    idle_s: float | None = None
    read_only: bool = False


def mount_options(
    config: DriveConfig, given: Mapping[str, Any], texts: Sequence[str], *, read_only: bool
) -> MountOptions:
    """The configuration's options, changed by ``-o`` texts, then by what other options gave (None: nothing).

    Raises ConfigError.
    """
    chosen = config.mount
    options = MountOptions(allow_other=chosen.allow_other, uid=chosen.uid, gid=chosen.gid, umask=chosen.umask)
    if config.name.isascii() and config.name:
        options = dataclasses.replace(options, fsname=config.name)
    for text in (*chosen.options, *texts):
        options = with_option_text(options, text)
    options = dataclasses.replace(
        options, **{key: value for key, value in given.items() if value is not None}
    )
    if read_only or config.read_only:
        options = dataclasses.replace(options, read_only=True)
    return options


def webdav_options(config: DriveConfig, text: str | None) -> WebDavOptions | None:
    """How to serve WebDAV; None for not at all. ``text`` is ``--webdav``'s, empty for the usual address."""
    if text is None:
        return config.webdav if config.webdav.enabled else None
    if not text:
        return config.webdav
    try:
        return dataclasses.replace(config.webdav, address=parse_address(text))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} {error}", param_hint="--webdav") from error


def chosen_idle(config: DriveConfig, text: str | None) -> float | None:
    """Seconds without use until the end; None for never. ``text`` is ``--idle``'s, None without it."""
    if text is None:
        return config.idle_s
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} {error}", param_hint="--idle") from error
