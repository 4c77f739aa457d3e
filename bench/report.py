"""The last run of every suite as tables and plots, between the markers of the pages in docs that hold some.

python bench/report.py [--quick]     quick: into bench/results/quick
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from measure import RESULTS, ROOT, Record, kept, median, ratio, values
from middleware import median_ratio
from options import options
from peers.run import SCAN, TASKS, environment
from profiling import SCANS

OURS = "Driftline"
LOCAL, SPARK = "local, 2 threads", "Spark, 2 workers of 1 core"
SUITES = ("startup", "capture", "accuracy", "profiling", "peers", "join", "ingest", "scaling", "spark")
PAGES = {"benchmarks": SUITES, "capture": ("middleware",), "gateway": ("gateway",)}
"""The pages of the documentation that hold tables, and the suites that these are made of."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 100 else f"{value:,.0f} s"


def times(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


class Report:
    """The records of all suites, and what is said of them."""

    def __init__(self, quick: bool, suites: Iterable[str] = SUITES) -> None:
        self.quick = quick  # the goals are for the full sizes
        self.heads: dict[str, Record] = {}
        self.records: dict[str, list[Record]] = {}
        for suite in suites:
            self.heads[suite], self.records[suite] = kept(suite, quick)

    def machine(self) -> str:
        """Machine, versions, commands."""
        head = self.heads["profiling"]
        versions: dict[str, str] = {}
        for records in self.records.values():
            for record in records:
                if record.get("contender") == OURS:
                    versions |= record.get("versions", {})
        said = ", ".join(f"{name} {version}" for name, version in versions.items())
        rows = [[f"`{h['command']}`", h["at"], f"{h['load']}"] for h in self.heads.values()]
        return (
            f"{head['cores']} cores of {head['processor']}, {head['memory_gb']} GB, {head['system']}, "
            f"Python {head['python']}; {said}.\n\n"
            + table(["command", "ended", "load of the machine at the end"], rows)
        )

    def goals(self) -> str:
        """What was set out for, and what came out."""
        tasks = list(dict.fromkeys(r["task"] for r in self.records["profiling"]))
        large, wide, few, many = tasks
        profiling, peers = self.records["profiling"], self.records["peers"]
        without = "Driftline without the kernel"
        rows = [
            (f"profile {large}, against the fastest scan", self._scan(large), "1.8", "1.25", times, True),
            ("the same without the compiled kernel", self._scan(large, without), "6", "4", times, True),
            (f"profile {wide}, against the fastest scan", self._scan(wide), "2.0", "1.4", times, True),
        ]
        for task in (few, many):
            peak = median(profiling, task, OURS, "peak_mb")
            rows.append((f"peak {task}, MB", peak, "400", "300", "{:.0f}".format, True))
        apart = max(r["apart"] for r in self.records["accuracy"])
        rows.append(("KS from states against exact, most apart", apart, "0.001", "0.0001", "{:.5f}".format, True))
        for peer, task, reach in (
            ("TFDV", "profile", "10"), ("TFDV", "drift", "10"), ("NannyML", "drift", "20"),
            ("Great Expectations", "profile", "25"), ("Evidently", "drift", "100"),
        ):  # fmt: skip
            if any(r["contender"] == peer and r["task"] == task and "error" not in r for r in peers):
                rows.append(
                    (f"times faster than {peer}, {task}", ratio(peers, task, peer, OURS), reach, "more", times, False)
                )
        join = self.records["join"]
        faster = ratio(join, "join", "pandas + scikit-learn", OURS)
        rows.append(("join and metrics, times faster than pandas + scikit-learn", faster, "6", "10", times, False))
        rows.append(
            ("the same, peak in GB", median(join, "join", OURS, "peak_mb") / 1e3, "2", "", "{:.2f}".format, True)
        )
        ingest = ratio(self.records["ingest"], "ingest", OURS, "raw read")
        rows.append(("capture ingest, against a raw read", ingest, "5", "2.5", times, True))
        cloud = ratio(self.records["spark"], self.records["spark"][0]["task"], SPARK, LOCAL)
        rows.append(("Spark standalone (2 workers) against local at equal cores, warm", cloud, "2", "1.3", times, True))
        cells = [
            [what, form(value), reach, aim, self._met(value, reach, aim, less)]
            for what, value, reach, aim, form, less in rows
        ]
        return table(["what", "measured", "reach", "aim", ""], cells)

    def _met(self, value: float, reach: str, aim: str, less: bool) -> str:
        held = lambda bound: value <= float(bound) if less else value >= float(bound)  # noqa: E731
        if self.quick:
            return "(goals are for the full size)"
        if aim not in ("", "more") and held(aim):
            return "aim reached"
        return "reached" if held(reach) else "**not reached**"

    def _scan(self, task: str, contender: str = OURS) -> float:
        return ratio(self.records["profiling"], task, contender, self._fastest(task))

    def _fastest(self, task: str) -> str:
        return min(SCANS, key=lambda scan: median(self.records["profiling"], task, scan))

    def profiling(self) -> str:
        """Every contender of every size."""
        records, rows = self.records["profiling"], []
        for task in dict.fromkeys(r["task"] for r in records):
            for name in _contenders(records, task):
                against = "" if task.startswith("memory") else times(self._scan(task, name))
                peak = f"{median(records, task, name, 'peak_mb'):,.0f} MB"
                rows.append([task, name, seconds(median(records, task, name)), against, peak])
        return table(["data", "what", "median", "× the fastest scan", "peak memory"], rows)

    def peers(self) -> str:
        """A table for each task."""
        records, parts = self.records["peers"], []
        for task in TASKS:
            rows = []
            names = sorted(_contenders(records, task), key=lambda name: median(records, task, name))
            for name in names:
                last = next(r for r in reversed(records) if r["contender"] == name and r["task"] == task)
                version = next(iter(last["versions"].values()))
                rows.append([
                    name, version, seconds(median(records, task, name)), seconds(median(records, task, name, "wall")),
                    times(ratio(records, task, name, OURS)), f"{median(records, task, name, 'peak_mb'):,.0f} MB",
                    last["differs"],
                ])  # fmt: skip
            failed = [r for r in records if r["task"] == task and "error" in r]
            rows += [[r["contender"], "", "failed", "", "", "", r["error"].replace("|", "/")] for r in failed]
            head = ["who", "version", "median", "whole process", "× Driftline", "peak memory", "what it does"]
            parts.append(f"**{_title(task, records)}**\n\n{table(head, rows)}")
        return "\n\n".join(["![Seconds of Driftline and its peers](benchmarks-peers.png)", *parts])

    def join(self) -> str:
        records = self.records["join"]
        names = _contenders(records, "join")
        found = {name: next(r["found"] for r in records if r["contender"] == name) for name in names}
        apart = {m: abs(found[names[0]][m] - found[names[1]][m]) for m in found[names[0]]}
        most = sorted(apart.items(), key=lambda item: -item[1])[:2]
        said = " and ".join(f"{name} ({value:.0e})" for name, value in most)
        rows = [
            [n, seconds(median(records, "join", n)), f"{median(records, 'join', n, 'peak_mb') / 1e3:.2f} GB"]
            for n in names
        ]
        rows += [
            [f"{r['contender']}, 50M labels to 50M predictions", seconds(r["seconds"]), f"{r['peak_mb'] / 1e3:.2f} GB"]
            for r in records
            if r["task"] == "join, 50M"
        ]
        return table(["who", "median", "peak memory"], rows) + f"\n\nThe metrics that are farthest apart: {said}."

    def ingest(self) -> str:
        records = self.records["ingest"]
        names = _contenders(records, "ingest")
        rows = [
            [n, seconds(median(records, "ingest", n)), times(ratio(records, "ingest", n, "raw read")),
             f"{median(records, 'ingest', n, 'peak_mb'):,.0f} MB"] for n in names
        ]  # fmt: skip
        lines = next(r["found"]["lines"] for r in records if r["contender"] == "raw read")
        return f"{lines:,} lines.\n\n" + table(["what", "median", "× the raw read", "peak memory"], rows)

    def accuracy(self) -> str:
        rows = [
            [r["contender"], f"{r['rows']:,}", f"{r['exact']:.6f}", f"{r['ks']:.6f}", f"{r['apart']:.6f}"]
            for r in self.records["accuracy"]
        ]
        return table(["column", "rows, twice", "exact KS", "KS of the states", "apart"], rows)

    def scaling(self) -> str:
        rows = []
        for axis, lines in self.axes().items():
            points, scan = lines[OURS], dict(lines["scan"])
            for size, taken in points:
                rows.append(
                    [axis, f"{size:,}", seconds(taken), seconds(scan[size]), f"{self._peak(axis, size):,.0f} MB"]
                )
        image = "![Seconds along rows, columns, files, categories and row groups](benchmarks-scaling.png)"
        return f"{image}\n\n{table(['along', 'size', OURS, 'scan alone', 'peak memory'], rows)}"

    def _peak(self, axis: str, size: int) -> float:
        return median(self.records["scaling"], f"{axis} {size}", OURS, "peak_mb")

    def axes(self) -> dict[str, dict[str, list[tuple[int, float]]]]:
        """Points by axis and contender."""
        records = self.records["scaling"]
        found: dict[str, dict[str, list[tuple[int, float]]]] = {}
        for axis, size in dict.fromkeys((r["axis"], r["at"]) for r in records):
            for name in (OURS, "scan"):
                line = found.setdefault(axis, {}).setdefault(name, [])
                line.append((size, median(records, f"{axis} {size}", name)))
        return found

    def spark(self) -> str:
        """Each task of both engines."""
        records, rows = self.records["spark"], []
        for task in dict.fromkeys(r["task"] for r in records):
            rows += [
                [task, name, seconds(median(records, task, name)), times(ratio(records, task, name, LOCAL))]
                for name in _contenders(records, task)
            ]
        return table(["data", "who", "median", "× local"], rows)

    def endpoint(self) -> str:
        """What an endpoint and a terminal wait for."""
        started = self.records["startup"]
        names = _contenders(started, "startup")
        rows = [[f"`{name}`", f"{median(started, 'startup', name, 'ms'):.0f} ms"] for name in names]
        installed = (r["mb"] for r in started if r["task"] == "install")
        rows += [["core install with all dependencies", f"{mb:.0f} MB"] for mb in installed]
        for name in _contenders(self.records["capture"], "capture.log"):
            own = [r for r in self.records["capture"] if r["contender"] == name]
            middle, slow = (statistics.median(r[key] for r in own) for key in ("us_p50", "us_p99"))
            rows.append([f"`capture.log`, 5,000 requests/s, {name}", f"p50 {middle:.1f} µs, p99 {slow:.0f} µs"])
        return table(["what", "median"], rows)

    def taps(self) -> str:
        """What each tap adds on the request thread, then what a FastAPI service becomes."""
        records, rows = self.records["middleware"], []
        alone = [r for r in records if "us_p50" in r]
        for task, name in dict.fromkeys((r["task"], r["contender"]) for r in alone):
            p50, p90, mean = (median(alone, task, name, what) for what in ("us_p50", "us_p90", "us_mean"))
            rows.append([task, name, f"{p50:.1f} µs", f"{p90:.1f} µs", f"{mean:.1f} µs"])
        asked = [r for r in records if "ms_p99" in r]
        services = []
        for task, name in dict.fromkeys((r["task"], r["contender"]) for r in asked):
            own = [r for r in asked if (r["task"], r["contender"]) == (task, name)]
            p50, p99, per_s = (median_ratio(own, what) for what in ("ms_p50", "ms_p99", "per_s"))
            without = [statistics.median(r[f"{what}_without"] for r in own) for what in ("ms_p50", "ms_p99", "per_s")]
            told = [f"{middle:.3f} ({low:.2f} to {high:.2f})" for middle, low, high in (p50, p99)]
            at = f"{without[0]:.2f} ms", f"{without[1]:.2f} ms", f"{without[2]:,.0f}"
            services.append([task, name, *at, *told, f"{per_s[0]:.2f}"])
        head = ["FastAPI under uvicorn, by wrk", "", "p50 without", "p99 without", "requests/s without"]
        head += ["p50, ×", "p99, ×", "requests/s, ×"]
        return (
            f"{self._where('middleware')}\n\n"
            + table(["adds to a request, at 5,000/s", "", "p50", "p90", "mean"], rows)
            + f"\n\n{table(head, services)}"
        )

    def _where(self, suite: str) -> str:
        head = self.heads[suite]
        return f"{head['cores']} cores of {head['processor']}, Python {head['python']}, {head['at'][:10]}."

    def gateway(self) -> str:
        """What it adds, and what it holds."""
        records = self.records["gateway"]
        through, direct = (values(records, "added", name, "ms_p50") for name in ("gateway", "direct"))
        apart = sorted(through[n] - direct[n] for n in through)
        rate = next(r["rate"] for r in records if r["task"] == "added")
        held = next(r for r in records if r["task"] == "holds")
        kept_ = next(r for r in records if r["task"] == "captured")
        rows = [
            [
                f"added to the median at {rate:g} requests/s",
                f"{statistics.median(apart):.2f} ms; of {len(apart)} rounds {apart[0]:.2f} to {apart[-1]:.2f}",
            ],
            [
                f"{held['rate']:,g} requests/s on one core for {held['seconds']:g} s",
                f"{held['answered']:,} of {held['asked']:,} answered in {held['took']:.1f} s, "
                f"median {held['ms_p50']:.2f} ms, 99 % within {held['ms_p99']:.0f} ms; "
                f"the core busy for {held['busy']:.0%}",
            ],
            [
                "captured in both",
                f"{kept_['seen']:,} seen, {kept_['sampled']:,} chosen, "
                f"{kept_['written']:,} stored, {kept_['lost']:,} lost",
            ],
        ]
        return f"{self._where('gateway')}\n\n{table(['', 'measured'], rows)}"

    def plot(self, folder: Path) -> None:
        records = self.records["peers"]
        bars = {
            _title(task, records): [
                (name, median(records, task, name), ratio(records, task, name, OURS))
                for name in _contenders(records, task)
            ]
            for task in TASKS
        }
        asked = {"folder": str(folder), "peers": bars, "scaling": self.axes()}
        command = [ROOT / environment("plot"), "bench/plot.py"]
        subprocess.run(command, check=True, cwd=ROOT, input=json.dumps(asked), text=True)


def _title(task: str, records: Sequence[Record]) -> str:
    record = next(r for r in records if r["task"] == task and r["contender"] == SCAN.name)
    rows = record["rows"]
    size = f"{rows // 10**6}M" if rows % 10**6 == 0 else f"{rows:,}"
    return f"Profile of {size} x 20" if task == "profile" else f"Drift of {size} x 20 against {size} x 20"


def _contenders(records: Iterable[Record], task: str) -> list[str]:
    return list(dict.fromkeys(r["contender"] for r in records if r["task"] == task and "error" not in r))


def main() -> None:
    given = options(__doc__)
    folder = RESULTS / "quick" if given.quick else ROOT / "docs"
    for page, suites in PAGES.items():
        report = Report(given.quick, suites)
        filled(report, page, folder)
        if page == "benchmarks":
            report.plot(folder)
            print(report.goals())
    print(f"\nwritten: {', '.join(PAGES)} in {folder.relative_to(ROOT)}, and two plots beside them")


def filled(report: Report, page: str, folder: Path) -> None:
    text = (ROOT / f"docs/{page}.md").read_text()
    for name in re.findall(r"<!-- (\w+) -->", text):
        said = getattr(report, name)()
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text = marked.sub(lambda match, said=said: f"{match[1]}\n{said}\n{match[2]}", text)
    (folder / f"{page}.md").write_text(text)


if __name__ == "__main__":
    main()
