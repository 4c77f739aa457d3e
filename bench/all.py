"""Every benchmark of this folder in turn: `make bench`. Results and their machine stand in docs/benchmarks.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHES = (("startup.py", "--install"), ("capture.py",), ("profile.py",), ("join.py", "--rows", "10000000"))


def main() -> None:
    for name, *options in BENCHES:
        print(f"\n== {name} {' '.join(options)}", flush=True)
        subprocess.run([sys.executable, str(Path(__file__).parent / name), *options], check=True)


if __name__ == "__main__":
    main()
