"""The bytes of one file, with holes."""

BLOCK_SIZE = 4096


class SparseContent:
    """A file's bytes as a dictionary of blocks; what is missing reads as zeros."""

    def __init__(self) -> None:
        self.size = 0
        self._blocks: dict[int, bytearray] = {}

    @property
    def allocated(self) -> int:
        return len(self._blocks) * BLOCK_SIZE

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``, fewer only where the file ends."""
        end = min(offset + size, self.size)
        parts = []
        while offset < end:
            number, start = divmod(offset, BLOCK_SIZE)
            length = min(BLOCK_SIZE - start, end - offset)
            block = self._blocks.get(number)
            parts.append(bytes(block[start : start + length]) if block is not None else bytes(length))
            offset += length
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        position = 0
        while position < len(data):
            number, start = divmod(offset + position, BLOCK_SIZE)
            length = min(BLOCK_SIZE - start, len(data) - position)
            block = self._blocks.setdefault(number, bytearray(BLOCK_SIZE))
            block[start : start + length] = data[position : position + length]
            position += length
        self.size = max(self.size, offset + len(data))

    def truncate(self, size: int) -> None:
        """Cut or grow; what a later growth shows again is zeros."""
        if size < self.size:
            last, used = divmod(size, BLOCK_SIZE)
            for number in [
                number for number in self._blocks if number > last or (number == last and used == 0)
            ]:
                del self._blocks[number]
            if last in self._blocks:
                self._blocks[last][used:] = bytes(BLOCK_SIZE - used)
        self.size = size

    def copy(self) -> "SparseContent":
        other = SparseContent()
        other.size = self.size
        other._blocks = {number: bytearray(block) for number, block in self._blocks.items()}
        return other

    def data_ranges(self) -> list[tuple[int, int]]:
        """Where there is data, as (offset, length) of whole blocks, in order."""
        return [(number * BLOCK_SIZE, BLOCK_SIZE) for number in sorted(self._blocks)]
