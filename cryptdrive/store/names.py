"""Which names an object and a folder may have, the same for every store."""

import re

NAME_BYTES_MAX = 512
PART_BYTES_MAX = 128

_part = rf"[0-9a-z-][0-9a-z.-]{{0,{PART_BYTES_MAX - 1}}}"
_name = re.compile(rf"{_part}(?:/{_part})*")


def check_object_name(name: str) -> None:
    """Raises ValueError for what is not parts of ``[0-9a-z.-]`` without a leading dot, joined by ``/``.

    So no name can leave the store, be hidden, or be told apart by its case alone.
    """
    if len(name) > NAME_BYTES_MAX or not _name.fullmatch(name):
        raise ValueError(f"not a name for an object: {name!r}")


def check_folder_name(folder: str) -> None:
    """Raises ValueError for what is neither ``""``, the top, nor of the form of an object's name."""
    if folder:
        check_object_name(folder)


def is_part(text: str) -> bool:
    """Whether an object or folder of this name can be one of ours."""
    return re.fullmatch(_part, text) is not None


def check_range(offset: int, length: int | None) -> None:
    """Raises ValueError for a range that starts or ends before the object does."""
    if offset < 0 or (length is not None and length < 0):
        raise ValueError(f"not a range of bytes: {length} from {offset}")
