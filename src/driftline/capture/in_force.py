"""What a capture is asked to do, and since when: how it samples, and what its field policy takes out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from driftline.capture.sampler import Sampling, Samplings, within

if TYPE_CHECKING:
    from driftline.capture.privacy import Policy

_REMEMBERED = 100


class InForce:
    """Changes with the capture's configuration. What was, is told beside the records: a reader must know it."""

    def __init__(self) -> None:
        self.samplings = Samplings()
        self.policy: Policy | None = None
        """What is done to a record before it is encoded."""
        self.changes = 0
        self._policies: list[tuple[datetime, Mapping[str, Any]]] = []

    def samples(self, at: datetime, sampling: Sampling) -> None:
        """From `at` on requests are chosen so."""
        self.samplings.add(at, sampling)
        self.changes += 1

    def protects(self, at: datetime, policy: Policy | None) -> None:
        """From `at` on this is done to records; those that still wait to be encoded are among them."""
        self.policy = policy
        self._remember(at, {"rules": []} if policy is None else policy.told())
        self.changes += 1

    def told(self, start: datetime, end: datetime) -> dict[str, Any]:
        """For JSON: the sampling that is asked for now, and all that was in force between `start` and `end`."""
        told = {"sampling": self.samplings.last.rate, "samplings": self.samplings.told(start, end)}
        return told | self._told(within(self._policies, start, end))

    def all_told(self) -> dict[str, Any]:
        """For JSON: all that is remembered."""
        return {"samplings": self.samplings.all_told()} | self._told(self._policies)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> InForce:
        """What `all_told` told; the policies only as they are told.

        Raises:
            InputError, KeyError, TypeError, ValueError: it is none.
        """
        found = cls()
        found.samplings = Samplings.of(told["samplings"])
        for policy in told.get("policies", ()):
            found._remember(datetime.fromisoformat(policy["since"]), {k: v for k, v in policy.items() if k != "since"})
        return found

    def _remember(self, at: datetime, policy: Mapping[str, Any]) -> None:
        self._policies = [*self._policies[1 - _REMEMBERED :], (at, policy)]

    def _told(self, known: list[tuple[datetime, Mapping[str, Any]]]) -> dict[str, Any]:
        if not any(policy["rules"] for _, policy in known):
            return {}
        return {"policies": [{"since": f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", **policy} for at, policy in known]}
