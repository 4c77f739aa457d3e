"""The chart of the story: quality falls and is mended, while the inputs stay where they were.

Colours are of Okabe and Ito's palette, which people of all kinds of colour vision can tell apart; shapes and labels say
the same again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from driftline.constraints import Verdict
from driftline.demo.story import Day, Story

BLUE: Final = "#0072B2"
VERMILION: Final = "#D55E00"
GREEN: Final = "#009E73"
GREY: Final = "#6B7280"
INK: Final = "#1F2937"
WIDTH: Final = 800
BOUND: Final = 0.1
"""Model Monitor's bound of every distance."""
SERVED: Final = "served, mean of 7 days"
STAYED: Final = "had the first model stayed"
_SHADES: Final = {
    "hour": "#0072B2",
    "arrival": "#56B4E9",
    "distance": "#009E73",
    "carrier": "#E69F00",
    "origin": "#CC79A7",
    "destination": "#6B7280",
}
_VERDICTS: Final = {
    Verdict.HOLDS: "holds",
    Verdict.UNKNOWN: "not enough evidence",
    Verdict.VIOLATED: "violated",
}


def draw(story: Story, folder: Path) -> Path:
    """Draw the story to `story.svg` and `story.png` in the folder."""
    import vl_convert

    spec = chart(story)
    (folder / "story.svg").write_text(vl_convert.vegalite_to_svg(spec), encoding="utf-8")
    target = folder / "story.png"
    target.write_bytes(vl_convert.vegalite_to_png(spec, scale=1.5))
    return target


def chart(story: Story) -> dict[str, Any]:
    """The chart as a Vega-Lite specification."""
    import altair as alt

    first, last = story.days[0].day, story.days[-1].day
    scale = alt.Scale(domain=[_noon(first, -1), _noon(last, 1)])
    x = alt.X("day:T", title=None, scale=scale, axis=alt.Axis(format="%-d %b", tickCount="week", labelFlush=False))
    quality = _quality(story, x).properties(
        width=WIDTH, height=300, title=alt.TitleParams("Model quality: AUC of each day", anchor="start")
    )
    inputs = _inputs(story.days, x).properties(
        width=WIDTH,
        height=130,
        title=alt.TitleParams("Inputs: distance of each column to January and February", anchor="start"),
    )
    whole = alt.vconcat(quality, inputs, spacing=22).resolve_scale(color="independent", shape="independent")
    spec: dict[str, Any] = (
        whole.properties(title=_title(story), background="white", padding=18)
        .configure(font="Helvetica Neue, Helvetica, Arial, DejaVu Sans, sans-serif")
        .configure_view(stroke=None)
        .configure_axis(
            grid=True, gridColor="#EEF0F3", domainColor="#C5CAD3", tickColor="#C5CAD3", labelColor=INK, titleColor=INK,
            labelFontSize=12, titleFontSize=12, titleFontWeight="normal",
        )
        .configure_title(color=INK, fontSize=14, subtitleColor=GREY, subtitleFontSize=13)
        .configure_legend(labelFontSize=12, labelColor=INK, title=None, symbolSize=90)
        .to_dict()
    )  # fmt: skip
    return spec


def _title(story: Story) -> Any:
    import altair as alt

    raised = f"alarm {story.firing[0][0]:%-d %B}" if story.firing else "no alarm was raised"
    mended = f", new model {story.retrained[0]:%-d %B}" if story.retrained else ""
    until = story.firing[0][1] if story.firing else None
    cleared = f", cleared {until:%-d %B}" if until else ""
    return alt.TitleParams(
        "Only ground truth shows that the model has gone stale",
        subtitle=[f"Flights from New York, 2013, against a model of January and February: {raised}{mended}{cleared}"],
        anchor="start",
        fontSize=19,
        offset=14,
    )


def _quality(story: Story, x: Any) -> Any:
    import altair as alt

    rows = [_row(day) for day in story.days if day.auc is not None]
    y = alt.Y("auc:Q", title="AUC", scale=alt.Scale(domain=[0.4, 0.9]))
    base = alt.Chart(alt.Data(values=rows))
    names = list(_VERDICTS.values())
    interval = base.mark_rule(strokeWidth=2, opacity=0.35, color=GREY, clip=True).encode(
        x=x, y=alt.Y("low:Q", title="AUC", scale=alt.Scale(domain=[0.4, 0.9])), y2="high:Q"
    )
    points = base.mark_point(filled=True, size=55, opacity=1).encode(
        x=x,
        y=y,
        color=alt.Color(
            "verdict:N",
            scale=alt.Scale(domain=names, range=[BLUE, "#9CA3AF", VERMILION]),
            legend=alt.Legend(orient="bottom", direction="horizontal"),
        ),
        shape=alt.Shape(
            "verdict:N",
            scale=alt.Scale(domain=names, range=["circle", "diamond", "triangle-down"]),
            legend=alt.Legend(orient="bottom", direction="horizontal"),
        ),
    )
    layers = [*_alarms(story, x), interval, *_levels(story), *_models(story, x), points, *_swap(story, x)]
    return alt.layer(*layers).resolve_scale(color="independent", shape="independent", strokeDash="independent")


def _alarms(story: Story, x: Any) -> list[Any]:
    import altair as alt

    last = story.days[-1].day
    rows = [{"day": _noon(since), "until": _noon(until or last), "text": "alarm"} for since, until in story.firing]
    if not rows:
        return []
    data = alt.Data(values=rows)
    return [
        alt.Chart(data).mark_rect(color=VERMILION, opacity=0.14).encode(x=x, x2="until:T"),
        alt.Chart(data)
        .mark_text(align="right", dx=-5, color=VERMILION, fontSize=12, fontWeight="bold", y=10)
        .encode(x=x, text="text:N"),
    ]


def _levels(story: Story) -> list[Any]:
    import altair as alt

    data = alt.Data(values=[{"level": story.bound, "text": f"baseline {story.bound:.3f}"}])
    line = alt.Chart(data).mark_rule(color=INK, strokeWidth=1.2, strokeDash=[6, 4]).encode(y="level:Q")
    text = (
        alt.Chart(data).mark_text(align="left", x=WIDTH + 6, color=INK, fontSize=12).encode(y="level:Q", text="text:N")
    )
    return [line, text]


def _models(story: Story, x: Any) -> list[Any]:
    """Weekly means: of the model that served, and of the first model, had it stayed."""
    import altair as alt

    served = _weekly({day.day: day.auc.value for day in story.days if day.auc is not None}, story)
    rows = [row | {"line": SERVED} for row in served]
    rows += [row | {"line": STAYED} for row in _weekly(story.unmended, story)]
    return [
        alt.Chart(alt.Data(values=rows))
        .mark_line(strokeWidth=2.4, clip=True)
        .encode(
            x=x,
            y="mean:Q",
            detail="part:N",
            color=alt.Color(
                "line:N",
                scale=alt.Scale(domain=[SERVED, STAYED], range=[BLUE, "#E69F00"]),
                legend=alt.Legend(orient="bottom", direction="horizontal", symbolType="stroke"),
            ),
            strokeDash=alt.StrokeDash(
                "line:N",
                scale=alt.Scale(domain=[SERVED, STAYED], range=[[1, 0], [5, 3]]),
                legend=None,
            ),
        )
    ]


def _swap(story: Story, x: Any) -> list[Any]:
    import altair as alt

    if not story.retrained:
        return []
    data = alt.Data(values=[{"day": _noon(day), "text": "new model"} for day in story.retrained])
    return [
        alt.Chart(data).mark_rule(color=GREEN, strokeWidth=2).encode(x=x),
        alt.Chart(data)
        .mark_text(align="left", dx=5, color=GREEN, fontSize=12, fontWeight="bold", y=288)
        .encode(x=x, text="text:N"),
    ]


def _inputs(days: Iterable[Day], x: Any) -> Any:
    import altair as alt

    rows = [
        {"day": _noon(day.day), "distance": value, "column": column}
        for day in days
        for column, value in day.distances.items()
    ]
    lines = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(strokeWidth=1.4)
        .encode(
            x=x,
            y=alt.Y("distance:Q", title="distance", scale=alt.Scale(domain=[0, 0.14])),
            color=alt.Color(
                "column:N",
                scale=alt.Scale(domain=list(_SHADES), range=list(_SHADES.values())),
                legend=alt.Legend(orient="bottom", direction="horizontal", symbolType="stroke"),
            ),
        )
    )
    data = alt.Data(values=[{"level": BOUND, "text": f"bound {BOUND}"}])
    line = alt.Chart(data).mark_rule(color=INK, strokeWidth=1.2, strokeDash=[6, 4]).encode(y="level:Q")
    text = (
        alt.Chart(data).mark_text(align="left", x=WIDTH + 6, color=INK, fontSize=12).encode(y="level:Q", text="text:N")
    )
    return alt.layer(lines, line, text)


def _row(day: Day) -> dict[str, Any]:
    if day.auc is None:
        return {}
    return {
        "day": _noon(day.day),
        "auc": day.auc.value,
        "low": day.auc.low,
        "high": day.auc.high,
        "verdict": _VERDICTS.get(day.quality or Verdict.UNKNOWN, "not enough evidence"),
    }


def _weekly(values: Mapping[date, float], story: Story) -> list[dict[str, Any]]:
    """Means of the seven days around each day, never across a change of the model."""
    found = []
    for day in values:
        part = sum(day >= swap for swap in story.retrained)
        near = [
            value
            for other, value in values.items()
            if abs((other - day).days) <= 3 and sum(other >= swap for swap in story.retrained) == part
        ]
        found.append({"day": _noon(day), "mean": sum(near) / len(near), "part": part})
    return found


def _noon(day: date, later: int = 0) -> str:
    return f"{day + timedelta(days=later)}T12:00:00"
