"""Applying a file: what it changes, and that it is all or nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from driftline.catalog.catalog import Catalog
from driftline.catalog.declared import Item
from driftline.errors import NotFound
from driftline.wire import PlanFile, WebhookSpec

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_first_file_creates_everything_that_it_declares(catalog: Catalog, plan: PlanFile) -> None:
    difference = catalog.declared.apply(plan, NOW)
    assert len(difference.created) == 9
    assert not difference.changed
    assert catalog.declared.monitors() == plan.monitors
    assert catalog.declared.alarms() == plan.alarms
    assert catalog.declared.channels() == plan.channels
    assert catalog.declared.baseline("inputs") == "/srv/base/inputs"


def test_the_same_file_again_changes_nothing(applied: Catalog, plan: PlanFile) -> None:
    assert applied.declared.apply(plan, NOW + timedelta(days=1)).nothing
    assert applied.declared.monitor_since("inputs-daily") == NOW


def test_planning_says_the_same_as_applying_and_does_nothing(catalog: Catalog, plan: PlanFile) -> None:
    planned = catalog.declared.plan(plan)
    assert catalog.declared.monitors() == {}
    assert catalog.declared.apply(plan, NOW) == planned


def test_what_is_not_named_any_more_is_removed(applied: Catalog, plan: PlanFile) -> None:
    url = WebhookSpec(url="http://127.0.0.1:10/other")
    alarms = {name: spec for name, spec in plan.alarms.items() if name == "decay"}
    channels = plan.channels | {"team": url}
    difference = applied.declared.apply(msgspec.structs.replace(plan, alarms=alarms, channels=channels), NOW)
    assert difference.removed == (Item("alarms", "anything"),)
    assert difference.changed == (Item("channels", "team"),)
    assert list(applied.declared.alarms()) == ["decay"]
    assert applied.declared.channels()["team"] == url


def test_what_comes_back_is_created_anew(applied: Catalog, plan: PlanFile) -> None:
    applied.declared.apply(PlanFile(), NOW)
    assert applied.declared.monitors() == {}
    later = NOW + timedelta(days=30)
    assert len(applied.declared.apply(plan, later).created) == 9
    assert applied.declared.monitor_since("inputs-daily") == later


def test_a_name_that_is_not_declared_is_not_found(applied: Catalog) -> None:
    with pytest.raises(NotFound, match="there is no monitor 'other'; declared: inputs-daily, quality-daily"):
        applied.declared.monitor("other")
