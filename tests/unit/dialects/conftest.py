from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from driftline.monitors.data_quality import DataQuality
from driftline.monitors.monitor import Profile
from driftline.states.state import States

Profiled = Callable[..., Profile]


@pytest.fixture(scope="session")
def profiled() -> Profiled:
    """The profile of a table whose columns are given by name."""

    def profile(**columns: Any) -> Profile:
        batch = pa.record_batch(columns)
        names = tuple(columns)
        return Profile(States({summary: summary.of(batch) for summary in DataQuality().plan(names)}), names)

    return profile
