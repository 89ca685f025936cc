"""``cryptdrive status``."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import click

from cryptdrive.cli.finding import drive_or_mountpoint, running_drives, runtime_folder, store_url
from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.local_state import Waiting, all_waiting, waiting_for
from cryptdrive.cli.options import common_options, json_option, option
from cryptdrive.cli.sending import what_may_wait, what_waits
from cryptdrive.cli.terminal import count_text, printable, size_text, time_text
from cryptdrive.control.client import ControlClient
from cryptdrive.control.protocol import ConnectionEnded
from cryptdrive.control.records import RunningRecord
from cryptdrive.errors import NoVault, StoreError, Unsupported

NOT_RUNNING, NO_ANSWER = "not running", "does not answer"

Status = dict[str, Any]


@click.command()
@click.argument("drive", metavar="[DRIVE]", required=False)
@json_option
@option("--credential", is_flag=True, help="Show user and password of WebDAV.")
@common_options
@click.pass_obj
def command(invocation: Invocation, drive: str | None, as_json: bool, credential: bool) -> None:
    """Show running drives, and what is not on the store yet.

    Also where they are and what went wrong. DRIVE may be a mountpoint too. Without it all running
    drives of this user are shown, and those that are not running and whose changes may wait here.

    \b
    Examples:
      cryptdrive status
      cryptdrive status ~/Drive --json
      cryptdrive status photos --credential
    """
    invocation.start_logging()
    folder = runtime_folder(invocation)
    records = folder.records() if drive is None else running_drives(invocation, drive)
    statuses = [_status(invocation, record, credential=credential) for record in records]
    statuses += [_status_of_stopped(each) for each in _stopped(invocation, drive, records)]
    if as_json:
        click.echo(json.dumps({"drives": statuses}, indent=2))
    elif not statuses:
        click.echo("no drive is running" if drive is None else f"{drive}: not running")
    else:
        for status in statuses:
            _show(status)


def _status(invocation: Invocation, record: RunningRecord, *, credential: bool) -> Status:
    """What the process says of its drive; of one that does not answer, only that."""
    try:
        with ControlClient(runtime_folder(invocation), record) as client:
            status = client.status()
            if credential:
                status["credential"] = _credential(client)
            return status
    except ConnectionEnded as error:
        return {**asdict(record), "state": NO_ANSWER, "errors": [str(error)]}


def _stopped(invocation: Invocation, drive: str | None, records: Sequence[RunningRecord]) -> list[Waiting]:
    """What may wait for drives that no process has open."""
    if drive is None:
        running = {record.vault_id[:32] for record in records}
        return [each for each in all_waiting(invocation.folders) if each.vault_id[:32] not in running]
    if records:
        return []
    config = drive_or_mountpoint(invocation, drive)
    try:
        waiting = waiting_for(invocation.folders, config)
    except (NoVault, StoreError):
        return []  # nothing is known of it here
    return [replace(waiting, store=store_url(config))] if waiting is not None else []


def _status_of_stopped(waiting: Waiting) -> Status:
    return {"store": waiting.store, "vault_id": waiting.vault_id, "mountpoint": None, "pid": None,
            "state": NOT_RUNNING, "waiting_bytes": waiting.waiting_bytes,
            "state_folder": str(waiting.path), "errors": [what_may_wait(waiting)]}  # fmt: skip


def _credential(client: ControlClient) -> Status | None:
    try:
        return client.credential()
    except Unsupported:
        return None


def _show(status: Status) -> None:
    places = (status["mountpoint"], status.get("webdav_url"), status["store"], status.get("state_folder"))
    title = printable(next(filter(None, places)))
    rows = [(name, printable(value)) for name, value in _rows(status)]
    if sys.stdout.isatty():
        _show_table(title, rows)
    else:
        _show_lines(title, rows)


def _show_table(title: str, rows: list[tuple[str, str]]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, show_header=False, title=Text(title), title_justify="left", pad_edge=False)
    for name, value in rows:
        table.add_row(name, Text(value, overflow="fold"))
    Console(highlight=False).print(table)


def _show_lines(title: str, rows: list[tuple[str, str]]) -> None:
    """For programs: a value is one line, however long, and nothing follows it."""
    width = max(len(name) for name, _ in rows)
    click.echo("\n".join([title, *(f" {name:<{width}}   {value}" for name, value in rows), ""]))


def _rows(status: Status) -> list[tuple[str, str]]:
    process = f" (process {status['pid']})" if status["pid"] is not None else ""
    rows = [("state", status["state"] + process), ("store", status["store"] or "not known here")]
    if status["state"] == NOT_RUNNING:
        return [*rows, ("changes", status["errors"][0]), ("kept in", status["state_folder"])]
    if status["state"] != NO_ANSWER:
        rows += _rows_of_drive(status)
    credential = status.get("credential")
    if credential is not None:
        rows += [("user", credential["user"]), ("password", credential["password"])]
        if credential["fingerprint"]:
            rows.append(("certificate", f"SHA-256 {credential['fingerprint']}"))
    rows += [("error", error) for error in status["errors"]]
    return rows


def _rows_of_drive(status: Status) -> list[tuple[str, str]]:
    block_cache, node_cache = (size_text(status[f"{kind}_cache_bytes"]) for kind in ("block", "node"))
    return [
        ("since", time_text(status["started_ns"])),
        ("mounted at", status["mountpoint"] or "–"),
        ("WebDAV", status["webdav_url"] or "–"),
        ("access", "read-only" if status["read_only"] else "read and write"),
        ("changes", what_waits(status)),
        *([("writing", status["pressure"])] if status["pressure"] else []),
        ("head", f"commit {status['head_number']} ({status['head_hash'][:12]})"),
        ("holds", f"{size_text(status['used_bytes'])} in {count_text(status['inodes'])}"),
        ("open", count_text(status["open_handles"])),
        ("in memory", f"{block_cache} of files, {node_cache} of the tree"),
        ("log", status["log_file"] or "–"),
        ("vault", status["vault_id"][:32]),
    ]
