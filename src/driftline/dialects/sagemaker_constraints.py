"""`constraints.json` of Model Monitor: read, written, suggested, and turned into constraints of ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, cast

from driftline.constraints import Constraint, Mode
from driftline.dialects.sagemaker_json import Json, Place, parse, render
from driftline.errors import InputError
from driftline.monitors.effects import BEST, DRIFT_BOUND, floor
from driftline.schema import Kind, ProblemType

Operator: TypeAlias = Literal["LessThanThreshold", "GreaterThanThreshold"]
LESS: Final[Operator] = "LessThanThreshold"
GREATER: Final[Operator] = "GreaterThanThreshold"

QUALITY_KEYS: Final[Mapping[str, ProblemType]] = {
    "regression_constraints": ProblemType.REGRESSION,
    "binary_classification_constraints": ProblemType.BINARY,
    "multiclass_classification_constraints": ProblemType.MULTICLASS,
}

Effects: TypeAlias = Mapping[tuple[str, str | None], float]
"""The smallest shortfall worth acting on, by metric and column."""


@dataclass(frozen=True, slots=True)
class MonitoringConfig:
    """What Model Monitor evaluates, and by which thresholds."""

    evaluate: bool = True
    emit_metrics: bool = True
    datatype_threshold: float = 1.0
    """Least share of values that match the inferred type."""
    domain_threshold: float = 1.0
    """Least share of values inside the domain."""
    compare: bool = True
    comparison_threshold: float = DRIFT_BOUND
    comparison_method: Literal["Robust", "Simple"] = "Robust"
    categorical_threshold: float = DRIFT_BOUND
    categorical_method: Literal["LInfinity", "ChiSquared"] = "LInfinity"


@dataclass(frozen=True, slots=True)
class Feature:
    """What Model Monitor expects of one column."""

    name: str
    kind: Kind
    completeness: float | None = None
    non_negative: bool | None = None
    domain: tuple[str, ...] | None = None
    config: MonitoringConfig | None = None
    """The configuration for this column where it overrides the file's."""
    overrides: Json | None = field(default=None, hash=False)
    """The overriding keys as they stand in the file."""


@dataclass(frozen=True, slots=True)
class DataConstraints:
    """The `constraints.json` of a data-quality baseline."""

    features: tuple[Feature, ...]
    config: MonitoringConfig = MonitoringConfig()

    @property
    def domains(self) -> dict[str, frozenset[str]]:
        """The allowed values of the columns that have a domain."""
        return {f.name: frozenset(f.domain) for f in self.features if f.domain is not None}

    @property
    def names(self) -> tuple[str, ...]:
        """The columns in the order of the file."""
        return tuple(f.name for f in self.features)


@dataclass(frozen=True, slots=True)
class Threshold:
    """One line of a model-quality `constraints.json`."""

    metric: str
    threshold: float
    operator: Operator


@dataclass(frozen=True, slots=True)
class QualityConstraints:
    """The `constraints.json` of a model-quality baseline."""

    problem: ProblemType
    thresholds: tuple[Threshold, ...]


ConstraintsFile: TypeAlias = DataConstraints | QualityConstraints


def quality_constraints(problem: ProblemType, suggested: Iterable[Constraint]) -> QualityConstraints:
    """What the monitor suggests, as the content of Model Monitor's file; the operator names the violating side."""
    lines = (
        Threshold(c.metric, c.high, GREATER) if c.high is not None else Threshold(c.metric, c.low or 0.0, LESS)
        for c in suggested
    )
    return QualityConstraints(problem, tuple(lines))


def read_constraints(data: bytes, file: str = "constraints.json") -> ConstraintsFile:
    """The content of a `constraints.json`, whoever wrote it; unknown keys are ignored.

    Raises:
        InputError: with the file and the key whose value is wrong.
    """
    place = parse(data, file)
    problems = [key for key in QUALITY_KEYS if place.get(key) is not None]
    if len(problems) > 1:
        raise InputError(f"{file}: holds {' and '.join(problems)}; one file is about one problem type")
    if problems:
        return _quality(place.need(problems[0]), QUALITY_KEYS[problems[0]])
    if place.get("features") is None:
        keys = ", ".join(QUALITY_KEYS)
        raise InputError(f"{file}: not a constraints file of Model Monitor: it has none of the keys features, {keys}")
    return _data(place)


def write_constraints(constraints: ConstraintsFile) -> bytes:
    """The constraints as a `constraints.json` that Model Monitor's readers understand."""
    if isinstance(constraints, QualityConstraints):
        key = next(k for k, problem in QUALITY_KEYS.items() if problem is constraints.problem)
        lines = {
            t.metric: {"threshold": float(t.threshold), "comparison_operator": t.operator}
            for t in constraints.thresholds
        }
        return render({"version": 0.0, key: lines})
    features = [_feature_json(f) for f in constraints.features]
    return render({"version": 0.0, "features": features, "monitoring_config": _config_json(constraints.config)})


def constraints_of(file: ConstraintsFile, mode: Mode, effects: Effects | None = None) -> tuple[Constraint, ...]:
    """The constraints that a file stands for, judged in this mode.

    Args:
        file: what `read_constraints` gave.
        mode: in `point` the distances are Model Monitor's (Robust or Simple, L-infinity or chi-squared, as the file
            says); in `confident` they are `ks` and `linf`, whose interval does the work of the correction.
        effects: the baseline's own; a metric without one gets the practical floor.
    """
    own = effects or {}
    bare = _quality_constraints(file) if isinstance(file, QualityConstraints) else _data_constraints(file, mode)
    return tuple(_with_effect(c, own) for c in bare)


def _with_effect(constraint: Constraint, effects: Effects) -> Constraint:
    bound = constraint.low if constraint.low is not None else constraint.high
    effect = effects.get((constraint.metric, constraint.column))
    if effect is None:
        effect = floor(constraint.metric, bound)
    return Constraint(
        metric=constraint.metric,
        column=constraint.column,
        low=constraint.low,
        high=constraint.high,
        effect=effect,
        best=BEST.get(constraint.metric),
    )


def _quality_constraints(file: QualityConstraints) -> Iterator[Constraint]:
    for t in file.thresholds:
        low, high = (t.threshold, None) if t.operator == LESS else (None, t.threshold)
        yield Constraint(t.metric, None, low=low, high=high)


def _data_constraints(file: DataConstraints, mode: Mode) -> Iterator[Constraint]:
    if not file.config.evaluate:
        return
    yield Constraint("missing_columns", None, high=0.0)
    yield Constraint("extra_columns", None, high=0.0)
    for feature in file.features:
        config = feature.config or file.config
        if config.evaluate:
            yield from _feature_constraints(feature, config, mode)


def _feature_constraints(feature: Feature, config: MonitoringConfig, mode: Mode) -> Iterator[Constraint]:
    name = feature.name
    if feature.kind is Kind.INTEGRAL:
        yield Constraint("integral_share", name, low=config.datatype_threshold)
    if feature.kind is Kind.FRACTIONAL:
        yield Constraint("numeric_share", name, low=config.datatype_threshold)
    if feature.completeness is not None:
        yield Constraint("completeness", name, low=feature.completeness)
    if feature.domain is not None and feature.kind is Kind.STRING:
        yield Constraint("domain_share", name, low=config.domain_threshold)
    if config.compare and feature.kind is not Kind.UNKNOWN:
        yield _drift_constraint(feature, config, mode)


def _drift_constraint(feature: Feature, config: MonitoringConfig, mode: Mode) -> Constraint:
    robust = mode is Mode.POINT and config.comparison_method == "Robust"
    if feature.kind.numeric:
        return Constraint("ks_robust" if robust else "ks", feature.name, high=config.comparison_threshold)
    if mode is Mode.POINT and config.categorical_method == "ChiSquared":
        return Constraint("chi_square", feature.name, low=config.categorical_threshold)
    return Constraint("linf_robust" if robust else "linf", feature.name, high=config.categorical_threshold)


def _quality(place: Place, problem: ProblemType) -> QualityConstraints:
    thresholds = []
    for metric, line in place.members():
        operator = line.need("comparison_operator").choice(lessthanthreshold=LESS, greaterthanthreshold=GREATER)
        thresholds.append(Threshold(metric, line.need("threshold").number(), cast("Operator", operator)))
    return QualityConstraints(problem, tuple(thresholds))


def _data(place: Place) -> DataConstraints:
    raw = place.get("monitoring_config")
    config = _config(raw, MonitoringConfig()) if raw is not None else MonitoringConfig()
    features = tuple(_feature(f, config) for f in place.need("features").items())
    names = [f.name for f in features]
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise InputError(f"{place.file}: feature {twice!r} is listed twice; names of features must differ")
    return DataConstraints(features, config)


def _feature(place: Place, config: MonitoringConfig) -> Feature:
    numbers, strings = place.get("num_constraints"), place.get("string_constraints")
    non_negative = numbers.get("is_non_negative") if numbers is not None else None
    domain = strings.get("domains") if strings is not None else None
    completeness = place.get("completeness")
    overrides = _overrides(place, strings)
    return Feature(
        name=place.need("name").text(),
        kind=kind_at(place.need("inferred_type")),
        completeness=None if completeness is None else completeness.number(0.0, 1.0),
        non_negative=None if non_negative is None else non_negative.flag(),
        domain=None if domain is None else tuple(value.text() for value in domain.items()),
        config=None if overrides is None else _config(overrides, config),
        overrides=None if overrides is None else overrides.value,
    )


def kind_at(place: Place) -> Kind:
    """The inferred type that stands there."""
    return Kind(place.choice(**{kind.value.lower(): kind.value for kind in Kind}))


def _overrides(feature: Place, strings: Place | None) -> Place | None:
    """The overriding keys of a feature, in any of the three places where they are found in real files."""
    for place in (feature, strings):
        for key in ("monitoring_config_overrides", "monitoringConfigOverrides"):
            found = place.get(key) if place is not None else None
            if found is not None and found.value != {}:
                return found
    return None


def _config(place: Place, default: MonitoringConfig) -> MonitoringConfig:
    def flag(at: Place | None, key: str, otherwise: bool) -> bool:
        found = at.get(key) if at is not None else None
        return otherwise if found is None else found.flag()

    def share(at: Place | None, key: str, otherwise: float) -> float:
        found = at.get(key) if at is not None else None
        return otherwise if found is None else found.number(0.0, 1.0)

    drift = place.get("distribution_constraints")
    threshold = share(drift, "comparison_threshold", default.comparison_threshold)
    named = drift is not None and drift.get("comparison_threshold") is not None
    method = drift.get("comparison_method") if drift is not None else None
    categorical = drift.get("categorical_drift_method") if drift is not None else None
    return MonitoringConfig(
        evaluate=flag(place, "evaluate_constraints", default.evaluate),
        emit_metrics=flag(place, "emit_metrics", default.emit_metrics),
        datatype_threshold=share(place, "datatype_check_threshold", default.datatype_threshold),
        domain_threshold=share(place, "domain_content_threshold", default.domain_threshold),
        compare=flag(drift, "perform_comparison", default.compare),
        comparison_threshold=threshold,
        comparison_method=default.comparison_method if method is None else _method(method),
        categorical_threshold=share(
            drift, "categorical_comparison_threshold", threshold if named else default.categorical_threshold
        ),
        categorical_method=default.categorical_method if categorical is None else _categorical(categorical),
    )


def _method(place: Place) -> Literal["Robust", "Simple"]:
    found = place.choice(robust="Robust", simple="Simple", linfrobust="Robust", linfsimple="Simple")
    return "Robust" if found == "Robust" else "Simple"


def _categorical(place: Place) -> Literal["LInfinity", "ChiSquared"]:
    found = place.choice(linfinity="LInfinity", chisquared="ChiSquared")
    return "LInfinity" if found == "LInfinity" else "ChiSquared"


def _feature_json(feature: Feature) -> Json:
    out: Json = {"name": feature.name, "inferred_type": feature.kind.value}
    if feature.completeness is not None:
        out["completeness"] = float(feature.completeness)
    if feature.non_negative is not None:
        out["num_constraints"] = {"is_non_negative": feature.non_negative}
    if feature.domain is not None:
        out["string_constraints"] = {"domains": list(feature.domain)}
    if feature.overrides is not None:
        out["monitoring_config_overrides"] = feature.overrides
    return out


def _config_json(config: MonitoringConfig) -> Json:
    return {
        "evaluate_constraints": _enabled(config.evaluate),
        "emit_metrics": _enabled(config.emit_metrics),
        "datatype_check_threshold": float(config.datatype_threshold),
        "domain_content_threshold": float(config.domain_threshold),
        "distribution_constraints": {
            "perform_comparison": _enabled(config.compare),
            "comparison_threshold": float(config.comparison_threshold),
            "comparison_method": config.comparison_method,
            "categorical_comparison_threshold": float(config.categorical_threshold),
            "categorical_drift_method": config.categorical_method,
        },
    }


def _enabled(flag: bool) -> str:
    return "Enabled" if flag else "Disabled"
