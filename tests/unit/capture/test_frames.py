from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from driftline.capture.frames import frame, unframe, whole_within

LINES = st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), max_size=8)


@given(LINES, st.integers(0, 400))
def test_what_was_torn_off_costs_only_what_was_torn(lines: list[bytes], size: int) -> None:
    frames = [frame(line) for line in lines]
    kept, end = whole_within(frames, size)
    found = unframe(b"".join(frames)[:size])
    assert found.lines == lines[:kept]
    assert found.damaged == (end < min(size, len(b"".join(frames))))


@given(LINES, st.data())
def test_a_bit_that_flips_costs_its_own_line_only(lines: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(b"".join(frame(line) for line in [b"first", *lines, b"last"]))
    at = data.draw(st.integers(len(frame(b"first")), len(whole) - len(frame(b"last")) - 1), label="at") if lines else 0
    whole[at] ^= 1 << data.draw(st.integers(0, 7), label="bit")
    found = unframe(bytes(whole))
    assert len(found.lines) >= len(lines)
    assert found.damaged >= 1
    assert set(found.lines) <= {b"first", *lines, b"last"}
