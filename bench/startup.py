"""What it costs to begin: imports, `--help`, the size of a core install.

    python bench/startup.py [--quick]

Each command runs in a process of its own. Unless it is quick, the core is also installed into a fresh virtual
environment, and its files are added up (needs a package index).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from measure import Record, keep
from options import options

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
    given = options(__doc__, repeats=15, quick_repeats=3)
    loaded = f"import sys, driftline.capture; print([m for m in {HEAVY!r} if m in sys.modules])"
    heavy = subprocess.check_output([sys.executable, "-c", loaded], text=True).strip()
    assert heavy == "[]", f"driftline.capture imports {heavy}"
    records: list[Record] = []
    for repeat in range(given.repeats):
        for name, command in CASES.items():
            records.append({"task": "startup", "contender": name, "repeat": repeat, "ms": timed(command)})
    for name in CASES:
        print(f"{name:28} {statistics.median(r['ms'] for r in records if r['contender'] == name):8.1f} ms")
    if not given.quick:
        records.append({"task": "install", "contender": "core", "repeat": 0, "mb": core_size()})
        print(f"{'core install':28} {records[-1]['mb']:8.0f} MB")
    keep("startup", records, given.quick)


if __name__ == "__main__":
    main()
