"""Finding the newest commits of a vault (docs/format.md §13)."""

from dataclasses import dataclass

from cryptdrive.crypto.sealing import Sealer
from cryptdrive.errors import Integrity, NoVault, ObjectNotFound
from cryptdrive.store.base import Store
from cryptdrive.vault.commits import (
    COMMIT_BYTES_MAX,
    Commit,
    CommitId,
    commit_folder,
    commit_name,
    open_commit,
    parse_commit_name,
)

_TIPS_MAX = 32


@dataclass(frozen=True, slots=True)
class Tip:
    """A verified commit that no other names as parent."""

    id: CommitId
    commit: Commit


def find_tips(store: Store, sealer: Sealer, owner_key: bytes) -> list[Tip]:
    """The tips among the vault's newest commits, highest number first.

    Two listings, whatever the length of the history: the folders, and the last of them (a third
    where that one starts with a commit whose siblings may lie before it). Looks at the highest
    number and, as long as there are several candidates, at the parents' numbers below.

    Raises NoVault where there is no commit at all; Integrity where an object among the newest is
    not a commit of this vault: it is reported, never skipped.
    """
    commits = _newest(store)
    if not commits:
        raise NoVault(
            f"the vault at {store.url} has no commit: its creation was not finished; "
            "empty the folder and create it again"
        )
    highest = commits[0].number
    tips: list[Tip] = []
    named: set[CommitId] = set()
    for candidate in commits:
        # A fork is as short as a race: what is further back than the merge window has descendants.
        if candidate.number < highest - 1 or len(tips) > _TIPS_MAX:
            break
        if candidate in named:
            continue
        commit = load_commit(store, sealer, owner_key, candidate)
        named.update(commit.parents)
        tips.append(Tip(candidate, commit))
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
    found.sort(key=lambda commit: (commit.number, commit.hash), reverse=True)
    return found


def load_commit(store: Store, sealer: Sealer, owner_key: bytes, commit: CommitId) -> Commit:
    """A verified commit. Raises Integrity, StoreError."""
    name = commit_name(commit)
    try:
        data = store.get(name, 0, COMMIT_BYTES_MAX + 1)
    except ObjectNotFound:
        raise Integrity(f"{name} is listed by the store, and is not there") from None
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
