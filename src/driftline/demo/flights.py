"""The flights of New York City in 2013: what is known before the departure, and when the truth comes out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from driftline.errors import InputError

NEW_YORK: Final = ZoneInfo("America/New_York")
FILE: Final = Path(__file__).parent / "data" / "flights2013.parquet"
COLUMNS: Final = ("hour", "arrival", "distance", "carrier", "origin", "destination")
"""What the model is told, in the order of the request: all of it is on the timetable."""
_NAMES: Final = {
    "sched_dep_hour": "hour",
    "sched_arr_time": "arrival",
    "distance": "distance",
    "carrier": "carrier",
    "origin": "origin",
    "dest": "destination",
}
_MILES_PER_MINUTE: Final = 7.5
_ON_THE_GROUND_MIN: Final = 45


class Flight(NamedTuple):
    """The scheduled facts of one flight."""

    hour: int
    """Scheduled hour of departure, local time, 0..23."""
    arrival: int
    """Scheduled arrival as the timetable writes it, local time there: 1905 is five past seven in the evening."""
    distance: int
    """In miles."""
    carrier: str
    origin: str
    destination: str

    def line(self) -> str:
        """The body of a request.

        >>> Flight(5, 819, 1400, "UA", "EWR", "IAH").line()
        '5,819,1400,UA,EWR,IAH'
        """
        return ",".join(map(str, self))

    @classmethod
    def parse(cls, line: str) -> Flight:
        """The flight of one line. Raises InputError."""
        cells = line.strip().split(",")
        if len(cells) != len(COLUMNS):
            raise InputError(f"{line!r} has {len(cells)} values; a flight has {len(COLUMNS)}: {','.join(COLUMNS)}")
        try:
            return cls(int(cells[0]), int(cells[1]), int(cells[2]), *cells[3:])
        except ValueError as why:
            raise InputError(f"{line!r}: hour, arrival and distance must be whole numbers") from why


@dataclass(frozen=True)
class Flights:
    """Flights in the order of their departure: columns `id`, those of the timetable, `day`, `late`, `delay`."""

    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def facts(self) -> list[Flight]:
        """What is known of each before it departs."""
        columns = [self.table[name].to_pylist() for name in COLUMNS]
        return [Flight(*row) for row in zip(*columns, strict=True)]

    @property
    def ids(self) -> list[str]:
        """Their inference ids."""
        ids: list[str] = self.table["id"].to_pylist()
        return ids

    @cached_property
    def late(self) -> npt.NDArray[np.int64]:
        """The truth: 1 where the flight arrived more than 15 minutes late, else 0."""
        late: npt.NDArray[np.int64] = self.table["late"].to_numpy().astype(np.int64)
        return late

    @cached_property
    def days(self) -> npt.NDArray[np.int64]:
        """The day of each flight, counted from 1 January 1970."""
        days: npt.NDArray[np.int64] = self.table["day"].cast(pa.int32()).to_numpy().astype(np.int64)
        return days

    @cached_property
    def departs_at(self) -> list[datetime]:
        """The scheduled hour of departure; by then the model is asked."""
        return [local(day, hour) for day, hour in zip(self.table["day"].to_pylist(), self._hours(), strict=True)]

    @cached_property
    def lands_at(self) -> list[datetime]:
        """When the truth is known: departure, time in the air and on the ground, and the delay.

        The timetable gives arrivals in local times of a hundred airports, without their zones; so the time underway is
        reckoned from the distance.
        """
        distance = self.table["distance"].to_numpy()
        delay = self.table["delay"].to_numpy()
        underway = np.maximum(30, _ON_THE_GROUND_MIN + distance / _MILES_PER_MINUTE + delay)
        return [at + timedelta(minutes=float(m)) for at, m in zip(self.departs_at, underway, strict=True)]

    def between(self, first: date, last: date) -> Flights:
        """Those of the days from `first` to `last`, both included."""
        day = self.table["day"]
        return Flights(self.table.filter(pc.and_(pc.greater_equal(day, first), pc.less_equal(day, last))))

    def by_day(self) -> Iterator[tuple[date, Flights]]:
        """The flights of each day, in order."""
        for day in pc.unique(self.table["day"]).to_pylist():
            yield day, self.between(day, day)

    def share(self, keep: int, of: int) -> Flights:
        """A fixed share: of every `of` flights in a row of the file the last `keep`.

        >>> round(len(read_flights().share(2, 3)) / len(read_flights()), 3)
        0.667
        """
        if not 1 <= keep <= of:
            raise InputError(f"{keep} of every {of} flights cannot be kept; write such as 2 of 3")
        number = self.table["number"].to_numpy()
        return Flights(self.table.filter(pa.array(number % of >= of - keep)))

    def _hours(self) -> list[int]:
        hours: list[int] = self.table["hour"].to_pylist()
        return hours


def read_flights(path: Path = FILE) -> Flights:
    """All flights of the file that comes with Driftline."""
    found = pq.read_table(path)
    number = np.arange(found.num_rows)
    columns: dict[str, Any] = {"number": pa.array(number), "id": pa.array([f"flight-{n:06d}" for n in number])}
    for name, ours in _NAMES.items():
        column = found[name].combine_chunks()
        columns[ours] = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column.cast(pa.int64())
    columns["day"] = found["date"].cast(pa.date32())
    columns["late"] = found["label"].cast(pa.int64())
    columns["delay"] = found["arr_delay"].cast(pa.int64())
    # Within a day the file runs by the actual departure, which nobody knows in advance.
    return Flights(pa.table(columns).sort_by([("day", "ascending"), ("hour", "ascending"), ("number", "ascending")]))


def local(day: date, hour: int) -> datetime:
    """That hour of that day on a clock in New York, in UTC.

    >>> local(date(2013, 6, 1), 5).isoformat()
    '2013-06-01T09:00:00+00:00'
    """
    return datetime(day.year, day.month, day.day, hour, tzinfo=NEW_YORK).astimezone(UTC)
