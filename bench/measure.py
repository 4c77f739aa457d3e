"""Contenders run in turn, each in a process of its own; what came out is kept, one JSON object a line."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DATA = ROOT / "bench/data"
RESULTS = ROOT / "bench/results"
OURS, LIMITS = "bench/ours.py", "bench/limits.py"
STEP = 0.02
"""Seconds from one look at the memory to the next."""

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Contender:
    """A function of a script under `contend.py`, with the Python that runs it."""

    name: str
    script: str
    function: str
    python: Path = Path(sys.executable)

    def command(self, paths: Iterable[Path]) -> list[str]:
        own = [self.python, "-P", "bench/contend.py", self.script, self.function]
        return [*map(str, own), *(str(path) for path in paths)]


def interleaved(
    task: str, contenders: Sequence[Contender], paths: Sequence[Path], repeats: int, timeout: float = 900
) -> list[Record]:
    """All contenders once, then all again, every other round backwards; one that fails is not tried again."""
    records: list[Record] = []
    failed: set[str] = set()
    for repeat in range(repeats):
        for contender in contenders if repeat % 2 == 0 else reversed(contenders):
            if contender.name in failed:
                continue
            for path in paths:  # whoever comes first shall not be the one who waits for the disk
                _read(path)
            command = contender.command(paths)
            record = {"task": task, "contender": contender.name, "repeat": repeat, **once(command, timeout)}
            records.append(record)
            if "error" in record:
                failed.add(contender.name)
            told = record.get("error") or f"{record['seconds']:9.3f} s {record['peak_mb']:8.0f} MB"
            print(f"{task:24} {contender.name:34} {told}", flush=True)
    return records


def _read(path: Path) -> None:
    for file in [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]:
        with file.open("rb", buffering=0) as opened:
            while opened.read(1 << 23):
                pass


def once(command: Sequence[str], timeout: float) -> Record:
    """Run it. `wall` is the time from outside, `peak_mb` the most that the process and its children held together."""
    with tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT, start_new_session=True
        )
        memory = _Memory(process.pid)
        killer = threading.Timer(timeout, lambda: os.killpg(process.pid, 9))
        killer.start()
        with memory:
            out = process.communicate()[0]
        killer.cancel()
        wall = time.perf_counter() - start
        errors.seek(0)
        said = errors.read()
    told = {"command": _portable(" ".join(command)), "wall": wall}
    if process.returncode:
        last = [line for line in said.replace("\r", "\n").splitlines() if line.strip()][-1:]
        why = f"no result after {timeout:.0f} s" if wall >= timeout else _portable(" ".join(last))
        return {**told, "error": f"exit code {process.returncode}: {why}"}
    result = json.loads(out.splitlines()[-1])
    return {**told, **result, "peak_mb": max(result["peak_mb"], memory.peak / 1e6)}


class _Memory(threading.Thread):
    """Watches the memory of a process and of all below it."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._pid = pid
        self._over = threading.Event()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not self._over.wait(STEP):
            self.peak = max(self.peak, page * sum(map(_resident, _family(self._pid))))


def _family(pid: int) -> list[int]:
    try:
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return [pid]
    return [pid, *(below for text in lists for child in text.split() for below in _family(int(child)))]


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0


def _portable(text: str) -> str:
    return text.replace(f"{ROOT}/", "").replace(sys.executable, "python").replace(str(Path.home()), "~")


def machine() -> Record:
    """What the numbers were made on."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }


def keep(suite: str, records: Sequence[Record], quick: bool) -> Path:
    """Write the records of a run, with its machine in the first line."""
    folder = RESULTS / "quick" if quick else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    head = {"suite": suite, "at": at, "load": round(os.getloadavg()[0], 1), "command": _asked(), **machine()}
    path = folder / f"{suite}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in (head, *records)))
    return path


def _asked() -> str:
    return _portable(" ".join(["python", *sys.argv]))


def kept(suite: str, quick: bool) -> tuple[Record, list[Record]]:
    """The head and the records of the last run of a suite."""
    path = (RESULTS / "quick" if quick else RESULTS) / f"{suite}.jsonl"
    head, *records = map(json.loads, path.read_text().splitlines())
    return head, records


def values(records: Iterable[Record], task: str, contender: str, what: str = "seconds") -> dict[int, float]:
    """What a contender reached, by the round."""
    own = (r for r in records if r["task"] == task and r["contender"] == contender and "error" not in r)
    return {r["repeat"]: r[what] for r in own}


def median(records: Iterable[Record], task: str, contender: str, what: str = "seconds") -> float:
    """Over the rounds; not a number where the contender failed."""
    return statistics.median(values(records, task, contender, what).values() or [math.nan])


def ratio(records: Sequence[Record], task: str, contender: str, against: str) -> float:
    """The median over the rounds of the two contenders' ratio in the same round."""
    mine, other = values(records, task, contender), values(records, task, against)
    return statistics.median([mine[n] / other[n] for n in mine.keys() & other.keys()] or [math.nan])
