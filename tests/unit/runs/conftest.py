"""A shop with a data-quality and a model-quality monitor, its requests and labels: the real catalog, no mocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from driftline.assemble import App, opened
from driftline.capture import Capture
from driftline.catalog.ledger import Run
from driftline.dataset.dataset import Answers
from driftline.dataset.labels import put_labels
from driftline.planfile import parse_plan
from driftline.runs.oneoff import Model, Source, Truth, Workshop, baseline_of_data, baseline_of_quality
from driftline.runs.run import check_plan
from driftline.schema import ProblemType
from driftline.worker import Tick, tick

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
PLAN = """
version: 1
endpoints: {shop: {problem_type: BinaryClassification, probability: 0}}
baselines: {data: base-data, quality: base-quality}
monitors:
  inputs: {kind: data-quality, endpoint: shop, baseline: data, schedule: {cron: INPUTS}, sides: [input]}
  truth: {kind: model-quality, endpoint: shop, baseline: quality, schedule: {cron: daily, late: P3D}}
alarms:
  decay: {monitor: truth}
"""


@pytest.fixture(scope="session")
def baselines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two baselines, built once."""
    folder = tmp_path_factory.mktemp("baselines")
    rows = [(i % 50, "free" if i % 3 else "pro", (i * 7 % 10) / 10, int(i * 7 % 10 > 4)) for i in range(600)]
    (folder / "train.csv").write_text("amount,plan\n" + "".join(f"{a},{p}\n" for a, p, _, _ in rows))
    (folder / "scored.csv").write_text("score,truth\n" + "".join(f"{s},{t}\n" for _, _, s, t in rows))
    with opened({"DRIFTLINE_HOME": str(folder / "home")}) as app:
        shop = Workshop(app.site.engine, folder / "scratch", START)
        baseline_of_data(Source(folder / "train.csv"), folder / "base-data", shop)
        model = Model(ProblemType.BINARY, Answers(score="score"), Truth(column="truth"))
        baseline_of_quality(Source(folder / "scored.csv"), folder / "base-quality", model, shop)
    return folder


class Shop:
    """A home of Driftline with something in it."""

    def __init__(self, app: App, baselines: Path) -> None:
        self.app = app
        self.home = app.settings.home
        self.baselines = baselines

    def apply(self, at: datetime = START, change: Callable[[str], str] = lambda plan: plan) -> None:
        text = PLAN if "INPUTS" in (changed := change(PLAN)) else changed
        plan = parse_plan((changed or text).replace("INPUTS", "daily"), "plan.yaml", self.baselines)
        check_plan(plan)
        self.app.catalog.declared.apply(plan, at)

    def requests(self, at: datetime, rows: int = 200, name: str = "r", **options: Any) -> None:
        with Capture("shop", self.home / "objects", clock=lambda: at, **options) as capture:
            for i in range(rows):
                data, score = f"{i % 50},{'free' if i % 3 else 'pro'}", f"{(i * 7 % 10) / 10}"
                capture.log(data, score, inference_id=f"{name}{i}", at=at + timedelta(seconds=i))

    def labels(self, at: datetime, rows: int = 200, name: str = "r", wrong: bool = False) -> None:
        truths = [(f"{name}{i}", int((i * 7 % 10 > 4) is not wrong)) for i in range(rows)]
        put_labels(self.app.store, "shop", truths, now=at)

    def tick(self, now: datetime) -> Tick:
        return tick(self.app.site, self.app.channels(), now)

    def runs(self, monitor: str, **more: Any) -> list[Run]:
        """The runs, the oldest window first."""
        return self.app.catalog.ledger.runs(monitor, **more)[::-1]


@pytest.fixture
def shop(tmp_path: Path, baselines: Path) -> Iterator[Shop]:
    with opened({"DRIFTLINE_HOME": str(tmp_path / "home")}) as app:
        made = Shop(app, baselines)
        made.apply()
        yield made
