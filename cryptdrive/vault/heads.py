"""Finding the newest commits of a vault (docs/format.md §13)."""

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from cryptdrive.crypto.sealing import Sealer
from cryptdrive.errors import Integrity, NoVault, ObjectNotFound
from cryptdrive.store.base import Store
from cryptdrive.vault.commits import (
    COMMIT_BYTES_MAX,
    COMMIT_BYTES_MIN,
    Commit,
    CommitId,
    commit_folder,
    commit_name,
    open_commit,
    parse_commit_name,
)

_TIPS_MAX = 32
_PASSED_OVER_MAX = 8
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tip:
    """A verified commit that no other names as parent."""

    id: CommitId
    commit: Commit


def find_tips(store: Store, sealer: Sealer, owner_key: bytes, known: Sequence[CommitId] = ()) -> list[Tip]:
    """The tips among the vault's newest commits, highest number first.

    Two listings, whatever the length of the history: the folders, and the last of them (a third
    where that one starts with a commit whose siblings may lie before it). Looks at the highest
    number and, as long as there are several candidates, at the parents' numbers below. Commits that
    are ``known`` are asked for by name where a listing, which may be late, does not show them.

    A commit of which the store holds only the beginning is passed over and reported in the log: a
    put broke off. That gives a store nothing it has not anyway: it could as well delete the object;
    whoever has seen the commit refuses an older state.

    Raises NoVault where there is no commit at all; Integrity where an object among the newest is
    not a commit of this vault.
    """
    commits = _with_known(store, _newest(store), known)
    if not commits:
        raise NoVault(
            f"the vault at {store.url} has no commit: its creation was not finished; "
            "empty the folder and create it again"
        )
    highest, passed_over = 0, 0
    tips: list[Tip] = []
    named: set[CommitId] = set()
    for candidate in commits:
        # A fork is as short as a race: what is further back than the merge window has descendants.
        if candidate.number < highest - 1 or len(tips) > _TIPS_MAX or passed_over > _PASSED_OVER_MAX:
            break
        if candidate in named:
            continue
        commit = _load_if_whole(store, sealer, owner_key, candidate)
        if commit is None:
            passed_over += 1
            continue
        highest = highest or candidate.number
        named.update(commit.parents)
        tips.append(Tip(candidate, commit))
    if not tips:
        raise Integrity(f"none of the newest commits at {store.url} is whole")
    return tips


def _newest(store: Store) -> list[CommitId]:
    """Commits of the last one or two folders, highest number first. Raises Integrity for junk."""
    folders = sorted(store.list("commits").folders, reverse=True)
    found: list[CommitId] = []
    for folder in folders[:2]:
        for info in store.list(folder).objects:
            commit = parse_commit_name(info.name)
            if commit is None or commit_folder(commit.number) != folder or not commit.number:
                raise Integrity(f"{info.name} is not a commit; somebody put it into the store")
            found.append(commit)
        if len({commit.number for commit in found}) > 1:
            break
    return _newest_first(found)


def _newest_first(commits: Iterable[CommitId]) -> list[CommitId]:
    # Some stores list an object twice when a listing takes more than one request.
    return sorted(set(commits), key=lambda commit: (commit.number, commit.hash), reverse=True)


def _with_known(store: Store, listed: list[CommitId], known: Sequence[CommitId]) -> list[CommitId]:
    newest = listed[0].number if listed else 0
    missing = []
    for commit in known:
        if commit.number >= newest and commit not in listed:
            with suppress(ObjectNotFound):
                store.stat(commit_name(commit))
                missing.append(commit)
    return _newest_first([*listed, *missing]) if missing else listed


def _load_if_whole(store: Store, sealer: Sealer, owner_key: bytes, commit: CommitId) -> Commit | None:
    """A verified commit; None where the store holds its beginning only. Raises Integrity, StoreError."""
    name = commit_name(commit)
    try:
        data = store.get(name, 0, COMMIT_BYTES_MAX + 1)
    except ObjectNotFound:
        raise Integrity(f"{name} is listed by the store, and is not there") from None
    if len(data) < COMMIT_BYTES_MIN:
        _log.warning("%s is cut short, and is passed over", name)
        return None
    return open_commit(sealer, owner_key, commit, data)


def commits_from(store: Store, number: int) -> list[CommitId]:
    """The commits in the store with that number or a higher one; one listing or two."""
    found = []
    for folder in {commit_folder(number), commit_folder(number + 1)}:
        for info in store.list(folder).objects:
            commit = parse_commit_name(info.name)
            if commit is not None and commit.number >= number:
                found.append(commit)
    return found
