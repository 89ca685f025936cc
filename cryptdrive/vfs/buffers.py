"""A file's bytes that are not sealed yet."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from cryptdrive.crypto.sealing import BLOB_BYTES_MAX, SEGMENT_BYTES

RUN_BYTES_MAX = BLOB_BYTES_MAX - SEGMENT_BYTES
"""A segment less than a blob may hold: four sealed ones and an index fill a pack of 16 MiB, where
four of 4 MiB do not fit, and three would leave a ninth of it to padding."""


class WriteBuffer:
    """Runs of written bytes, sorted, apart from each other, each at most RUN_BYTES_MAX long.

    Byte-granular: what was not written is not in it, so no write ever has to read first. Runs
    side by side are joined as long as they fit a blob. Not thread-safe.
    """

    __slots__ = ("_runs", "_starts", "byte_count")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._runs: dict[int, bytearray] = {}
        self.byte_count = 0

    def __bool__(self) -> bool:
        return bool(self._starts)

    def runs(self) -> Iterator[tuple[int, bytearray]]:
        """(file offset, bytes) in order."""
        for start in self._starts:
            yield start, self._runs[start]

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Bytes written later win."""
        length = len(data)
        if not length:
            return
        starts = self._starts
        if not starts:
            self._insert_new(offset, data)
            return
        place = bisect_right(starts, offset) - 1
        if place >= 0:
            start = starts[place]
            run = self._runs[start]
            position = offset - start
            if position <= len(run):
                following = starts[place + 1] if place + 1 < len(starts) else None
                alone = following is None or following > offset + length or position + length <= len(run)
                if alone and position + length <= RUN_BYTES_MAX:
                    # Within one run, or right at its end: the common cases.
                    self.byte_count += max(0, position + length - len(run))
                    run[position : position + length] = data
                    return
        self.remove(offset, offset + length)
        self._insert_new(offset, data)

    def _insert_new(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Put ``data`` where nothing is, in pieces that fit a blob; join the first to a run it touches."""
        view = memoryview(data)
        place = bisect_right(self._starts, offset) - 1
        if place >= 0:
            start = self._starts[place]
            run = self._runs[start]
            room = RUN_BYTES_MAX - len(run)
            if start + len(run) == offset and room > 0:
                run += view[:room]
                self.byte_count += min(room, len(view))
                offset += room
                view = view[room:]
        while len(view):
            piece = bytearray(view[:RUN_BYTES_MAX])
            self._starts.insert(bisect_left(self._starts, offset), offset)
            self._runs[offset] = piece
            self.byte_count += len(piece)
            offset += len(piece)
            view = view[len(piece) :]

    def remove(self, start: int, stop: int) -> None:
        """Forget the bytes ``[start, stop)``."""
        starts = self._starts
        first = bisect_right(starts, start) - 1
        if first < 0 or starts[first] + len(self._runs[starts[first]]) <= start:
            first += 1
        last = bisect_left(starts, stop)
        tail: tuple[int, bytearray] | None = None
        kept: list[int] = []
        for run_start in starts[first:last]:
            run = self._runs[run_start]
            run_end = run_start + len(run)
            self.byte_count -= min(stop, run_end) - max(start, run_start)
            if run_end > stop:
                tail = (stop, run[stop - run_start :])
            if run_start < start:
                del run[start - run_start :]
                kept.append(run_start)
            else:
                del self._runs[run_start]
        if tail is not None:
            self._runs[tail[0]] = tail[1]
            kept.append(tail[0])
        starts[first:last] = kept

    def take_full(self) -> "WriteBuffer":
        """Take the runs out that will not grow any more; all of them if none is that long."""
        taken = WriteBuffer()
        taken._starts = [start for start in self._starts if len(self._runs[start]) == RUN_BYTES_MAX]
        if not taken._starts:
            taken._starts = list(self._starts)
        taken._runs = {start: self._runs.pop(start) for start in taken._starts}
        taken.byte_count = sum(map(len, taken._runs.values()))
        self._starts = [start for start in self._starts if start in self._runs]
        self.byte_count -= taken.byte_count
        return taken

    def truncate(self, size: int) -> None:
        """Forget everything from byte ``size`` on."""
        if self._starts:
            last = self._starts[-1]
            self.remove(size, max(size, last + len(self._runs[last])))

    def pieces(self, offset: int, end: int) -> list[tuple[int, bytearray]]:
        """Copies of what lies in ``[offset, end)``: (file offset, bytes) in order."""
        starts = self._starts
        place = max(bisect_right(starts, offset) - 1, 0)
        found = []
        while place < len(starts) and starts[place] < end:
            start = starts[place]
            run = self._runs[start]
            begin, stop = max(start, offset), min(start + len(run), end)
            if begin < stop:
                found.append((begin, run[begin - start : stop - start]))
            place += 1
        return found

    def overlaps(self, offset: int, end: int) -> bool:
        """Whether any byte of ``[offset, end)`` is in the buffer."""
        place = bisect_left(self._starts, end) - 1
        if place < 0:
            return False
        start = self._starts[place]
        return start + len(self._runs[start]) > offset
