"""Counts that outlive their process, without a call to the system."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from driftline.capture import Counters, cells
from driftline.capture.cells import Cells
from driftline.capture.ids import new_id
from driftline.capture.tallies import Counted, Place, Tallies

HOUR = datetime(2026, 3, 1, 9, tzinfo=UTC)
PLACE = Place("flights", "A" * 63, HOUR)

pytestmark = pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no shared memory here")  # noqa: S108


@pytest.mark.parametrize("hour", [HOUR, datetime(1, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)])
def test_what_was_counted_last_is_left(hour: datetime) -> None:
    writer, tallies = new_id(), Tallies()
    found = Cells.open(writer)
    assert found is not None
    place = PLACE._replace(hour=hour)
    tally = tallies.current(place)
    tally.saw(1)
    tallies.expose(found)
    tally.saw(1)
    tally.saw(0)
    assert list(cells.left(writer)) == [Counted(place, 0, Counters(3, 2))]
    cells.forget(writer)
    assert list(cells.left(writer)) == []


def test_what_waits_for_its_other_part_stands_in_the_cell_alone_and_keeps_it() -> None:
    writer, tallies = new_id(), Tallies()
    found = Cells.open(writer)
    assert found is not None
    tallies.expose(found)
    tally = tallies.current(PLACE)
    tally.saw(1)
    tally.wait(3, 2)
    later = PLACE._replace(hour=HOUR + timedelta(hours=9))
    tallies.current(later)
    for _ in range(2):
        for listener in ("journal", "store"):
            tallies.told(listener, tallies.news(listener))
        tallies.wrote(PLACE, 1 - tally.written)
        tallies.forget()
    assert Counted(PLACE, 0, Counters(4, 3)) in cells.left(writer)
    assert tallies.total() == Counters(1, 1, 1)
    tallies.current(PLACE).wait(-3, -2)
    tallies.current(later)
    tallies.told("journal", tallies.news("journal"))
    assert [counted.place for counted in cells.left(writer)] == [later]
    cells.forget(writer)


def test_cells_of_another_version_are_not_misread() -> None:
    writer = new_id()
    file = Path("/dev/shm") / f"driftline-{writer}"  # noqa: S108
    file.write_bytes(b"\1" * 512 * 160)
    assert list(cells.left(writer)) == []
    file.unlink()


def test_a_cell_is_free_again_once_the_journal_knows_an_hour_that_is_over() -> None:
    writer, tallies = new_id(), Tallies()
    found = Cells.open(writer)
    assert found is not None
    tallies.expose(found)
    for hours in range(2000):  # more than there are cells
        tallies.current(PLACE._replace(hour=HOUR + timedelta(hours=hours))).saw(1)
        tallies.told("journal", tallies.news("journal"))
    (last,) = cells.left(writer)
    assert last.place.hour == HOUR + timedelta(hours=1999)
    cells.forget(writer)


def test_with_more_places_than_cells_all_are_counted() -> None:
    writer, tallies = new_id(), Tallies()
    found = Cells.open(writer)
    assert found is not None
    tallies.expose(found)
    for number in range(600):
        tallies.current(PLACE._replace(variant=str(number))).saw(1)
    assert tallies.total().seen == 600
    assert len(list(cells.left(writer))) == 512
    cells.forget(writer)


def test_a_cell_is_read_as_the_later_count_of_its_place() -> None:
    tallies = Tallies()
    tallies.restore(Counted(PLACE, 0, Counters(10, 8, 5)))
    tallies.rose(Counted(PLACE, 0, Counters(12, 9)))
    tallies.rose(Counted(PLACE, 0, Counters(3, 3)))
    assert tallies.total() == Counters(12, 9, 5)


def test_a_file_that_is_there_is_neither_used_nor_changed() -> None:
    writer = new_id()
    file = Path("/dev/shm") / f"driftline-{writer}"  # noqa: S108
    file.write_bytes(b"x")
    assert Cells.open(writer) is None
    assert file.read_bytes() == b"x"
    assert list(cells.left(writer)) == []
    file.unlink()


def test_without_memory_to_share_there_are_no_cells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cells, "_MEMORY", tmp_path / "nowhere")
    assert Cells.open("w") is None
