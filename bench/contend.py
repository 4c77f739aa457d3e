"""One contender's work in a process of its own, with the contender's own Python.

    python -P bench/contend.py SCRIPT FUNCTION PATH ...

The script is loaded first, so imports are not timed; then its `prepare(work)`, where it has one (a session that a user
would keep open). What is timed is FUNCTION(work): from the files on the disk to the numbers. The last line printed is
a JSON object. Standard library only: this file runs in every peer's environment.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import runpy
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

NUMERIC = tuple(f"f{i:02d}" for i in range(12)) + tuple(f"i{i:02d}" for i in range(4))
CATEGORICAL = ("c00", "c01", "c02")
IDENTIFIER = "c03"
TIME = "i03"
"""The one of the numeric columns that holds epoch milliseconds."""


@dataclass(frozen=True)
class Work:
    """What to work on: files, and what their columns mean."""

    paths: tuple[str, ...]
    numeric: tuple[str, ...] = NUMERIC
    categorical: tuple[str, ...] = CATEGORICAL
    identifier: str = IDENTIFIER
    time: str = TIME
    threads: int = os.cpu_count() or 1

    @property
    def current(self) -> str:
        return self.paths[0]

    @property
    def reference(self) -> str:
        return self.paths[1]

    @property
    def columns(self) -> list[str]:
        """All but the identifier, which no drift is asked of."""
        return [*self.numeric, *self.categorical]


def peak_mb() -> float:
    """The most memory that this process had. Not `ru_maxrss`: a child inherits that of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3


def main() -> None:
    warnings.filterwarnings("ignore")
    script, function, *paths = sys.argv[1:]
    work = Work(tuple(paths))
    begin = time.perf_counter()
    contender = runpy.run_path(script)
    if "prepare" in contender:
        contender["prepare"](work)
    start = time.perf_counter()
    found = contender[function](work)
    end = time.perf_counter()
    told = {
        "seconds": end - start,
        "before": start - begin,
        "peak_mb": peak_mb(),
        "versions": {name: importlib.metadata.version(name) for name in contender["PACKAGES"]},
        "differs": contender.get("DIFFERS", {}).get(function, ""),
        "found": found,
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
