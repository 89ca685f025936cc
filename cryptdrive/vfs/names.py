"""What a name may be."""

from cryptdrive.errors import Exists, Invalid, NameTooLong, NotFound
from cryptdrive.schema.keys import NAME_BYTES_MAX


def check_new_name(name: bytes) -> None:
    """A name that is to be made. Raises NameTooLong, Invalid, and Exists for ``.`` and ``..``."""
    _check(name)
    if name in (b".", b".."):
        raise Exists("'.' and '..' are there in every directory")


def check_old_name(name: bytes) -> None:
    """A name that is to be removed or renamed. Raises NameTooLong, Invalid."""
    _check(name)
    if name in (b".", b".."):
        raise Invalid("'.' and '..' cannot be removed or renamed")


def _check(name: bytes) -> None:
    if len(name) > NAME_BYTES_MAX:
        raise NameTooLong(f"a name has at most {NAME_BYTES_MAX} bytes, not {len(name)}")
    if not name:
        raise NotFound("a name is empty")
    if b"/" in name or b"\0" in name:
        raise Invalid("a name holds '/' or NUL")
