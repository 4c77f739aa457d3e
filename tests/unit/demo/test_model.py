from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_auc_score

from driftline.demo.flights import Flight, Flights
from driftline.demo.model import Model, auc, load, save, train
from driftline.errors import Corrupt, InputError, NotFound


def test_the_model_is_better_than_a_coin_on_days_it_has_not_seen(
    trained: tuple[Model, npt.NDArray[np.float64]], winter: Flights
) -> None:
    model, held_out = trained
    assert 0.62 < model.trained.auc < 0.70
    assert model.trained.auc == round(float(roc_auc_score(winter.late, held_out)), 4)


def test_the_answers_held_out_are_worse_than_those_on_seen_days(
    trained: tuple[Model, npt.NDArray[np.float64]], winter: Flights
) -> None:
    model, held_out = trained
    assert auc(winter.late, model.probabilities(winter.facts)) > auc(winter.late, held_out)


def test_probabilities_agree_with_the_share_of_late_flights(model: Model, winter: Flights) -> None:
    answers = model.probabilities(winter.facts)
    assert answers.min() > 0
    assert answers.max() < 1
    assert abs(answers.mean() - winter.late.mean()) < 0.005


def test_the_skill_fades_by_the_end_of_summer(model: Model, flights: Flights) -> None:
    def skill(month: int) -> float:
        some = flights.between(date(2013, month, 1), date(2013, month, 28))
        return auc(some.late, model.probabilities(some.facts)) - 0.5

    assert skill(9) < 0.7 * skill(3)


def test_what_was_never_seen_weighs_nothing(model: Model) -> None:
    nowhere = model.probability(Flight(99, 9900, 0, "??", "???", "???"))
    assert nowhere == pytest.approx(1 / (1 + np.exp(-model.intercept)))


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_that_of_scikit_learn_ties_included(seed: int) -> None:
    random = np.random.default_rng(seed)
    late, score = random.integers(0, 2, 300), random.integers(0, 20, 300) / 20
    assert auc(late, score) == pytest.approx(roc_auc_score(late, score), abs=1e-12)


def test_a_model_survives_its_file(model: Model, tmp_path: Path) -> None:
    save(model, tmp_path / "model.json")
    assert load(tmp_path / "model.json") == model
    assert [file.name for file in tmp_path.iterdir()] == ["model.json"]


def test_a_missing_and_a_broken_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"model\.json"):
        load(tmp_path / "model.json")
    for text in ("", "[]", '{"version": "x"}'):
        (tmp_path / "model.json").write_text(text)
        with pytest.raises(Corrupt, match="is not a model"):
            load(tmp_path / "model.json")


def test_too_little_to_learn_from_is_refused(winter: Flights) -> None:
    few = winter.between(date(2013, 1, 1), date(2013, 1, 2))
    with pytest.raises(InputError, match="too few to learn from"):
        train(few.facts, few.late, few.days, "x")
    with pytest.raises(InputError, match="1 outcomes"):
        train(winter.facts, np.zeros_like(winter.late), winter.days, "x")
