from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.dialects.sagemaker_statistics import (
    data_statistics,
    kll,
    read_statistics,
    suggested_constraints,
    write_statistics,
)
from driftline.errors import InputError
from driftline.monitors.monitor import Profile
from driftline.schema import Kind
from driftline.states.column import Column
from driftline.states.rows import Rows

Profiled = Callable[..., Profile]

BUCKETS = [
    (1.0, 1.3, 1.0),
    (1.3, 1.6, 0.0),
    (1.6, 1.9, 0.0),
    (1.9, 2.2, 1.0),
    (2.2, 2.5, 0.0),
    (2.5, 2.8, 0.0),
    (2.8, 3.1, 1.0),
    (3.1, 3.4, 0.0),
    (3.4, 3.7, 0.0),
    (3.7, 4.0, 1.0),
]
REFERENCE = {
    "version": 0.0,
    "dataset": {"item_count": 4},
    "features": [
        {
            "name": "age",
            "inferred_type": "Integral",
            "numerical_statistics": {
                "common": {"num_present": 4, "num_missing": 0},
                "mean": 2.5,
                "sum": 10.0,
                "std_dev": 1.118033988749895,
                "min": 1.0,
                "max": 4.0,
                "distribution": {
                    "kll": {
                        "buckets": [{"lower_bound": lo, "upper_bound": hi, "count": n} for lo, hi, n in BUCKETS],
                        "sketch": {"parameters": {"c": 0.64, "k": 2048.0}, "data": [[1.0, 2.0, 3.0, 4.0]]},
                    }
                },
            },
        },
        {
            "name": "plan",
            "inferred_type": "String",
            "string_statistics": {
                "common": {"num_present": 3, "num_missing": 1},
                "distinct_count": 2.0,
                "distribution": {
                    "categorical": {"buckets": [{"value": "free", "count": 2}, {"value": "pro", "count": 1}]}
                },
            },
        },
    ],
}


def test_the_example_of_the_format_is_written_to_the_letter(profiled: Profiled) -> None:
    profile = profiled(age=["1", "2", "3", "4"], plan=["free", "pro", "free", None])
    assert json.dumps(data_statistics(profile)) == json.dumps(REFERENCE)


def test_types_of_numbers_in_the_file_are_those_of_model_monitor(profiled: Profiled) -> None:
    text = write_statistics(profiled(age=[1, 2, 3, 4])).decode()
    assert '"version" : 0.0' in text
    assert '"item_count" : 4' in text
    assert '"sum" : 10.0' in text
    assert '"num_present" : 4' in text


def test_a_file_of_model_monitor_becomes_a_profile(profiled: Profiled) -> None:
    profile = read_statistics(json.dumps(REFERENCE).encode())
    own = profiled(age=["1", "2", "3", "4"], plan=["free", "pro", "free", None])
    age, ours = profile.states[Column("age")], own.states[Column("age")]
    assert profile.columns == ("age", "plan")
    assert profile.states[Rows()] == own.states[Rows()]
    assert (age.histogram, age.kinds, age.rows) == (ours.histogram, ours.kinds, ours.rows)
    assert (age.moments.mean, age.moments.std, age.moments.total) == (2.5, 1.118033988749895, 10.0)
    plan, ours = profile.states[Column("plan")], own.states[Column("plan")]
    assert (plan.values, plan.kinds) == (ours.values, ours.kinds)


def test_items_of_higher_levels_stand_for_more_rows() -> None:
    document = json.loads(json.dumps(REFERENCE))
    feature = document["features"][0]["numerical_statistics"]
    feature["common"]["num_present"] = 283 + 2 * 1025
    feature["distribution"]["kll"]["sketch"]["data"] = [list(range(283)), [0.5 * i for i in range(1025)]]
    histogram = read_statistics(json.dumps(document).encode()).states[Column("age")].histogram
    assert histogram.total.n == 2333
    values, counts, _ = histogram.points()
    assert dict(zip(values.tolist(), counts.tolist(), strict=True))[282.0] == 3


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, 2.0]), min_size=1, max_size=80))
def test_the_sketch_and_the_buckets_hold_every_row_once(x: list[float]) -> None:
    values, counts = np.unique(np.array(x) + 0.0, return_counts=True)
    block = kll(values, counts, float(values[0]), float(values[-1]))
    unrolled = [v for i, items in enumerate(block["sketch"]["data"]) for v in items for _ in range(2**i)]
    assert sorted(unrolled) == sorted(v + 0.0 for v in x)
    assert sum(bucket["count"] for bucket in block["buckets"]) == len(x)
    assert block["buckets"][0]["lower_bound"] == min(x)
    assert block["buckets"][-1]["upper_bound"] == pytest.approx(max(x), rel=1e-15, abs=1e-9)


def test_what_nobody_counts_one_by_one_has_no_distinct_count(profiled: Profiled) -> None:
    nested, nothing = data_statistics(profiled(x=[[1], None, [2]], y=[None, None, None]))["features"]
    assert nested["string_statistics"] == {"common": {"num_present": 2, "num_missing": 1}}
    assert nothing["inferred_type"] == "Unknown"


def test_a_constant_column_stands_in_its_last_bucket(profiled: Profiled) -> None:
    feature = data_statistics(profiled(x=[7.5, 7.5, 7.5]))["features"][0]["numerical_statistics"]
    assert [b["count"] for b in feature["distribution"]["kll"]["buckets"]] == [0.0] * 9 + [3.0]
    assert feature["std_dev"] == 0.0


@pytest.mark.parametrize("x", [[-1.7e308, 1.7e308], [1.7e308, 1.7e308]])
def test_numbers_at_the_end_of_float64_are_written_as_numbers(profiled: Profiled, x: list[float]) -> None:
    feature = data_statistics(profiled(x=x))["features"][0]["numerical_statistics"]
    bounds = [b["lower_bound"] for b in feature["distribution"]["kll"]["buckets"]]
    assert all(math.isfinite(v) for v in (*bounds, feature["sum"], feature["std_dev"]))


def test_what_cannot_be_summed_is_missing(profiled: Profiled) -> None:
    profile = profiled(x=[1.0, math.nan, math.inf, None])
    feature = data_statistics(profile)["features"][0]
    assert feature["numerical_statistics"]["common"] == {"num_present": 1, "num_missing": 3}
    assert data_statistics(profiled(x=[math.nan]))["features"] == [{"name": "x", "inferred_type": "Unknown"}]


def test_an_all_null_column_is_unknown_in_both_files(profiled: Profiled) -> None:
    profile = profiled(x=pa.array([None, None], pa.string()), y=["a", "b"])
    assert data_statistics(profile)["features"][0] == {"name": "x", "inferred_type": "Unknown"}
    assert suggested_constraints(profile).features[0].completeness == 0.0
    again = read_statistics(write_statistics(profile)).states[Column("x")]
    assert (again.kinds.kind, again.rows.n) == (Kind.UNKNOWN, 2)


def test_names_are_not_categories(profiled: Profiled) -> None:
    names = [f"customer {i}" for i in range(50)]
    profile = profiled(name=names, plan=["free", "pro"] * 25)
    name, plan = data_statistics(profile)["features"]
    assert name["string_statistics"] == {"common": {"num_present": 50, "num_missing": 0}, "distinct_count": 50.0}
    assert [b["count"] for b in plan["string_statistics"]["distribution"]["categorical"]["buckets"]] == [25, 25]
    assert [f.domain for f in suggested_constraints(profile).features] == [None, ("free", "pro")]
    assert read_statistics(write_statistics(profile)).states[Column("name")].values is None


def test_counts_are_rows_seen_also_of_a_sample(profiled: Profiled) -> None:
    columns: dict[str, Any] = {"x": [1.0, 2.0, 3.0], "driftline.probability": [0.5, 0.5, 0.25]}
    batch = pa.record_batch(columns)
    state = Column("x").of(batch)
    profile = Profile(profiled(x=[1.0]).states.__class__({Rows(): Rows().of(batch), Column("x"): state}), ("x",))
    found = data_statistics(profile)["features"][0]["numerical_statistics"]
    assert found["common"]["num_present"] == 3
    assert found["mean"] == pytest.approx((2 + 4 + 12) / 8)
    assert found["sum"] == found["mean"] * 3


def broken(change: Callable[[dict[str, Any]], None]) -> bytes:
    document: dict[str, Any] = json.loads(json.dumps(REFERENCE))
    change(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda d: d.pop("features"), "s.json: key 'features' is missing; is this the statistics file of a data-q"),
        (lambda d: d.pop("dataset"), "s.json: key 'dataset' is missing"),
        (
            lambda d: d["features"][0].pop("numerical_statistics"),
            r"key 'numerical_statistics' of features\[0\] is missing",
        ),
        (
            lambda d: d["features"][0]["numerical_statistics"].update(std_dev="wide"),
            r'features\[0\].numerical_statistics.std_dev is "wide", but must be a number from 0',
        ),
        (
            lambda d: d["features"][0]["numerical_statistics"]["common"].update(num_present=5),
            "sketch.data stands for 4 values, but num_present is 5",
        ),
        (
            lambda d: d["features"][0]["numerical_statistics"]["distribution"]["kll"]["sketch"].update(data=[["x"]]),
            r'sketch.data\[0\]\[0\] is "x", but must be a number',
        ),
        (
            lambda d: d["features"][0]["numerical_statistics"].update(min=9.0),
            "min is 9.0, but must be at most max, which is 4.0",
        ),
        (lambda d: d["features"][1].update(name="age"), "feature 'age' is listed twice"),
        (
            lambda d: d["features"][1]["string_statistics"]["distribution"]["categorical"].update(buckets=[{}]),
            r"key 'value' of features\[1\].string_statistics.distribution.categorical.buckets\[0\] is missing",
        ),
    ],
)
def test_wrong_content_is_refused_with_file_and_key(change: Callable[[dict[str, Any]], None], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        read_statistics(broken(change), "s.json")
