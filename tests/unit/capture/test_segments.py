from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from driftline.capture.segments import Head, Segment, found
from driftline.errors import Corrupt

HEAD = Head("captured/flights/A/2026/03/01/09/x.jsonl", "flights", "A", datetime(2026, 3, 1, 9, tzinfo=UTC))


@contextmanager
def longest_file(size: int) -> Iterator[None]:
    """No file grows beyond this: a write there is cut short, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_segment_is_found_as_it_was_saved(tmp_path: Path) -> None:
    segment = Segment(HEAD, tmp_path / "1.segment", 0.0)
    for lines in ((b"1", b"2"), (), (b"3",)):
        for line in lines:
            segment.add(line, 0.0)
        assert segment.save() == (0, None)
    again = found(tmp_path / "1.segment", 0.0)
    assert again is not None
    assert (again.head, again.place, again.size) == (HEAD, HEAD.place, segment.size)
    assert again.read() == segment.read() == ([b"1", b"2", b"3"], 0)


def test_a_segment_in_memory_reads_the_same() -> None:
    segment = Segment(HEAD, None, 0.0)
    for line in (b"1", b"2"):
        segment.add(line, 0.0)
        segment.save()
    assert segment.read() == ([b"1", b"2"], 0)
    assert segment.records == 2


@pytest.mark.parametrize("size", range(120, 400, 7))
def test_a_disk_that_fills_in_mid_write_leaves_whole_records_only(tmp_path: Path, size: int) -> None:
    segment = Segment(HEAD, tmp_path / "1.segment", 0.0)
    segment.add(b"first", 0.0)
    lines = [b"%d" % number * 10 for number in range(20)]
    with longest_file(size):
        first, _ = segment.save()
        for line in lines:
            segment.add(line, 0.0)
        lost, why = segment.save()
    assert why is not None
    assert why.errno == errno.EFBIG
    if first == 1:
        assert lost == 20
        assert not (tmp_path / "1.segment").exists()
    else:
        assert segment.read() == ([b"first", *lines[: 20 - lost]], 0)
        assert (tmp_path / "1.segment").stat().st_size == segment.size <= size
        segment.add(b"room again", 0.0)
        assert segment.save() == (0, None)
        assert segment.read().lines[-1] == b"room again"


def test_a_file_that_ended_before_its_head_was_whole_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "1.segment").write_bytes(b"")
    (tmp_path / "2.segment").write_bytes(b'0a0b0c0d {"key":"capt')
    assert found(tmp_path / "1.segment", 0.0) is None
    assert found(tmp_path / "2.segment", 0.0) is None
    (tmp_path / "3.segment").write_bytes(b'0a0b0c0d {"key":"capt\n')
    with pytest.raises(Corrupt, match=r"3\.segment: the first line is damaged"):
        found(tmp_path / "3.segment", 0.0)


def test_a_file_that_somebody_deleted_is_not_begun_anew_without_its_head(tmp_path: Path) -> None:
    segment = Segment(HEAD, tmp_path / "1.segment", 0.0)
    segment.add(b"1", 0.0)
    segment.save()
    os.unlink(tmp_path / "1.segment")  # noqa: PTH108
    segment.add(b"2", 0.0)
    lost, why = segment.save()
    assert (lost, isinstance(why, FileNotFoundError)) == (1, True)
    assert not (tmp_path / "1.segment").exists()
