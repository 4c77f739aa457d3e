from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from driftline.demo.flights import Flight, Flights, local
from driftline.errors import InputError
from driftline.windows import Window


def test_all_flights_of_the_year_are_there(flights: Flights) -> None:
    assert len(flights) == 327_346
    assert len(set(flights.ids)) == len(flights)
    assert int(flights.late.sum()) == 77_630


def test_a_share_is_fixed_and_spread_over_all_days(flights: Flights) -> None:
    june = flights.between(date(2013, 6, 1), date(2013, 6, 30))
    chosen = june.share(2, 3)
    assert chosen.ids == june.share(2, 3).ids
    assert {day for day, _ in chosen.by_day()} == {date(2013, 6, n) for n in range(1, 31)}
    assert abs(len(chosen) / len(june) - 2 / 3) < 0.01


@pytest.mark.parametrize("share", [(0, 3), (4, 3), (1, 0)])
def test_a_share_that_cannot_be_is_refused(flights: Flights, share: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="write such as 2 of 3"):
        flights.share(*share)


def test_a_day_runs_from_the_first_hour_to_the_last(flights: Flights) -> None:
    for _, day in flights.between(date(2013, 7, 1), date(2013, 7, 3)).by_day():
        assert day.departs_at == sorted(day.departs_at)


def test_the_truth_of_a_flight_comes_after_its_departure_and_late_ones_report_later(flights: Flights) -> None:
    day = flights.between(date(2013, 7, 10), date(2013, 7, 10))
    underway = [lands - departs for departs, lands in zip(day.departs_at, day.lands_at, strict=True)]
    assert min(underway) >= timedelta(minutes=30)
    late = [time for time, truth in zip(underway, day.late, strict=True) if truth]
    punctual = [time for time, truth in zip(underway, day.late, strict=True) if not truth]
    assert sum(late, timedelta()) / len(late) > sum(punctual, timedelta()) / len(punctual)


def test_all_flights_of_a_local_day_are_asked_about_in_its_window(flights: Flights) -> None:
    for day in (date(2013, 1, 15), date(2013, 3, 10), date(2013, 7, 4), date(2013, 11, 3)):
        window = Window(local(day, 0), local(day + timedelta(days=1), 0))
        assert all(at in window for at in flights.between(day, day).departs_at)


def test_the_clock_in_new_york_follows_summer_time() -> None:
    assert local(date(2013, 1, 1), 5) == datetime(2013, 1, 1, 10, tzinfo=UTC)
    assert local(date(2013, 7, 1), 5) == datetime(2013, 7, 1, 9, tzinfo=UTC)


def test_a_flight_survives_its_line(flights: Flights) -> None:
    facts = flights.between(date(2013, 5, 1), date(2013, 5, 1)).facts
    assert [Flight.parse(fact.line()) for fact in facts] == facts


@pytest.mark.parametrize(
    ("line", "said"),
    [("", "1 values"), ("5,819,1400,UA,EWR", "5 values"), ("five,819,1400,UA,EWR,IAH", "whole numbers")],
)
def test_a_line_that_is_no_flight_is_refused(line: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Flight.parse(line)
