"""Which requests are captured: a share of them by a hash of the request's id, and rules that give other shares."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from driftline.capture.ids import id_digest, id_hash
from driftline.capture.limit import LEAST, Limit, Share
from driftline.errors import InputError

T = TypeVar("T")
_SPACE = 1 << 64
_REMEMBERED = 100
FAILED = 400
"""From this HTTP status on an answer is an error."""


class _Rule(NamedTuple):
    rate: float = 1.0
    errors: bool = False
    endpoint: str | None = None
    variant: str | None = None
    path: str | None = None
    attribute: str | None = None
    header: str | None = None


class Rule(_Rule):
    """A share for some of the requests: those for which all that is named here holds.

    Args:
        rate: the share of these requests that is captured, 0..1.
        errors: only answers with a status of 400 and above.
        endpoint, variant: only those of this name.
        path: only paths that begin so.
        attribute: only requests with this custom attribute, as `name=value`.
        header: only requests with this header, as `name=value`; the case of the name does not matter.
    """

    __slots__ = ()

    def __new__(
        cls,
        rate: float = 1.0,
        errors: bool = False,
        endpoint: str | None = None,
        variant: str | None = None,
        path: str | None = None,
        attribute: str | None = None,
        header: str | None = None,
    ) -> Rule:
        """See the class. Raises InputError where a value is none."""
        named = {"endpoint": endpoint, "variant": variant, "path": path, "attribute": attribute, "header": header}
        for what, value in named.items():
            if value is not None and (not isinstance(value, str) or not value):
                raise InputError(f"{what} of a sampling rule is {value!r}; it must be a text")
        for what in ("attribute", "header"):
            value = named[what]
            if value is not None and ("=" not in value or not value.partition("=")[0].strip()):
                raise InputError(f"{what} of a sampling rule is {value!r}; write it as name=value, such as tier=gold")
        if not isinstance(errors, bool):
            raise InputError(f"errors of a sampling rule is {errors!r}; it must be true or false")
        rate = _share("the rate of a rule", rate)
        return super().__new__(cls, rate, errors, endpoint, variant, path, attribute, header)


class _Sampling(NamedTuple):
    rate: float = 1.0
    rules: tuple[Rule, ...] = ()
    most_per_second: float | None = None


class Sampling(_Sampling):
    """Which requests are captured, and with what probability.

    Args:
        rate: the share of the requests that no rule matches, 0..1 (0.2 is 20 %).
        rules: the first one that matches a request gives its share.
        most_per_second: records that may be expected per second, in this process; where there would be more, the
            share of those that give most records is halved, and again, until it is enough.
    """

    __slots__ = ()

    def __new__(cls, rate: float = 1.0, rules: Iterable[Rule] = (), most_per_second: float | None = None) -> Sampling:
        """See the class. Raises InputError where a value is none."""
        rules = tuple(rules)
        for rule in rules:
            if not isinstance(rule, Rule):
                raise InputError(f"sampling rule {rule!r} is not a Rule, such as Rule(1.0, errors=True)")
        if most_per_second is not None and not (
            isinstance(most_per_second, (int, float)) and 0 < most_per_second < float("inf")
        ):
            raise InputError(f"most_per_second is {most_per_second!r}; it is a number of records above 0")
        return super().__new__(cls, _share("sampling", rate), rules, most_per_second)

    def told(self) -> dict[str, Any]:
        """For JSON: the rate, and what else was set."""
        found: dict[str, Any] = {"rate": self.rate}
        if self.rules:
            found["rules"] = [
                {name: value for name, value in rule._asdict().items() if value is not None and value is not False}
                for rule in self.rules
            ]
        if self.most_per_second is not None:
            found["most_per_second"] = self.most_per_second
        return found


class Facts(NamedTuple):
    """What rules may ask about a request, but for its answer."""

    endpoint: str | None = None
    variant: str | None = None
    path: str | None = None
    attributes: tuple[str, ...] = ()
    header: Callable[[str], str | None] | None = None
    """Gives the value of a header by its name in lower case."""


class Choice:
    """What was decided when the request came, for either end; it stands whatever is set meanwhile."""

    __slots__ = ("_share", "_share_failed", "failed", "fine", "keeps", "limit")

    def __init__(
        self, fine: float, failed: float | None, share: Share, share_failed: Share, limit: Limit | None = None
    ) -> None:
        self.fine = fine
        """The probability with which the request was chosen if it is answered well; 0: it was not."""
        self.failed = failed
        """The same if its answer is an error; None: errors of this kind are not looked at."""
        self.keeps = fine > 0.0 or bool(failed)
        """Whether the request may still be captured, so that its bodies must be kept."""
        self.limit = limit
        self._share, self._share_failed = share, share_failed

    def settle(self, status: int | None) -> float | None:
        """The probability with which the request was chosen, now that its answer is known; it counts for the limit.

        0 where it was not chosen, None where it is an error that is not looked at.
        """
        failed = status is not None and status >= FAILED
        probability = self.failed if failed else self.fine
        if self.limit is not None and probability is not None:
            self.limit.count(self._share_failed if failed else self._share)
        return probability


class Sampler:
    """Decides for each request by the hash of its id alone, so that a larger share contains a smaller one.

    Anyone who knows the id and the probability can repeat the decision with `chosen`.
    """

    __slots__ = ("_below", "_default", "_limit", "_possible", "_rules", "_settled", "ruled", "same", "sampling")

    def __init__(self, sampling: Sampling | float, clock: Callable[[], float] = time.monotonic) -> None:
        self.sampling = sampling if isinstance(sampling, Sampling) else Sampling(sampling)
        self.ruled = bool(self.sampling.rules)
        self._default = Share(self.sampling.rate)
        self._rules = [(_Test(rule), Share(rule.rate)) for rule in self.sampling.rules]
        shares = [*(share for _, share in self._rules), self._default]
        most = self.sampling.most_per_second
        self._limit = None if most is None else Limit(shares, most, clock)
        self._possible = _bound(max(share.rate for share in shares))
        self._below = None if self._possible == _SPACE else self._possible.to_bytes(8, "big")
        # Without a limit there are but four choices: by whether errors are looked at, and whether it is chosen.
        self._settled = self._limit is None and tuple(
            tuple(
                Choice(rate, rate if errors else None, self._default, self._default)
                for rate in (0.0, self._default.rate)
            )
            for errors in (False, True)
        )
        self.same: tuple[Choice, Choice] | None = None
        """Where it is the same for every request: the choice without and with a look at errors."""
        if self._settled and not self.ruled and self._default.rate in (0.0, 1.0):
            self.same = (self._settled[False][1], self._settled[True][1])

    def may(self, join_id: str) -> bool:
        """Whether any rule might choose the request."""
        return self._possible == _SPACE or id_hash(join_id) < self._possible

    def in_force(self) -> list[tuple[str, float]]:
        """The share of each rule, by its number, as the limit has it now, and last the one where no rule matches."""
        numbered = [(str(number), share.probability) for number, (_, share) in enumerate(self._rules, 1)]
        return [*numbered, ("default", self._default.probability)]

    def choose(self, join_id: str, facts: Facts | None = None, *, errors: bool = True) -> Choice:
        """The decision for the request, before its answer is known.

        Args:
            errors: whether errors are captured that no rule for errors matches.
        """
        if not self.ruled:
            return self.uniform(join_id, errors)
        given = facts or Facts()
        fine: Share | None = None
        failed: tuple[Share, bool] | None = None
        for test, share in self._rules:
            if test.holds(given):
                failed = failed or (share, test.errors)
                if not test.errors:
                    fine = share
                    break
        fine = fine or self._default
        share_failed, for_errors = failed or (self._default, False)
        place = id_hash(join_id)
        return Choice(
            _if_below(place, fine.probability),
            _if_below(place, share_failed.probability) if errors or for_errors else None,
            fine,
            share_failed,
            self._limit,
        )

    def uniform(self, join_id: str, errors: bool, digest: bytes | None = None) -> Choice:
        """The same as `choose`, where there are no rules (see `ruled`); `digest` is the `id_digest`, if it is known."""
        if self._settled:
            return self._settled[errors][self._below is None or (digest or id_digest(join_id)) < self._below]
        share = self._default
        probability = share.probability
        if probability < 1.0:
            probability = _if_below(id_hash(join_id), probability)
        return Choice(probability, probability if errors else None, share, share, self._limit)

    def decide(self, join_id: str, facts: Facts | None = None, status: int | None = None) -> float | None:
        """With what probability the request was chosen; None: it was not.

        >>> Sampler(0.5).decide("order-17") is None
        True
        >>> Sampler(Sampling(0.5, [Rule(errors=True)])).decide("order-17", status=500)
        1.0
        """
        return self.choose(join_id, facts).settle(status) or None


class Samplings:
    """Which sampling was asked for since when; the last ones of them."""

    def __init__(self) -> None:
        self._since: list[tuple[datetime, Sampling]] = []

    def add(self, at: datetime, sampling: Sampling) -> None:
        """From `at` on it is `sampling`."""
        self._since = [*self._since[1 - _REMEMBERED :], (at, sampling)]

    @property
    def last(self) -> Sampling:
        """The one that is asked for now."""
        return self._since[-1][1] if self._since else Sampling()

    @classmethod
    def of(cls, told: Iterable[Mapping[str, Any]]) -> Samplings:
        """The samplings that `all_told` told.

        Raises:
            InputError, KeyError, TypeError, ValueError: they are none.
        """
        samplings = cls()
        for each in told:
            sampling = Sampling(
                each["rate"], [Rule(**rule) for rule in each.get("rules", ())], each.get("most_per_second")
            )
            samplings.add(datetime.fromisoformat(each["since"]), sampling)
        return samplings

    def told(self, start: datetime, end: datetime) -> list[dict[str, Any]]:
        """For JSON: those that were asked for between `start` and `end`, each with its `since`."""
        return _told(within(self._since, start, end))

    def all_told(self) -> list[dict[str, Any]]:
        """For JSON: all that are remembered."""
        return _told(self._since)


def within(known: list[tuple[datetime, T]], start: datetime, end: datetime) -> list[tuple[datetime, T]]:
    """Of what holds since when, what held between `start` and `end`; the first of all where that began later."""
    first = max((i for i, (at, _) in enumerate(known) if at <= start), default=0)
    return [each for each in known[first:] if each[0] < end] or known[first : first + 1]


def _told(known: Iterable[tuple[datetime, Sampling]]) -> list[dict[str, Any]]:
    return [{"since": f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"} | sampling.told() for at, sampling in known]


def chosen(join_id: str, probability: float) -> bool:
    """Whether a request with this id is among those that are captured with this probability.

    >>> chosen("order-17", 0.6), chosen("order-17", 0.5)
    (True, False)
    """
    return id_hash(join_id) < _bound(probability)


class _Test:
    """A rule, taken apart for speed."""

    __slots__ = ("_attribute", "_header", "_rule", "errors")

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self.errors = rule.errors
        self._attribute = None if rule.attribute is None else _pair(rule.attribute)
        header = None if rule.header is None else _pair(rule.header)
        self._header = None if header is None else (header[0].lower(), header[1])

    def holds(self, facts: Facts) -> bool:
        rule = self._rule
        if rule.endpoint is not None and rule.endpoint != facts.endpoint:
            return False
        if rule.variant is not None and rule.variant != facts.variant:
            return False
        if rule.path is not None and (facts.path is None or not facts.path.startswith(rule.path)):
            return False
        if self._header is not None:
            name, value = self._header
            found = None if facts.header is None else facts.header(name)
            if found is None or found.strip() != value:
                return False
        return self._attribute is None or any(
            _pair(part) == self._attribute for text in facts.attributes for part in text.split(",")
        )


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(), value.strip()


def _share(what: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InputError(f"{what} is {value!r}; it is a share of the requests, from 0 to 1 (0.2 is 20 %)")
    if 0 < value < LEAST:
        raise InputError(
            f"{what} is {value!r}; a share is 0 or at least {LEAST:g}, for each record stands for 1 / share"
        )
    return float(value)


def _bound(probability: float) -> int:
    return int(probability * _SPACE)


def _if_below(place: int, probability: float) -> float:
    return probability if place < _bound(probability) else 0.0
