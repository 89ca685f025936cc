"""Where cryptdrive keeps its files on this machine (XDG Base Directory Specification 0.8)."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptdrive.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LocalFolders:
    """The four folders; none of them need exist before :meth:`create`."""

    state: Path
    """Heads, journals, credentials, logs: losing it loses what is not published."""
    cache: Path
    """May be deleted while no drive is open."""
    config: Path
    runtime: Path
    """Sockets of running drives."""

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] = os.environ, *, cache_dir: Path | None = None
    ) -> Self:
        """The folders that the XDG variables name; a relative path in one counts as unset.

        Raises ConfigError: there is no home folder.
        """
        state = _base(environment, "XDG_STATE_HOME", ".local/state") / "cryptdrive"
        runtime = environment.get("XDG_RUNTIME_DIR", "")
        return cls(
            state=state,
            cache=cache_dir or _base(environment, "XDG_CACHE_HOME", ".cache") / "cryptdrive",
            config=_base(environment, "XDG_CONFIG_HOME", ".config") / "cryptdrive",
            runtime=Path(runtime) / "cryptdrive" if _is_own_folder(runtime) else state / "run",
        )

    @property
    def config_file(self) -> Path:
        return self.config / "config.toml"

    def create(self) -> None:
        """Make the folders for state, cache and sockets, 0700 where they are new.

        Raises ConfigError: one cannot be made, or does not belong to this user alone.
        """
        for folder in (self.state, self.cache, self.runtime):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                status = folder.stat()
            except OSError as error:
                raise ConfigError(f"{folder}: {error.strerror}") from error
            if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise ConfigError(f"{folder}: must belong to you, and nobody else may write to it")


def _base(environment: Mapping[str, str], variable: str, default: str) -> Path:
    named = environment.get(variable, "")
    if os.path.isabs(named):
        return Path(named)
    home = environment.get("HOME", "")
    try:
        return (Path(home) if os.path.isabs(home) else Path.home()) / default
    except RuntimeError as error:
        raise ConfigError(f"there is no home folder; set HOME or {variable}") from error


def _is_own_folder(path: str) -> bool:
    """Whether ``path`` may hold sockets: sudo keeps the variable, which then names another user's folder."""
    if not os.path.isabs(path):
        return False
    try:
        status = os.stat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
