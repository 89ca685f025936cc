"""One call of the program: the common options, and what they and the configuration lead to."""

import dataclasses
import logging
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cryptdrive.cli import logs
from cryptdrive.config import Config, DriveConfig, LocalFolders, load_config
from cryptdrive.local.known_stores import KnownStores
from cryptdrive.store.opening import folder_path


@dataclass
class Invocation:
    """The options that every command takes, as far as they were given."""

    password_file: Path | None = None
    password_command: str | None = None
    recovery_key_file: Path | None = None
    config: Path | None = None
    cache_dir: Path | None = None
    log_file: Path | None = None
    verbose: int = 0
    quiet: bool = False
    told: list[str] = field(default_factory=list)
    """Reasons that a person has been told already: they are not repeated on the terminal."""

    @cached_property
    def configuration(self) -> Config:
        """Raises ConfigError. A file that was asked for must be there; the usual one need not."""
        path = self.config or LocalFolders.from_environment().config_file
        return load_config(path, required=self.config is not None)

    @property
    def config_path(self) -> Path:
        return (self.config or LocalFolders.from_environment().config_file).absolute()

    @cached_property
    def folders(self) -> LocalFolders:
        """The local folders, which are there. Raises ConfigError."""
        cache = self.cache_dir or self.configuration.cache_dir
        folders = LocalFolders.from_environment(cache_dir=cache.absolute() if cache is not None else None)
        folders.create()
        return folders

    def drive(self, text: str) -> DriveConfig:
        """The drive that ``text`` names: one of the configuration, or a store. Raises ConfigError."""
        if text not in self.configuration.drives and self._is_folder_that_is_away(text):
            text = f"./{text}"
        found = self.configuration.drive(text)
        if found.store.startswith("memory:"):
            return found
        # Absolute, for a process in the background works in another folder.
        return dataclasses.replace(found, store=folder_path(found.store))

    def _is_folder_that_is_away(self, text: str) -> bool:
        """Whether a bare name is that of a folder where this machine has used a vault."""
        if not text or "/" in text or "\0" in text or Path(text).is_dir():
            return False
        return KnownStores(self.folders.state).vault_at(Path(text).absolute().as_uri()) is not None

    # --- messages ------------------------------------------------------------------------------

    @property
    def log_level(self) -> int:
        return logs.level_of(self.verbose, self.quiet)

    @property
    def chosen_log_file(self) -> Path | None:
        """What the command line or the configuration names; None for the terminal."""
        path = self.log_file or self.configuration.log_file
        return path.absolute() if path is not None else None

    def start_logging(self) -> None:
        """Messages go where they were asked to go. Raises ConfigError."""
        path = self.chosen_log_file
        if path is not None:
            logs.log_to_file(path, self.log_level)
        else:
            logs.log_to_terminal(self.log_level)

    def start_background_logging(self, drive: DriveConfig) -> Path:
        """Messages of a process without a terminal go to a file in any case; gives its path."""
        digest = drive.name or _digest(drive.store)
        path = self.chosen_log_file or self.folders.state / "log" / f"{digest}.log"
        logs.log_to_file(path, min(self.log_level, logging.INFO))
        return path


def _digest(store: str) -> str:
    """A file name for a store that has no name of its own."""
    from hashlib import sha256

    return sha256(store.encode("utf-8", "surrogateescape")).hexdigest()[:12]
