"""Size classes: the only sizes that objects in the store have (docs/format.md §5)."""

SMALLEST_CLASS = 4096


def size_class(length: int) -> int:
    """The smallest of {4, 5, 6, 7} KiB · 2ᵏ that is at least ``length`` bytes."""
    if length <= SMALLEST_CLASS:
        return SMALLEST_CLASS
    quarter = 1 << ((length - 1).bit_length() - 3)
    return -(-length // quarter) * quarter


def is_size_class(length: int) -> bool:
    """Whether an object of that many bytes can be ours."""
    return length > 0 and size_class(length) == length
