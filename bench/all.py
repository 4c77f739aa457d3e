"""Every benchmark of this folder in turn: `make bench`; with `--quick` on small data, in under five minutes.

Raw records go to bench/results, tables and plots into docs/benchmarks.md (of a quick run all to bench/results/quick).
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from options import options

SUITES = (
    "startup.py", "capture.py", "middleware.py", "memory.py", "accuracy.py", "profiling.py", "peers/run.py", "join.py",
    "ingest.py", "columns.py", "scaling.py", "spark.py", "report.py",
)  # fmt: skip


def main() -> None:
    given = options(__doc__)
    begin = time.perf_counter()
    for name in SUITES:
        print(f"\n== {name}, after {(time.perf_counter() - begin) / 60:.1f} minutes", flush=True)
        command = [sys.executable, str(Path(__file__).parent / name), *(["--quick"] if given.quick else [])]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
