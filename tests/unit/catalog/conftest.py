from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from driftline.catalog.catalog import Catalog, open_catalog
from driftline.planfile import parse_plan
from driftline.wire import PlanFile

NOW = datetime(2026, 3, 1, tzinfo=UTC)

PLAN = """\
version: 1
endpoints:
  flights: {probability: 0}
baselines: {inputs: base/inputs, quality: base/quality}
monitors:
  inputs-daily: {kind: data-quality, endpoint: flights, baseline: inputs, schedule: daily}
  quality-daily: {kind: model-quality, endpoint: flights, baseline: quality, schedule: daily}
channels:
  team: {kind: webhook, url: "http://127.0.0.1:9/hook"}
  retrain: {kind: command, command: [retrain], cooldown: P14D}
alarms:
  decay: {monitor: quality-daily, metrics: [auc], datapoints: 2, of: 3, notify: [team], act: [retrain]}
  anything: {monitor: inputs-daily, notify: [team]}
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/home/catalog.db"


@pytest.fixture
def plan() -> PlanFile:
    return parse_plan(PLAN, "plan.yaml", Path("/srv"))


@pytest.fixture
def catalog(url: str) -> Iterator[Catalog]:
    with open_catalog(url) as opened:
        yield opened


@pytest.fixture
def applied(catalog: Catalog, plan: PlanFile) -> Catalog:
    catalog.declared.apply(plan, NOW)
    return catalog
