from __future__ import annotations

import re

from driftline.capture import Capture, Rule, Sampling
from driftline.capture.metrics import Family, exposition
from driftline.objects.directory import Directory

from .conftest import Clock, Gated

_LINE = re.compile(r'[a-z_]+(\{([a-z]+="([^"\\\n]|\\["\\n])*",?)*\})? -?[0-9.e+]+')


def sample(text: str, start: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(start)]


def test_every_endpoint_and_variant_has_its_own_numbers(store: Directory, clock: Clock) -> None:
    with Capture("flights", store, clock=clock) as capture:
        capture.log("1", "0")
        capture.log("1", "0", endpoint="prices", variant="canary")
        capture.log("1", 1)  # type: ignore[arg-type]
        assert capture.flush()
        text = capture.metrics()
    assert sample(text, "driftline_capture_seen_total{") == [
        'driftline_capture_seen_total{endpoint="flights",variant="AllTraffic"} 2',
        'driftline_capture_seen_total{endpoint="prices",variant="canary"} 1',
    ]
    reason = 'reason="body is neither bytes nor text"'
    assert sample(text, "driftline_capture_dropped_total{") == [
        'driftline_capture_dropped_total{endpoint="flights",variant="AllTraffic",' + reason + "} 1"
    ]
    assert 'driftline_capture_written_total{endpoint="prices",variant="canary"} 1' in text
    assert 'driftline_capture_pending{endpoint="prices",variant="canary"} 0' in text


def test_what_waits_for_the_store_is_told(gated: Gated, clock: Clock) -> None:
    with Capture("flights", gated, clock=clock) as capture:
        assert "driftline_capture_lag" not in capture.metrics()
        capture.log("1", "0")
        capture.flush(0.2)
        text = capture.metrics()
        gated.gate.set()
        assert capture.flush()
        after = capture.metrics()
    (lag,) = sample(text, "driftline_capture_lag_seconds{")
    assert lag.startswith('driftline_capture_lag_seconds{endpoint="flights",variant="AllTraffic"} ')
    assert 0.0 < float(lag.split()[-1]) < 60.0
    (held,) = sample(text, "driftline_capture_spool_bytes ")
    assert int(held.split()[-1]) > 0
    assert sample(text, "driftline_capture_paused ") == ["driftline_capture_paused 0"]
    assert sample(text, "driftline_capture_failures_total ") == ["driftline_capture_failures_total 0"]
    assert sample(after, "driftline_capture_lag_seconds{")[0].endswith(" 0.0")


def test_the_sampling_in_force_is_told_by_rule(store: Directory, clock: Clock) -> None:
    with Capture("flights", store, clock=clock, sampling=Sampling(0.2, [Rule(1.0, errors=True)])) as capture:
        before = capture.metrics()
        capture.reload(0.5)
        after = capture.metrics()
    assert sample(before, "driftline_capture_sampling_probability{") == [
        'driftline_capture_sampling_probability{rule="1"} 1.0',
        'driftline_capture_sampling_probability{rule="default"} 0.2',
    ]
    assert sample(after, "driftline_capture_sampling") == ['driftline_capture_sampling_probability{rule="default"} 0.5']


def test_whatever_a_label_holds_its_line_stays_one_line() -> None:
    text = exposition([Family("lost_total", "counter", "Lost\nand gone.", [({"reason": 'a"b\\c\nd\udce4'}, 1)])])
    about, kind, line = text.splitlines()
    assert (about, kind) == ("# HELP lost_total Lost\\nand gone.", "# TYPE lost_total counter")
    assert _LINE.fullmatch(line)
    assert line == 'lost_total{reason="a\\"b\\\\c\\nd?"} 1'


def test_what_has_no_samples_is_left_out() -> None:
    assert exposition([Family("lost_total", "counter", "Lost.", [])]) == ""
