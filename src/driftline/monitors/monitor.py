"""A monitor is a question asked of a window: what to keep of its rows, and what to measure from that. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from driftline.constraints import Constraint
from driftline.metrics.metric import Measurement
from driftline.states.state import Plan, States


@dataclass(frozen=True, slots=True)
class Profile:
    """The states of one window or of the baseline, and the columns in the order of the data."""

    states: States
    columns: tuple[str, ...]


class Monitor(Protocol):
    """A question; a new one is one file."""

    kind: ClassVar[str]

    def plan(self, columns: Sequence[str]) -> Plan:
        """What to keep of a dataset with these columns."""
        ...

    def measure(self, current: Profile, baseline: Profile | None, confidence: float) -> Iterator[Measurement]:
        """The numbers of the window, each at this confidence."""
        ...

    def suggest(self, whole: Profile, parts: Iterable[Profile]) -> Iterator[Constraint]:
        """Constraints from the baseline; `parts` are its consecutive blocks, and show how much it varies by itself."""
        ...
