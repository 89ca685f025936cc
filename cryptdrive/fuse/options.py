"""How a drive is mounted, and what ``-o`` may say about it."""

from dataclasses import dataclass, replace
from typing import Any

from cryptdrive.errors import ConfigError

PASSED_ON = frozenset({"exec", "noexec", "sync", "async", "dirsync", "noatime", "nodiratime"})
"""Options that the kernel's mount takes as they are."""

IGNORED = frozenset(
    {"defaults", "nofail", "_netdev", "auto", "noauto", "user", "nouser", "users", "owner", "group"}
    | {"atime", "relatime", "norelatime", "strictatime", "lazytime", "default_permissions"}
)
"""What other programs read out of fstab, and what holds in any case."""

IGNORED_PREFIXES = ("x-", "X-", "comment=")


@dataclass(frozen=True, slots=True)
class MountOptions:
    """How one drive is mounted. ``uid``, ``gid`` and ``umask`` change what is shown, not what is kept."""

    fsname: str = "cryptdrive"
    """What ``mount`` and ``df`` show as the device."""
    allow_other: bool = False
    """Other users than the one who mounts may enter, as far as the modes let them."""
    read_only: bool = False
    uid: int | None = None
    """Everything is shown as owned by this user."""
    gid: int | None = None
    umask: int | None = None
    """Permission bits that are shown as taken away."""
    dev: bool = False
    """Device nodes work (root only)."""
    suid: bool = False
    """Set-user-id and set-group-id bits work (root only)."""
    nonempty: bool = False
    """The mountpoint may hold files; they are hidden while the drive is mounted."""
    extra: tuple[str, ...] = ()
    """Further options for libfuse and the kernel, as they are."""

    def for_libfuse(self) -> set[str]:
        """The options in libfuse's words.

        Raises ConfigError: the name for ``df`` is not ASCII.
        """
        if not self.fsname.isascii() or not self.fsname.isprintable():
            raise ConfigError("the mount option fsname takes printable ASCII characters only")
        name = self.fsname.replace("\\", "\\\\").replace(",", "\\,")
        chosen = {f"fsname={name}", "subtype=cryptdrive", "default_permissions", *self.extra}
        switches = {"allow_other": self.allow_other, "ro": self.read_only, "dev": self.dev, "suid": self.suid}
        return chosen | {option for option, wanted in switches.items() if wanted}


FIELD_OF_SWITCH: dict[str, tuple[str, bool]] = {
    "allow_other": ("allow_other", True),
    "ro": ("read_only", True),
    "rw": ("read_only", False),
    "dev": ("dev", True),
    "nodev": ("dev", False),
    "suid": ("suid", True),
    "nosuid": ("suid", False),
    "nonempty": ("nonempty", True),
}


def with_option_text(options: MountOptions, text: str) -> MountOptions:
    """``options`` changed by the comma-separated ``text`` of a ``-o`` or of fstab; later words win.

    Raises ConfigError: an option that is not known, or a value that is not a number.
    """
    changes: dict[str, Any] = {}
    extra = list(options.extra)
    for word in filter(None, text.split(",")):
        name, _, value = word.partition("=")
        if word in FIELD_OF_SWITCH:
            field, wanted = FIELD_OF_SWITCH[word]
            changes[field] = wanted
        elif word in PASSED_ON:
            extra.append(word)
        elif name == "fsname" and value:
            changes["fsname"] = value
        elif name in ("uid", "gid"):
            changes[name] = _number(name, value, 10)
        elif name == "umask":
            changes["umask"] = _number(name, value, 8) & 0o777
        elif name == "max_read":
            extra.append(f"max_read={_number(name, value, 10)}")
        elif word not in IGNORED and not word.startswith(IGNORED_PREFIXES):
            raise ConfigError(f"unknown mount option: {word}")
    return replace(options, **changes, extra=tuple(extra))


def _number(name: str, value: str, base: int) -> int:
    try:
        number = int(value, base)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 32:
        raise ConfigError(f"the mount option {name} takes {'an octal' if base == 8 else 'a'} number")
    return number
