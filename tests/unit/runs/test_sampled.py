"""What was sampled by rules and a limit says the same about all requests as if all had been captured."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from pathlib import Path

import pytest

from driftline.assemble import opened
from driftline.capture import Capture, Rule, Sampling
from driftline.capture.sampler import chosen
from driftline.runs.oneoff import Source, Workshop, baseline_of_data, check_data

from .conftest import START

COUNT = 12_000


def test_weighted_data_quality_is_that_of_all_requests(tmp_path: Path) -> None:
    rng = random.Random(7)
    at = START + timedelta(hours=9)
    missing = errors = 0
    amounts: list[int] = []
    kept: list[int] = []
    sampling = Sampling(0.1, [Rule(1.0, errors=True), Rule(0.5, attribute="tier=gold")])
    with Capture("shop", tmp_path / "objects", sampling=sampling, queue_size=COUNT, clock=lambda: at) as capture:
        for number in range(COUNT):
            if number == COUNT // 2:
                capture.reload(Sampling(0.3, sampling.rules))
            is_gold, is_missing, is_error = rng.random() < 0.2, rng.random() < 0.05, rng.random() < 0.02
            missing += is_missing and not is_error
            errors += is_error
            amount = rng.randint(1, 9) + (10 if is_gold else 0)
            named = f"r{number}-{rng.random()}"
            if not is_error and not is_missing:
                amounts.append(amount)
                kept += [amount] if chosen(named, 0.5 if is_gold else capture.sampling.rate) else []
            capture.log(
                f"{'' if is_missing else amount},{'gold' if is_gold else 'free'}",
                None,
                inference_id=named,
                custom_attributes=[f"tier={'gold' if is_gold else 'free'}"],
                status=500 if is_error else 200,
            )
    assert capture.counters.lost == 0
    (tmp_path / "train.csv").write_text("amount,tier\n" + "3,gold\n4,free\n5,free\n6,free\n,free\n" * 200)
    with opened({"DRIFTLINE_HOME": str(tmp_path / "home")}) as app:
        shop = Workshop(app.site.engine, tmp_path / "scratch", START)
        baseline_of_data(Source(tmp_path / "train.csv"), tmp_path / "base", shop)
        checked = check_data(Source(tmp_path / "objects"), tmp_path / "base", tmp_path / "out", None, shop)
    rows = COUNT - errors
    told = json.loads((tmp_path / "out/report.json").read_text())["inputs"]["predictions"]
    assert (told["errors"], told["statuses"], told["dead"]) == (errors, {"500": errors}, 0)
    assert told["error_share"] == pytest.approx(errors / COUNT, rel=0.05)
    assert told["rows"] < COUNT // 2
    assert any("answers with an error status" in what for what in checked.lost())
    measured = {(m.metric, m.column): m for m in checked.outcome.measurements}
    completeness = measured["completeness", "amount"].estimate
    assert completeness is not None
    assert completeness.low <= 1 - missing / rows <= completeness.high
    features = json.loads((tmp_path / "out/statistics.json").read_text())["features"]
    mean = next(f for f in features if f["name"] == "amount")["numerical_statistics"]["mean"]
    assert mean == pytest.approx(sum(amounts) / len(amounts), rel=0.02)
    assert mean < sum(kept) / len(kept) - 1  # that of the records, unweighted, is far off
