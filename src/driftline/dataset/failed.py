"""Answers that are errors (a status of 400 and above): they are counted, with their weight, and never become rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

FAILED: Final = 400
_ONE: Final = 1 << 16


@dataclass(slots=True)
class Failed:
    """The errors among the records that were read."""

    count: int = 0
    weight: int = 0
    """Requests that they stand for, in fixed point."""
    statuses: Counter[int] = field(default_factory=Counter)
    first: int = 2**63 - 1
    """Microseconds since 1970 of the earliest one that has a time."""
    last: int = -(2**63)

    def add(
        self, status: npt.NDArray[np.int64], probability: npt.NDArray[np.float64], time: npt.NDArray[np.int64]
    ) -> None:
        """Count errors; `time` holds those that are known."""
        self.count += len(status)
        self.weight += weight_of(probability)
        kinds, counts = np.unique(status, return_counts=True)
        self.statuses.update(dict(zip(kinds.tolist(), counts.tolist(), strict=True)))
        if len(time):
            self.first, self.last = min(self.first, int(time.min())), max(self.last, int(time.max()))


def weight_of(probability: npt.NDArray[np.float64]) -> int:
    """Requests that records with these inclusion probabilities stand for, in fixed point: the same in any order."""
    weights = np.rint(_ONE / probability)
    return int(np.minimum(weights, 2.0**52).astype(np.int64).sum()) if len(weights) else 0


def errors_of(failed: Failed) -> dict[str, Any]:
    """What an `Intake` tells of them."""
    statuses = {str(status): failed.statuses[status] for status in sorted(failed.statuses)}
    return {"errors": failed.count, "statuses": statuses, "error_weight": failed.weight}
