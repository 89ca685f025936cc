"""The numbers that a device gives out."""

from cryptdrive.errors import NoSpace
from cryptdrive.schema.keys import COUNTER_BITS, TAG_BITS
from cryptdrive.types import InodeNumber

COUNTER_MAX = (1 << COUNTER_BITS) - 1
"""A counter that has come here is used up: the number itself is never given out."""


class Counters:
    """This device's counters for inode numbers and changes; guarded by the drive's lock."""

    def __init__(self, tag: int, next_inode: int, next_change: int) -> None:
        self.tag = tag
        self.next_inode = next_inode
        self.next_change = next_change

    def inode(self) -> InodeNumber:
        """A number that was never given before."""
        number = self.next_inode
        if number >= COUNTER_MAX:
            raise NoSpace("this device has used up its inode numbers; enrol it anew")
        self.next_inode = number + 1
        return InodeNumber(self.tag << COUNTER_BITS | number)

    def change(self) -> int:
        """A change number above all before; the tag tells devices apart that count alike."""
        number = self.next_change
        if number >= COUNTER_MAX:
            raise NoSpace("this device has used up its change numbers; enrol it anew")
        self.next_change = number + 1
        return number << TAG_BITS | self.tag
