"""The description of the YAML file is complete and its examples can be read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from driftline import wire
from driftline.planfile import parse_plan

DOCUMENT = Path(__file__).parents[2] / "docs" / "monitors-as-code.md"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_can_be_read(example: str) -> None:
    assert parse_plan(example, "example", Path("/srv")).version == 1


@pytest.mark.parametrize(
    "shape",
    [wire.EndpointSpec, wire.MonitorSpec, wire.ScheduleSpec, wire.WebhookSpec, wire.CommandSpec, wire.AlarmSpec],
)
def test_every_key_is_described_with_its_default(shape: Any) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE))
    for key in msgspec.structs.fields(shape):
        assert key.name in rows
        assert (rows[key.name] == "required") == key.required
        if isinstance(key.default, str | int | float) and not isinstance(key.default, bool):
            assert rows[key.name] == f"`{key.default:g}`" if isinstance(key.default, float) else f"`{key.default}`"


def test_every_section_is_described() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for field in msgspec.structs.fields(wire.PlanFile):
        assert f"## `{field.name}`" in text
