from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from driftline.capture.ids import id_hash
from driftline.capture.sampler import Facts, Rule, Sampler, Sampling, chosen
from driftline.errors import InputError

IDS = [f"order-{number}" for number in range(20_000)]
HEADERS = {"x-tenant": "acme"}


@pytest.mark.parametrize("probability", [0.0, 0.01, 0.2, 0.5, 1.0])
def test_the_share_that_is_kept_is_the_probability(probability: float) -> None:
    kept = sum(Sampler(probability).decide(each) is not None for each in IDS)
    error = math.sqrt(len(IDS) * probability * (1 - probability))
    assert abs(kept - len(IDS) * probability) <= 4 * error


def test_the_same_id_is_always_in_or_always_out() -> None:
    assert [Sampler(0.3).decide(each) for each in IDS[:100]] == [Sampler(0.3).decide(each) for each in IDS[:100]]


def test_what_a_small_share_keeps_a_larger_one_keeps_too() -> None:
    assert all(Sampler(0.5).decide(each) for each in IDS if Sampler(0.1).decide(each))


def test_who_knows_the_probability_can_repeat_the_decision() -> None:
    sampler = Sampler(Sampling(0.1, [Rule(0.3, path="/v2/")]))
    for path, probability in (("/v1/predict", 0.1), ("/v2/predict", 0.3)):
        decided = [sampler.decide(each, Facts(path=path)) for each in IDS[:1000]]
        assert decided == [probability if chosen(each, probability) else None for each in IDS[:1000]]


def test_the_hash_of_an_id_never_changes() -> None:
    assert id_hash("order-17") == 0x94DF38E83B717C1E
    assert 0 <= id_hash("\ud800") < 1 << 64
    assert id_hash("\ud800") == id_hash("\\ud800")


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        (Rule(errors=True), False),
        (Rule(endpoint="flights"), True),
        (Rule(endpoint="prices"), False),
        (Rule(variant="canary"), True),
        (Rule(variant="AllTraffic"), False),
        (Rule(path="/v2/"), True),
        (Rule(path="/v1/"), False),
        (Rule(attribute="tier=gold"), True),
        (Rule(attribute=" tier = gold "), True),
        (Rule(attribute="tier=go"), False),
        (Rule(attribute="tier="), False),
        (Rule(header="X-Tenant=acme"), True),
        (Rule(header="x-tenant=ACME"), False),
        (Rule(header="x-other=acme"), False),
        (Rule(endpoint="flights", path="/v2/", attribute="region=eu"), True),
        (Rule(endpoint="flights", path="/v2/", attribute="region=us"), False),
    ],
    ids=str,
)
def test_a_rule_matches_where_all_that_it_names_holds(rule: Rule, matches: bool) -> None:
    facts = Facts("flights", "canary", "/v2/predict", ("tier=gold, region=eu", "other"), HEADERS.get)
    assert (Sampler(Sampling(0.0, [rule])).decide("order-17", facts) == 1.0) == matches
    assert Sampler(Sampling(0.0, [rule])).decide("order-17") is None


def test_the_first_rule_that_matches_wins() -> None:
    sampler = Sampler(Sampling(1.0, [Rule(0.0, path="/health"), Rule(0.5, path="/")]))
    assert sampler.decide("order-1", Facts(path="/health")) is None
    assert sampler.decide("order-1", Facts(path="/x")) == (0.5 if chosen("order-1", 0.5) else None)
    assert sampler.decide("order-1", Facts(path="other")) == 1.0


@pytest.mark.parametrize(
    ("rules", "failed"),
    [
        ([Rule(errors=True)], 1.0),
        ([Rule(errors=True, path="/v2"), Rule(0.0, errors=True)], 0.0),
        ([Rule(0.0, path="/v1"), Rule(errors=True)], None),
        ([Rule(1.0, path="/v1")], None),
        ([], None),
    ],
    ids=["a rule", "the rule for its segment", "another rule comes first", "a rule for all", "no rule"],
)
def test_errors_are_looked_at_where_a_rule_for_errors_matches_or_all_are_asked_for(
    rules: list[Rule], failed: float | None
) -> None:
    sampler = Sampler(Sampling(0.0, rules))
    facts = Facts(path="/v1/predict")
    choice = sampler.choose("order-17", facts, errors=False)
    assert choice.settle(500) == failed
    assert choice.failed == failed
    assert sampler.choose("order-17", facts, errors=True).failed is not None
    assert choice.settle(200) == choice.fine == sampler.choose("order-17", facts, errors=True).settle(None)


def test_a_hint_says_yes_where_any_rule_might_choose() -> None:
    sampler = Sampler(Sampling(0.1, [Rule(0.5, errors=True)]))
    assert [sampler.may(each) for each in IDS[:1000]] == [chosen(each, 0.5) for each in IDS[:1000]]
    assert not Sampler(0.0).may("order-17")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Sampling(-0.1),
        lambda: Sampling(20),
        lambda: Sampling(1e-7),
        lambda: Sampling(math.nan),
        lambda: Sampling(True),
        lambda: Sampling("0.2"),  # type: ignore[arg-type]
        lambda: Sampling(0.2, most_per_second=0),
        lambda: Sampling(0.2, most_per_second=math.inf),
        lambda: Sampling(0.2, ["errors"]),  # type: ignore[list-item]
        lambda: Rule(2),
        lambda: Rule(1, path=""),
        lambda: Rule(1, header="X-Tenant"),
        lambda: Rule(1, attribute="=gold"),
        lambda: Rule(1, endpoint=7),  # type: ignore[arg-type]
        lambda: Rule(1, "yes"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_sampling_is_refused(wrong: Any) -> None:
    with pytest.raises(InputError):
        wrong()


def test_a_sampling_is_a_value() -> None:
    sampling = Sampling(0.2, [Rule(errors=True), Rule(0.5, header="x-tenant=acme")], 100)
    assert sampling == Sampling(0.2, (Rule(1.0, True), Rule(0.5, header="x-tenant=acme")), 100)
    assert copy.deepcopy(sampling) == sampling
    assert hash(sampling) != hash(Sampling(0.2))
    assert sampling.told() == {
        "rate": 0.2,
        "rules": [{"rate": 1.0, "errors": True}, {"rate": 0.5, "header": "x-tenant=acme"}],
        "most_per_second": 100,
    }


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("errors", [True, False])
def test_a_choice_that_is_the_same_for_all_is_the_one_that_each_would_get(rate: float, errors: bool) -> None:
    sampler = Sampler(rate)
    if rate == 0.5:
        assert sampler.same is None
        return
    assert sampler.same is not None
    same = sampler.same[errors]
    for each in IDS[:100]:
        choice = sampler.choose(each, errors=errors)
        assert (choice.fine, choice.failed, choice.keeps) == (same.fine, same.failed, same.keeps) == (
            rate, rate if errors else None, rate > 0,
        )  # fmt: skip


@pytest.mark.parametrize(
    "sampling", [Sampling(1.0, [Rule(0.0, path="/v1")]), Sampling(1.0, most_per_second=1e6)], ids=["rules", "a limit"]
)
def test_with_rules_or_a_limit_no_choice_is_the_same_for_all(sampling: Sampling) -> None:
    assert Sampler(sampling).same is None
