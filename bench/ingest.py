"""Captured JSON lines to typed columns, beside a raw read of the same lines.

python bench/ingest.py [--quick] [--repeats N]
"""

from __future__ import annotations

import generate
from measure import LIMITS, OURS, Contender, interleaved, keep
from options import options


def main() -> None:
    given = options(__doc__)
    folder = generate.captured(100_000 if given.quick else 2_000_000)
    contenders = [Contender("raw read", LIMITS, "read_lines"), Contender("Driftline", OURS, "ingest")]
    keep("ingest", interleaved("ingest", contenders, [folder], given.repeats), given.quick)


if __name__ == "__main__":
    main()
