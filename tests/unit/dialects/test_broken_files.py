from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from driftline.constraints import Mode
from driftline.dialects.sagemaker_files import constraints_of, read_constraints, read_statistics, write_statistics
from driftline.errors import InputError

STATISTICS = {
    "version": 0.0,
    "dataset": {"item_count": 3},
    "features": [
        {
            "name": "age",
            "inferred_type": "Integral",
            "numerical_statistics": {
                "common": {"num_present": 3, "num_missing": 0},
                "mean": 2.0,
                "sum": 6.0,
                "std_dev": 0.8,
                "min": 1.0,
                "max": 3.0,
                "distribution": {
                    "kll": {
                        "buckets": [{"lower_bound": 1.0, "upper_bound": 3.0, "count": 3.0}],
                        "sketch": {"parameters": {"c": 0.64, "k": 2048.0}, "data": [[2.0], [1.0]]},
                    }
                },
            },
        },
        {
            "name": "plan",
            "inferred_type": "String",
            "string_statistics": {
                "common": {"num_present": 2, "num_missing": 1},
                "distinct_count": 1.0,
                "distribution": {"categorical": {"buckets": [{"value": "free", "count": 2}]}},
            },
        },
    ],
}
CONSTRAINTS = {
    "version": 0.0,
    "features": [
        {
            "name": "plan",
            "inferred_type": "String",
            "completeness": 0.75,
            "num_constraints": {"is_non_negative": True},
            "string_constraints": {"domains": ["free"], "monitoring_config_overrides": {"emit_metrics": "Enabled"}},
        }
    ],
    "monitoring_config": {
        "evaluate_constraints": "Enabled",
        "distribution_constraints": {"comparison_threshold": 0.1, "comparison_method": "Robust"},
    },
}
ANYTHING = st.sampled_from([None, True, -1, 0, 2, 1.5, 1e300, "", "age", "NaN", [], {}, [[1.0]], {"name": 1}, ["x"]])


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = list(enumerate(value))
    return [at, *(path for key, item in inside for path in paths(item, (*at, key)))]


def changed(document: Any, path: tuple[Any, ...], value: Any) -> bytes:
    copy = json.loads(json.dumps(document))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(copy).encode()


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(paths(STATISTICS)[1:]), ANYTHING)
@example(("features", 1, "string_statistics", "distribution", "categorical", "buckets", 0, "count"), 1e300)
def test_broken_statistics_are_read_or_refused_but_never_crash(path: tuple[Any, ...], value: Any) -> None:
    with contextlib.suppress(InputError):
        write_statistics(read_statistics(changed(STATISTICS, path, value)))


def test_the_rows_of_a_category_over_all_its_buckets_are_at_most_what_sums_can_hold() -> None:
    buckets = [{"value": "free", "count": 2.0**40}, {"value": "free", "count": 1.0}]
    path = ("features", 1, "string_statistics", "distribution", "categorical", "buckets")
    with pytest.raises(InputError, match=r"buckets\[1\].count is 1.0, but must be at most 1099511627776 rows together"):
        read_statistics(changed(STATISTICS, path, buckets))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(paths(CONSTRAINTS)[1:]), ANYTHING)
def test_broken_constraints_are_read_or_refused_but_never_crash(path: tuple[Any, ...], value: Any) -> None:
    with contextlib.suppress(InputError):
        constraints_of(read_constraints(changed(CONSTRAINTS, path, value)), Mode.POINT)
