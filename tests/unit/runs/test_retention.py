"""What is too old goes, and nothing else: neither what open windows need, nor what lies beside it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from driftline.errors import InputError
from driftline.runs.retention import expire, expire_daily

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def keys(shop: Any, prefix: str) -> list[str]:
    return [entry.key for entry in shop.app.store.list(prefix)]


@pytest.fixture
def settled(shop: Any) -> Any:
    """Two days of requests and labels, long looked at; the windows are closed."""
    for day in (0, 1):
        shop.requests(START + day * DAY)
        shop.labels(START + day * DAY + 12 * HOUR)
        shop.tick(START + (day + 1) * DAY + HOUR)
    shop.tick(START + 20 * DAY)
    shop.tick(START + 21 * DAY)
    return shop


def test_only_what_is_older_than_its_time_goes_and_a_line_says_so(settled: Any) -> None:
    now = START + 31 * DAY
    shop = settled
    before = len(keys(shop, "captured/"))
    told = expire(shop.app.site, {"captured": timedelta(days=30)}, now)
    assert [key for key in keys(shop, "captured/") if "2026/03/01/00/" in key] == []
    assert [key for key in keys(shop, "captured/") if "2026/03/02/00/" in key]
    assert told.kinds[0].objects == before - len(keys(shop, "captured/")) > 0
    assert keys(shop, "labels/")
    [audit] = keys(shop, "audit/")
    line = json.loads(shop.app.store.get(audit))
    assert (line["what"], line["removed"]["captured"]["objects"]) == ("expire", told.kinds[0].objects)
    assert expire(shop.app.site, {"captured": timedelta(days=30)}, now).kinds[0].objects == 0


def test_a_dry_run_removes_nothing_and_tells_the_same(settled: Any) -> None:
    keep = dict.fromkeys(("captured", "labels", "reports"), timedelta(days=1))
    shop, now = settled, START + 40 * DAY
    before = keys(shop, "")
    told = expire(shop.app.site, keep, now, dry_run=True)
    assert sorted({*keys(shop, "")} - {*before}) == [told.audit]
    done = expire(shop.app.site, keep, now)
    assert [(e.kind, e.objects, e.bytes) for e in done.kinds] == [(e.kind, e.objects, e.bytes) for e in told.kinds]
    assert [e.objects > 0 for e in done.kinds] == [True] * 4
    assert keys(shop, "captured/") == keys(shop, "labels/") == []
    left = keys(shop, "reports/")
    assert len(left) == done.kinds[2].needed > 0, "windows of the last days are still open"
    assert [key for key in left if "/2026/03/02/" in key] == []


def test_what_an_open_window_may_read_is_kept_unless_forced(shop: Any) -> None:
    shop.requests(START)
    now = START + DAY + HOUR  # nobody has looked at the first day yet
    told = expire(shop.app.site, {"captured": HOUR}, now)
    assert told.kinds[0].objects == 0
    assert told.kinds[0].needed > 0
    assert told.waiting.keys() <= {"inputs", "truth"}
    assert shop.tick(now).ran[0].run.rows == 200
    assert expire(shop.app.site, {"captured": HOUR}, now, force=True).kinds[0].objects > 0


def test_with_the_records_go_the_rows_that_came_of_them(settled: Any) -> None:
    shop = settled
    assert list(shop.app.site.cache.glob("*/decoded.json"))
    expire(shop.app.site, {"captured": DAY, "labels": DAY}, START + 40 * DAY)
    left = [json.loads(account.read_text()) for account in shop.app.site.cache.glob("*/decoded.json")]
    assert [account["sources"] for account in left if account["rows"]] == []


def test_only_keys_with_an_hour_below_the_prefixes_are_touched(settled: Any) -> None:
    shop, store = settled, settled.app.store
    others = (
        "captured/shop/AllTraffic/readme.txt",
        "captured/shop/AllTraffic/2026/13/01/00/no-hour.jsonl",
        "captured/shopping/AllTraffic/2026/03/01/00/other.jsonl",
        "mine/2026/03/01/00/other.jsonl",
    )
    for key in others:
        store.put(key, b"{}\n")
    expire(shop.app.site, {"captured": DAY}, START + 40 * DAY, endpoint="shop")
    assert [key for key in others if key not in keys(shop, "")] == []


def test_dead_letters_go_before_the_reports_they_are_of(shop: Any) -> None:
    shop.requests(START)
    shop.app.store.put("captured/shop/AllTraffic/2026/03/01/00/broken.jsonl", b"no record\n")
    shop.tick(START + DAY + HOUR)
    letters = [key for key in keys(shop, "reports/") if key.endswith("dead_letters.jsonl")]
    assert letters
    expire(shop.app.site, {"dead-letters": DAY}, START + 60 * DAY, force=True)
    assert [key for key in letters if key in keys(shop, "reports/")] == []
    assert [key for key in keys(shop, "reports/") if key.endswith("/report.json")]


def test_the_worker_expires_what_is_declared_once_a_day(settled: Any) -> None:
    shop = settled
    assert expire_daily(shop.app.site, START + 40 * DAY) is None, "nothing is declared"
    shop.apply(at=START + 22 * DAY, change=lambda plan: plan + "retention: {captured: P5D}\n")
    shop.tick(START + 40 * DAY)
    assert keys(shop, "captured/") == []
    assert len(keys(shop, "audit/")) == 1
    shop.tick(START + 40 * DAY + HOUR)
    assert len(keys(shop, "audit/")) == 1
    shop.tick(START + 41 * DAY)
    assert len(keys(shop, "audit/")) == 2


def test_a_kind_that_is_none_and_a_time_of_nothing_are_refused(shop: Any) -> None:
    with pytest.raises(InputError, match="kinds are captured"):
        expire(shop.app.site, {"capture": DAY}, START)
    with pytest.raises(InputError, match="more than PT0S"):
        expire(shop.app.site, {"captured": timedelta(0)}, START)
