"""What the commands' options have in common: variables for each, and those that every command takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from cryptdrive.cli.invocation import Invocation

Command = TypeVar("Command", bound=Callable[..., object])

LOCAL_PATH = click.Path(path_type=Path)

MOUNTPOINT_PATH = click.types.FuncParamType(Path)
"""A path that is not looked at: click.Path does that, and what is mounted there may hang."""


def option(*names: str, **attributes: Any) -> Callable[[Command], Command]:
    """A click option that ``CRYPTDRIVE_<OPTION>`` sets too."""
    long_name = next(name for name in names if name.startswith("--"))
    variable = "CRYPTDRIVE_" + long_name.split("/")[0].removeprefix("--").replace("-", "_").upper()
    attributes.setdefault("envvar", variable)
    return click.option(*names, **attributes)


def checked(check: Callable[[str], object]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback that lets one of the functions of :mod:`cryptdrive.config` read a text, if there is one."""

    def convert(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return check(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r} {error}", ctx, param) from error

    return convert


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep the value for the whole invocation: a command's own comes after the group's, and wins."""
    invocation = ctx.ensure_object(Invocation)
    assert param.name is not None
    from_variable = ctx.get_parameter_source(param.name) is ParameterSource.ENVIRONMENT
    if value in (None, False, 0) or (from_variable and ctx.parent is not None):
        return  # the group has seen the variables already, and its own options win over them
    setattr(invocation, param.name, value)


def _common(*names: str, **attributes: Any) -> Callable[[Command], Command]:
    return option(*names, expose_value=False, callback=_remember, **attributes)


_COMMON = (
    _common(
        "--password-file",
        type=LOCAL_PATH,
        metavar="FILE",
        help="Take the password from a file's first line ('-': standard input).",
    ),
    _common(
        "--password-command",
        metavar="COMMAND",
        help="Take the password from the first line that a program writes.",
    ),
    _common(
        "--recovery-key-file",
        type=LOCAL_PATH,
        metavar="FILE",
        help="Unlock with the recovery key that a file holds (init: write it there).",
    ),
    _common("--config", type=LOCAL_PATH, metavar="FILE", help="The configuration file."),
    _common("--cache-dir", type=LOCAL_PATH, metavar="DIR", help="Where ciphertext may be cached."),
    _common("--log-file", type=LOCAL_PATH, metavar="FILE", help="Write messages to a file."),
    _common("-v", "--verbose", count=True, help="Say more; -vv: everything."),
    _common("-q", "--quiet", is_flag=True, help="Say only what went wrong."),
)


def common_options(command: Command) -> Command:
    """The options that stand before and after the name of any command."""
    for decorate in reversed(_COMMON):
        command = decorate(command)
    return command


drive_argument = click.argument("drive", metavar="DRIVE")

json_option = option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
