"""The credential of a served drive: random, made once, kept 0600."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptdrive.errors import ConfigError
from cryptdrive.local.disk import write_durably

REALM = "cryptdrive"
USER = "cryptdrive"
_PASSWORD_BYTES = 16


@dataclass(frozen=True, slots=True)
class Credential:
    """A user name and password."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credential({self.user!r}, …)"


def load_or_create(folder: Path) -> Credential:
    """The credential kept in ``folder``; made the first time.

    It opens what the running server shows, and not the vault. Raises ConfigError where others
    could read the file.
    """
    path = folder / "webdav-credential"
    try:
        status = path.stat()
        if status.st_mode & 0o077 or status.st_uid != os.geteuid():
            raise ConfigError(f"{path}: other users could read it; remove it, and a new one is made")
        user, _, password = path.read_text("ascii").strip().partition(":")
        if user and password:
            return Credential(user, password)
    except FileNotFoundError:
        pass
    credential = Credential(USER, secrets.token_urlsafe(_PASSWORD_BYTES))
    write_durably(path, f"{credential.user}:{credential.password}\n".encode("ascii"))
    return credential
