from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from driftline.capture import layout
from driftline.errors import InputError
from driftline.windows import Window

AT = datetime(2026, 3, 1, 9, 14, 7, 45678, tzinfo=UTC)


def test_a_capture_file_lies_in_the_hour_of_its_records() -> None:
    expected = "captured/flights/AllTraffic/2026/03/01/09/14-07-045-some-id.jsonl"
    assert layout.captured_key("flights", "AllTraffic", AT, "some-id") == expected
    elsewhere = AT.astimezone(timezone(timedelta(hours=-8)))
    assert layout.captured_key("flights", "AllTraffic", elsewhere, "some-id") == expected


def test_a_label_file_lies_in_the_hour_of_upload_and_sorts_by_time() -> None:
    assert layout.label_key("flights", AT, 3) == "labels/flights/2026/03/01/09/14-07-045678-000003.jsonl"
    times = [AT, AT + timedelta(microseconds=1), AT + timedelta(seconds=1), AT + timedelta(hours=1)]
    keys = [layout.label_key("flights", at, ordinal) for at in times for ordinal in (0, 1, 10)]
    assert keys == sorted(keys)


def test_a_window_touches_the_hours_it_overlaps() -> None:
    window = Window(AT, AT + timedelta(hours=2))
    assert list(layout.captured_prefixes("flights", "A", window)) == [
        "captured/flights/A/2026/03/01/09/",
        "captured/flights/A/2026/03/01/10/",
        "captured/flights/A/2026/03/01/11/",
    ]
    assert next(layout.label_prefixes("flights", window)) == "labels/flights/2026/03/01/09/"


@pytest.mark.parametrize("value", ["", ".", "..", "a/b", "../a", "/a", "a b", "a\n", "é", "-a", "_counters", "x" * 64])
def test_a_name_that_could_leave_its_folder_is_refused(value: str) -> None:
    with pytest.raises(InputError, match=r"is not a name: use up to 63 letters"):
        layout.captured_prefix(value, "AllTraffic")
    with pytest.raises(InputError, match="variant"):
        layout.captured_prefix("flights", value)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(InputError, match="no time zone"):
        layout.captured_key("flights", "AllTraffic", AT.replace(tzinfo=None), "id")
