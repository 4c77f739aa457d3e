from __future__ import annotations

from datetime import UTC, datetime, timedelta

from driftline.capture.buffer import Buffer, Exchange
from driftline.capture.counters import Counters
from driftline.capture.tallies import Place

AT = datetime(2026, 3, 1, 9, 14, 7, tzinfo=UTC)
EXCHANGE = Exchange(AT, None, "order-17", b"1", b"0", "text/csv", "text/csv")


def test_what_is_taken_leaves_the_queue_empty() -> None:
    buffer = Buffer("flights", "AllTraffic", 2, 100)
    for _ in range(3):
        buffer.offer(EXCHANGE, 2)
    assert len(buffer.take()) == 2
    assert buffer.take() == []
    buffer.offer(EXCHANGE, 2)
    assert len(buffer.take()) == 1
    assert buffer.tallies.total() == Counters(4, 4, 0, {"queue full": 1})


def test_a_body_longer_than_the_whole_queue_is_taken_when_nothing_else_waits() -> None:
    buffer = Buffer("flights", "AllTraffic", 10, 100)
    buffer.offer(EXCHANGE, 1000)
    buffer.offer(EXCHANGE, 1)
    assert len(buffer.take()) == 1


def test_the_writer_is_called_once_when_the_queue_is_half_full_however_long_it_stays_so() -> None:
    for size in (1, 2, 3, 10):
        buffer = Buffer("flights", "AllTraffic", size, 1000)
        for _ in range(50):
            buffer.offer(EXCHANGE, 2)
        assert buffer.bell.qsize() == 1


def test_the_hours_are_counted_apart_in_whatever_order_they_come() -> None:
    buffer = Buffer("flights", "AllTraffic", 10, 100)
    for minutes in (0, 60, -60, 0, 45, 46):
        buffer.skip(AT + timedelta(minutes=minutes))
    assert [(each.place.hour.hour, each.counters.seen) for each in buffer.tallies.news("store")] == [
        (8, 1),
        (9, 3),
        (10, 2),
    ]
    for each in buffer.tallies.news("store"):
        buffer.tallies.told("store", [each])
    assert buffer.tallies.news("store") == []
    buffer.tallies.wrote(Place("flights", "AllTraffic", AT.replace(minute=0, second=0)), 1)
    assert [each.place.hour.hour for each in buffer.tallies.news("store")] == [9]
