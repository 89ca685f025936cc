"""The write buffer against a dict of bytes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from cryptdrive.vfs import buffers
from cryptdrive.vfs.buffers import WriteBuffer

steps = st.lists(
    st.tuples(st.sampled_from(["write", "remove", "truncate"]), st.integers(0, 90), st.integers(0, 40)),
    max_size=30,
)


@given(steps, st.integers(5, 60))
@settings(max_examples=400)
def test_against_a_dict(operations: list[tuple[str, int, int]], blob_bytes_max: int) -> None:
    before = buffers.RUN_BYTES_MAX
    buffers.RUN_BYTES_MAX = blob_bytes_max
    try:
        buffer, model = WriteBuffer(), dict[int, int]()
        for count, (what, offset, length) in enumerate(operations):
            if what == "write":
                data = bytes([count % 250 + 1]) * length
                buffer.write(offset, data)
                model.update({offset + place: data[place] for place in range(length)})
            else:
                end = offset + length if what == "remove" else 1 << 40
                if what == "remove":
                    buffer.remove(offset, offset + length)
                else:
                    buffer.truncate(offset)
                model = {place: value for place, value in model.items() if not offset <= place < end}
            check(buffer, model, blob_bytes_max)
    finally:
        buffers.RUN_BYTES_MAX = before


def check(buffer: WriteBuffer, model: dict[int, int], blob_bytes_max: int) -> None:
    found: dict[int, int] = {}
    end = -1
    for start, run in buffer.runs():
        assert start >= end
        assert 1 <= len(run) <= blob_bytes_max
        end = start + len(run)
        found |= {start + place: value for place, value in enumerate(run)}
    assert found == model
    assert buffer.byte_count == len(model)
    assert bool(buffer) == bool(model)
    for offset in (0, 7, 33):
        pieces = buffer.pieces(offset, offset + 20)
        seen = {start + place: value for start, data in pieces for place, value in enumerate(data)}
        assert seen == {key: value for key, value in model.items() if offset <= key < offset + 20}
        assert buffer.overlaps(offset, offset + 20) == bool(seen)


def test_sequential_writes_become_runs_of_blob_size() -> None:
    buffer = WriteBuffer()
    for offset in range(0, 9 << 20, 1 << 17):
        buffer.write(offset, bytes(1 << 17))
    full = buffers.RUN_BYTES_MAX
    assert [len(run) for _, run in buffer.runs()] == [full, full, (9 << 20) - 2 * full]
    taken = buffer.take_full()
    assert [(start, len(run)) for start, run in taken.runs()] == [(0, full), (full, full)]
    assert [start for start, _ in buffer.runs()] == [2 * full]
    assert buffer.byte_count + taken.byte_count == 9 << 20
    assert [start for start, _ in buffer.take_full().runs()] == [2 * full]
    assert not buffer
    assert buffer.byte_count == 0
