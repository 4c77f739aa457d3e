from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from driftline.monitors.monitor import Monitor, Profile
from driftline.states.state import States

Profiled = Callable[..., Profile]


@pytest.fixture(scope="session")
def profiled() -> Profiled:
    """What a monitor keeps of a table whose columns are given by name."""

    def profile(monitor: Monitor, **columns: Any) -> Profile:
        batch = pa.record_batch(columns)
        names = tuple(columns)
        return Profile(States({summary: summary.of(batch) for summary in monitor.plan(names)}), names)

    return profile
