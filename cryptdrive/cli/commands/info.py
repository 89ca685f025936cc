"""``cryptdrive info``."""

import json
from collections.abc import Iterator

import click

from cryptdrive.cli.finding import drive_or_mountpoint, running_drives
from cryptdrive.cli.invocation import Invocation
from cryptdrive.cli.options import common_options, drive_argument, json_option
from cryptdrive.cli.terminal import size_text, spinner
from cryptdrive.store.base import ObjectInfo, Store
from cryptdrive.store.opening import open_store
from cryptdrive.vault.header import read_header


@click.command()
@drive_argument
@json_option
@common_options
@click.pass_obj
def command(invocation: Invocation, drive: str, as_json: bool) -> None:
    """Show what can be seen of a vault without its password.

    \b
    Example:
      cryptdrive info /media/disk/vault
    """
    from cryptdrive.crypto.sealing import FORMAT_VERSION
    from cryptdrive.vault.commits import parse_commit_name

    invocation.start_logging()
    store = open_store(drive_or_mountpoint(invocation, drive).store)
    try:
        header = read_header(store)
        with spinner(invocation, "Counting …"):
            objects = list(_objects(store, ""))
    finally:
        store.close()
    commits = [commit.number for info in objects if (commit := parse_commit_name(info.name)) is not None]
    facts: dict[str, object] = {
        "store": store.url,
        "vault_id": header.vault_id.hex(),
        "format_version": FORMAT_VERSION,
        "commits": len(commits),
        "newest_commit": max(commits, default=0),
        "objects": len(objects),
        "store_bytes": sum(info.size for info in objects),
        "running": bool(running_drives(invocation, drive)),
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for label, value in (
        ("store", facts["store"]),
        ("vault id", facts["vault_id"]),
        ("format version", facts["format_version"]),
        ("commits", f"{facts['commits']}, the newest is number {facts['newest_commit']}"),
        ("in the store", f"{facts['objects']} objects, {size_text(sum(info.size for info in objects))}"),
        ("running", "yes" if facts["running"] else "no"),
    ):
        click.echo(f"{label:<16}{value}")


def _objects(store: Store, folder: str) -> Iterator[ObjectInfo]:
    """Every object of a store. Not by recursion: how deep folders lie is the store's to say."""
    folders = [folder]
    while folders:
        listing = store.list(folders.pop())
        yield from listing.objects
        folders += listing.folders
