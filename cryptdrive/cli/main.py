"""The program ``cryptdrive``: finds the command, runs it, and translates what goes wrong."""

import importlib
import logging
import sys
from typing import Any, NoReturn

import click

from cryptdrive.cli import errors, terminal
from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.options import common_options
from cryptdrive.errors import CryptdriveError
from cryptdrive.local.process import harden

_log = logging.getLogger(__name__)

COMMANDS = (
    "init", "mount", "umount", "serve", "status", "flush", "info", "passwd", "config",
    "ls", "put", "get", "cp", "mv", "rm", "mkdir", "quickstart",
)  # fmt: skip


class Commands(click.Group):
    """Loads a command's module when it is needed, and lists the commands in the order of their use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"cryptdrive.cli.commands.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"cryptdrive {version('cryptdrive')}")
        ctx.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="DRIVE is a store (/path, file:///path) or a name from the configuration file. Every option has a "
    "variable too: --log-file is CRYPTDRIVE_LOG_FILE. A password is never given on the command line: see "
    "--password-file, --password-command and the variable CRYPTDRIVE_PASSWORD.",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version.",
)
@common_options
def program() -> None:
    """Mounts a store nobody has to trust as a local drive, encrypted.

    \b
    cryptdrive init /media/disk/vault
    cryptdrive mount /media/disk/vault ~/Drive
    cryptdrive umount ~/Drive
    """


def run(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code. Raises nothing."""
    invocation = Invocation()
    try:
        outcome: Any = program.main(arguments, prog_name="cryptdrive", standalone_mode=False, obj=invocation)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.exceptions.Abort:
        click.echo(err=True)
        return errors.INTERRUPTED
    except BrokenPipeError:
        return _after_broken_pipe()
    except (CryptdriveError, OSError, KeyboardInterrupt) as error:
        return _fail(error, invocation)
    except Exception as error:  # noqa: BLE001 - a person gets a message, the log the traceback
        return _fail(error, invocation)
    return outcome if isinstance(outcome, int) else errors.DONE


def _fail(error: BaseException, invocation: Invocation) -> int:
    terminal.complain(errors.message(error, invocation.told))
    _log.debug("the command failed here", exc_info=error)
    return errors.exit_code(error)


def _after_broken_pipe() -> int:
    """Whoever read our output has gone (``| head``): end quietly, as other programs do."""
    import os

    # What is left in the buffers would raise the same again when the interpreter ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return errors.OTHER


def main() -> NoReturn:
    """The entry point."""
    harden()
    sys.exit(run())
