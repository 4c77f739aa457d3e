"""Draws what `report.py` hands it on standard input; runs in an environment of its own, which has matplotlib."""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import matplotlib.ticker

OURS, LIMIT, PEER = "#0b6e4f", "#9aa5b1", "#c9ced6"


def peers(tasks, path):
    """Bars of seconds, one panel per task; `tasks` is {title: [[name, seconds, times Driftline's], ...]}."""
    heights = [len(bars) for bars in tasks.values()]
    figure, panels = plt.subplots(
        len(tasks), 1, figsize=(9, 0.42 * sum(heights) + 1.6), height_ratios=heights, sharex=True
    )
    for panel, (title, bars) in zip(panels, tasks.items(), strict=True):
        bars = sorted(bars, key=lambda bar: -bar[1])
        names = [name for name, _, _ in bars]
        colours = [OURS if n == "Driftline" else LIMIT if "scan" in n else PEER for n in names]
        panel.barh(names, [seconds for _, seconds, _ in bars], color=colours, height=0.72)
        for at, (name, seconds, times) in enumerate(bars):
            said = f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
            more = "" if name == "Driftline" else f"   {times:.2g}×" if times < 10 else f"   {times:.0f}×"
            panel.text(seconds * 1.06, at, said + more, va="center", fontsize=9)
        panel.set_title(title, loc="left", fontsize=11, fontweight="bold")
        panel.set_xscale("log")
        panel.tick_params(axis="y", length=0)
        panel.spines[["top", "right", "left"]].set_visible(False)
    most = max(seconds for bars in tasks.values() for _, seconds, _ in bars)
    panels[-1].set_xlim(right=most * 6)
    panels[-1].set_xlabel("seconds, from the Parquet files to the numbers (logarithmic); × as many as Driftline")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def scaling(axes, path):
    """Seconds over size, one panel per axis; `axes` is {axis: {contender: [[size, seconds], ...]}}."""
    across = min(4, len(axes))
    down = -(-len(axes) // across)
    figure, grid = plt.subplots(down, across, figsize=(2.8 * across, 3.2 * down), sharey=True, squeeze=False)
    panels = grid.flatten()
    for panel in panels[len(axes) :]:
        panel.set_visible(False)
    for panel, (axis, lines) in zip(panels, axes.items(), strict=False):
        for name, points in lines.items():
            colour = OURS if name == "Driftline" else LIMIT
            panel.plot(*zip(*points, strict=True), marker="o", markersize=4, color=colour, label=name)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        panel.set_title(axis, fontsize=11, fontweight="bold")
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    for row in grid:
        row[0].set_ylabel("seconds")
    panels[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    peers(asked["peers"], Path(asked["folder"]) / "benchmarks-peers.png")
    scaling(asked["scaling"], Path(asked["folder"]) / "benchmarks-scaling.png")
