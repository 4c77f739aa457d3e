"""What it costs to begin: imports, `--help`, the size of a core install.

    python bench/startup.py [--install] [--json]

Each command runs in a process of its own; medians. `--install` also installs the core into a fresh virtual environment
and adds up its files (needs a package index).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAVY = ("numpy", "pyarrow", "duckdb", "scipy", "sqlalchemy", "httpx", "msgspec")
CASES = {
    "python itself": [sys.executable, "-c", "pass"],
    "import driftline.capture": [sys.executable, "-c", "import driftline.capture"],
    "driftline --help": [sys.executable, "-m", "driftline", "--help"],
    "driftline check --help": [sys.executable, "-m", "driftline", "check", "data-quality", "--help"],
}


def timed(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begin) * 1000


def core_size() -> float:
    """Megabytes of a fresh virtual environment with the core, without pip itself."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin/python"
        size = lambda: sum(f.lstat().st_size for f in Path(folder).rglob("*") if f.is_file()) / 1e6  # noqa: E731
        before = size()
        subprocess.run([python, "-m", "pip", "install", "-q", "--no-compile", str(ROOT)], check=True)
        return size() - before


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=15)
    arguments.add_argument("--install", action="store_true")
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    runs: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(given.repeats):
        for name, command in CASES.items():
            runs[name].append(timed(command))
    result: dict[str, object] = {name: round(statistics.median(times), 1) for name, times in runs.items()}
    loaded = f"import sys, driftline.capture; print([m for m in {HEAVY!r} if m in sys.modules])"
    result["heavy modules in capture"] = subprocess.check_output([sys.executable, "-c", loaded], text=True).strip()
    if given.install:
        result["core install, MB"] = round(core_size())
    if given.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:28} {value}{' ms' if isinstance(value, float) else ''}")


if __name__ == "__main__":
    main()
