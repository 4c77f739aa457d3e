"""Windows and schedules: closed windows partition time, also when the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.errors import InputError
from driftline.windows import (
    Due,
    Schedule,
    Window,
    due,
    duration_text,
    in_words,
    parse_duration,
    parse_time,
    parse_window,
)


def at(text: str) -> datetime:
    return parse_time(text)


def windows(schedule: Schedule, after: str, until: str) -> list[str]:
    return [str(d.window) for d in due(schedule, at(after), at(until))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T00:00:00Z/2026-03-02T00:00:00Z", "2026-03-01T00:00:00Z/2026-03-02T00:00:00Z"),
        ("2026-03-01/2026-03-02", "2026-03-01T00:00:00Z/2026-03-02T00:00:00Z"),
        ("2026-03-01/P1D", "2026-03-01T00:00:00Z/2026-03-02T00:00:00Z"),
        ("PT6H/2026-03-01T06:00Z", "2026-03-01T00:00:00Z/2026-03-01T06:00:00Z"),
        ("2026-03-01T02:00:00+02:00/PT1H", "2026-03-01T00:00:00Z/2026-03-01T01:00:00Z"),
        (" 2026-03-01/P1W ", "2026-03-01T00:00:00Z/2026-03-08T00:00:00Z"),
    ],
)
def test_a_window_is_read_as_utc(text: str, expected: str) -> None:
    assert str(parse_window(text)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2026-03-01", "START/END"),
        ("2026-03-01/", "START/END"),
        ("2026-03-01/2026-03-02/2026-03-03", "START/END"),
        ("2026-03-02/2026-03-01", "backwards"),
        ("2026-03-01/2026-03-01", "empty"),
        ("2026-03-01/-P1D", "backwards"),
        ("P1D/P1D", "two durations"),
        ("2026-03-01T00:00:00/P1D", "no time zone"),
        ("2026-02-30/P1D", "2026-02-30"),
        ("2026-03-01T00:00:00.5Z/P1D", "fractions"),
        ("9999-12-31/P5D", "9999"),
        ("0001-01-01T00:00:00+05:00/P1D", "outside"),
        ("yesterday/P1D", "yesterday"),
    ],
)
def test_a_window_that_cannot_be_read_is_an_input_error(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_window(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("P1D", timedelta(days=1)),
        ("-P8D", timedelta(days=-8)),
        ("+PT1H", timedelta(hours=1)),
        ("PT0H", timedelta(0)),
        ("-PT2D", timedelta(days=-2)),
        ("P1W2DT3H4M5S", timedelta(days=9, hours=3, minutes=4, seconds=5)),
        ("PT0.5H", timedelta(minutes=30)),
        ("PT1.9S", timedelta(seconds=1)),
        ("pt30m", timedelta(minutes=30)),
    ],
)
def test_a_duration_is_read(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "-P", "P1DT", "1D", "P1M", "P1Y", "PD", "P-1D", "1 day", "P99999999999D"]
)
def test_what_is_no_duration_is_an_input_error(text: str) -> None:
    with pytest.raises(InputError, match="duration"):
        parse_duration(text)


def test_months_have_no_length_and_the_message_says_so() -> None:
    with pytest.raises(InputError, match="write P30D"):
        parse_duration("P1M")


@given(st.timedeltas(timedelta(days=-3000), timedelta(days=3000)))
@settings(max_examples=50)
def test_a_duration_survives_being_written(length: timedelta) -> None:
    whole = timedelta(seconds=int(length.total_seconds()))
    assert parse_duration(duration_text(whole)) == whole


@pytest.mark.parametrize(
    ("expression", "after", "until", "expected"),
    [
        ("hourly", "2026-03-01T00:30Z", "2026-03-01T02:59Z", ["T00:00:00Z/T01:00:00Z", "T01:00:00Z/T02:00:00Z"]),
        ("cron(0 * ? * * *)", "2026-03-01T00:00Z", "2026-03-01T01:00Z", ["T00:00:00Z/T01:00:00Z"]),
        ("cron(0 * * * ? *)", "2026-03-01T00:00Z", "2026-03-01T01:00Z", ["T00:00:00Z/T01:00:00Z"]),
        ("cron(0 06/08 ? * * *)", "2026-03-01T14:00Z", "2026-03-01T22:00Z", ["T14:00:00Z/T22:00:00Z"]),
        (
            "cron(0 0/10 ? * * *)",
            "2026-03-01T00:00Z",
            "2026-03-01T20:00Z",
            ["T00:00:00Z/T10:00:00Z", "T10:00:00Z/T20:00:00Z"],
        ),
        ("*/15 * * * *", "2026-03-01T00:00Z", "2026-03-01T00:15Z", ["T00:00:00Z/T00:15:00Z"]),
        ("0 6,18 * * *", "2026-03-01T12:00Z", "2026-03-01T18:00Z", ["T06:00:00Z/T18:00:00Z"]),
    ],
)
def test_a_fire_closes_the_window_since_the_fire_before(
    expression: str, after: str, until: str, expected: list[str]
) -> None:
    assert [w.replace("2026-03-01", "") for w in windows(Schedule(expression), after, until)] == expected


@pytest.mark.parametrize(
    ("expression", "until", "expected"),
    [
        ("daily", "2026-03-03", "2026-03-02T00:00:00Z/2026-03-03T00:00:00Z"),
        ("cron(0 00 ? * * *)", "2026-03-03", "2026-03-02T00:00:00Z/2026-03-03T00:00:00Z"),
        ("cron(0 13 ? * * *)", "2026-03-02T13:00Z", "2026-03-01T13:00:00Z/2026-03-02T13:00:00Z"),
        ("weekly", "2026-03-09", "2026-03-02T00:00:00Z/2026-03-09T00:00:00Z"),
        ("0 0 1 * *", "2026-03-01", "2026-02-01T00:00:00Z/2026-03-01T00:00:00Z"),
        ("0 0 29 2 *", "2028-02-29", "2024-02-29T00:00:00Z/2028-02-29T00:00:00Z"),
        ("cron(0 0/10 ? * * *)", "2026-03-03", "2026-03-02T14:00:00Z/2026-03-03T00:00:00Z"),
        ("cron(0 5/24 ? * * *)", "2026-03-03T05:00Z", "2026-03-02T05:00:00Z/2026-03-03T05:00:00Z"),
    ],
)
def test_the_last_window_of_a_schedule(expression: str, until: str, expected: str) -> None:
    end = at(until)
    assert [str(d.window) for d in due(Schedule(expression), end - timedelta(seconds=1), end)] == [expected]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (7199, "120 minutes"),
        (7200, "2 hours"),
        (86400, "24 hours"),
        (2 * 86400, "2 days"),
        (700 * 86400, "700 days"),
        (98159568, "3 years"),
    ],
)
def test_a_length_of_time_is_said_as_people_say_it(seconds: float, words: str) -> None:
    assert in_words(timedelta(seconds=seconds)) == words


def test_offsets_count_back_from_the_scheduled_time_as_in_the_guide_of_model_monitor() -> None:
    schedule = Schedule("hourly", start_offset=parse_duration("-P8D"), end_offset=parse_duration("P1D"))
    assert windows(schedule, "2020-01-09T12:00Z", "2020-01-09T13:00Z") == ["2020-01-01T13:00:00Z/2020-01-08T13:00:00Z"]


def test_a_run_is_ready_when_the_grace_period_is_over() -> None:
    schedule = Schedule("daily", grace=timedelta(hours=6), late=timedelta(days=7))
    assert windows(schedule, "2026-03-01", "2026-03-02T05:59:59Z") == []
    assert len(windows(schedule, "2026-03-01", "2026-03-02T06:00Z")) == 1


def test_nothing_is_due_twice_and_nothing_is_left_out_whatever_the_steps() -> None:
    schedule = Schedule("0 */7 * * *", "Europe/Berlin")
    whole = list(due(schedule, at("2026-03-27"), at("2026-04-01")))
    steps: list[Due] = []
    last, now = at("2026-03-27"), at("2026-03-27")
    while now < at("2026-04-01"):
        now += timedelta(hours=5)
        found = list(due(schedule, last, min(now, at("2026-04-01"))))
        steps += found
        last = found[-1].scheduled_at if found else last
    assert steps == whole


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("fortnightly", "is not a schedule"),
        ("* * *", "is not a schedule"),
        ("0 25 * * *", "Bad hour"),
        ("0 0 30 2 *", "Bad day-of-month"),
        ("cron(5 * ? * * *)", "none of Model Monitor's"),
        ("cron(0 24 ? * * *)", "none of Model Monitor's"),
        ("cron(0 1/25 ? * * *)", "none of Model Monitor's"),
        ("cron(0 1/0 ? * * *)", "none of Model Monitor's"),
        ("cron(0 6 ? * MON *)", "none of Model Monitor's"),
        ("NOW", "is not a schedule"),
    ],
)
def test_a_bad_expression_is_an_input_error(expression: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Schedule(expression)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"zone": "Europe/Nowhere"}, "not a time zone"),
        ({"zone": "../etc"}, "not a time zone"),
        ({"end_offset": timedelta(days=1)}, "without a start_offset"),
        ({"start_offset": timedelta(days=1), "end_offset": timedelta(days=2)}, "empty window"),
        ({"start_offset": timedelta(days=9999)}, "more than P3660D"),
        ({"grace": timedelta(seconds=-1)}, "grace"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_an_input_error(arguments: dict[str, timedelta], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Schedule("daily", **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("night", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-15", 24)], ids=["spring", "autumn", "summer"]
)
def test_a_day_in_berlin_has_the_hours_that_passed(night: str, hours: int) -> None:
    schedule = Schedule("daily", "Europe/Berlin")
    lengths = {
        d.window.start.astimezone(ZoneInfo("Europe/Berlin")).date().isoformat(): d.window.length
        for d in due(schedule, at(night) - timedelta(days=3), at(night) + timedelta(days=3))
    }
    assert lengths[night] == timedelta(hours=hours)


EXPRESSIONS = [
    "daily",
    "hourly",
    "weekly",
    "30 2 * * *",
    "0 */6 * * *",
    "*/20 * * * *",
    "15 1,2,3 * * *",
    "cron(0 2/6 ? * * *)",
]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu"]


@given(
    expression=st.sampled_from(EXPRESSIONS),
    zone=st.sampled_from(ZONES),
    begin=st.datetimes(datetime(2016, 1, 1), datetime(2027, 1, 1)),  # noqa: DTZ001
    length=st.integers(1, 20),
)
@settings(max_examples=60, deadline=None)
def test_windows_partition_time_in_every_zone(expression: str, zone: str, begin: datetime, length: int) -> None:
    after = begin.replace(tzinfo=UTC)
    found = [d.window for d in due(Schedule(expression, zone), after, after + timedelta(days=length))]
    assert all(one.end == two.start for one, two in pairwise(found))


@pytest.mark.parametrize("night", ["2026-03-29", "2026-10-25"])
@pytest.mark.parametrize("expression", ["daily", "30 2 * * *", "0 3 * * *"])
def test_windows_with_whole_days_of_offset_partition_time_across_both_changeovers(night: str, expression: str) -> None:
    schedule = Schedule(expression, "Europe/Berlin", timedelta(days=3), timedelta(days=2))
    found = [d.window for d in due(schedule, at(night) - timedelta(days=6), at(night) + timedelta(days=6))]
    assert all(one.end == two.start for one, two in pairwise(found))
    assert len(found) == 12


def test_windows_per_month() -> None:
    assert Schedule("hourly").windows_per_month == pytest.approx(730.5)
    assert Schedule("daily").windows_per_month == pytest.approx(30.4375)


def test_a_window_needs_a_zone() -> None:
    with pytest.raises(InputError, match="no time zone"):
        Window(datetime(2026, 3, 1), datetime(2026, 3, 2))  # noqa: DTZ001
