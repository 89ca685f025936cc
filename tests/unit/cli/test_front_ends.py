"""What the configuration and the command line say together."""

from typing import Any

import click
import pytest

from cryptdrive.cli.commands.mount import command as mount_command
from cryptdrive.cli.front_ends import chosen_idle, mount_options, webdav_options
from cryptdrive.config import DriveConfig, parse_config
from cryptdrive.errors import ConfigError
from cryptdrive.fuse.options import MountOptions


def configured(text: dict[str, Any]) -> DriveConfig:
    return parse_config({"drives": {"photos": {"store": "/x", **text}}}).drives["photos"]


NOTHING = {"allow_other": None, "uid": None, "gid": None, "umask": None}


def test_without_a_word() -> None:
    assert mount_options(DriveConfig(store="/x"), NOTHING, (), read_only=False) == MountOptions()


def test_the_drives_name_is_shown_as_device() -> None:
    assert mount_options(configured({}), NOTHING, (), read_only=False).fsname == "photos"
    assert mount_options(configured({}), NOTHING, ("fsname=x",), read_only=False).fsname == "x"


def test_the_command_line_wins() -> None:
    config = configured({"mount": {"uid": 1, "gid": 2, "umask": "077", "options": ["dev", "uid=5"]}})
    found = mount_options(config, {**NOTHING, "gid": 0}, ("nodev,umask=022",), read_only=False)
    assert (found.uid, found.gid, found.umask, found.dev) == (5, 0, 0o022, False)


@pytest.mark.parametrize(
    ("text", "options", "read_only", "expected"),
    [
        ({}, (), False, False),
        ({}, (), True, True),
        ({"read_only": True}, (), False, True),
        ({}, ("ro",), False, True),
        ({"read_only": True}, ("rw",), False, True),
    ],
)
def test_read_only_by_any_of_them(
    text: dict[str, Any], options: tuple[str, ...], read_only: bool, expected: bool
) -> None:
    assert mount_options(configured(text), NOTHING, options, read_only=read_only).read_only is expected


def test_unknown_mount_options() -> None:
    with pytest.raises(ConfigError, match="colour"):
        mount_options(configured({}), NOTHING, ("colour=red",), read_only=False)


def test_webdav() -> None:
    config = configured({"webdav": {"address": "127.0.0.1:1"}})
    assert webdav_options(config, None) is None
    assert webdav_options(configured({"webdav": {"enabled": True}}), None) is not None
    usual = webdav_options(config, "")
    assert usual is not None
    assert usual.address == ("127.0.0.1", 1)
    other = webdav_options(config, "[::1]:2")
    assert other is not None
    assert other.address == ("::1", 2)
    with pytest.raises(click.BadParameter, match="HOST:PORT"):
        webdav_options(config, "a b")


def test_idle() -> None:
    config = configured({"idle": "30m"})
    assert chosen_idle(config, None) == 1800
    assert chosen_idle(config, "90s") == 90
    assert chosen_idle(config, "0") is None


@pytest.mark.parametrize(
    ("arguments", "webdav", "places"),
    [
        (["/v", "/m"], None, ("/v", "/m")),
        (["--webdav", "/v", "/m"], "", ("/v", "/m")),
        (["/v", "--webdav", "/m"], "", ("/v", "/m")),
        (["/v", "/m", "--webdav"], "", ("/v", "/m")),
        (["--webdav", "photos", "/m"], "", ("photos", "/m")),
        (["--webdav", "file:///v", "/m"], "", ("file:///v", "/m")),
        (["--webdav", "127.0.0.1:80", "/v", "/m"], "127.0.0.1:80", ("/v", "/m")),
        (["/v", "--webdav", "8080", "/m"], "8080", ("/v", "/m")),
        (["/v", "/m", "--webdav", "[::1]:80"], "[::1]:80", ("/v", "/m")),
        (["--webdav=home.arpa", "/v", "/m"], "home.arpa", ("/v", "/m")),
        (["/v", "/m", "--webdav", "-f"], "", ("/v", "/m")),
        (["--webdav", "--", "/v", "/m"], "", ("/v", "/m")),
    ],
)
def test_webdav_may_stand_anywhere(arguments: list[str], webdav: str | None, places: tuple[str, str]) -> None:
    context = mount_command.make_context("mount", arguments)
    assert context.params["webdav"] == webdav
    assert (context.params["drive"], str(context.params["mountpoint"])) == places
