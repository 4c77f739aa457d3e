"""Labels joined to predictions and all binary metrics: Driftline beside pandas and scikit-learn.

    python bench/join.py [--quick] [--repeats N]

Both read the same files, ids are uuid texts, the labels lie in another order than the predictions. The metrics of both
are compared. Then 50 million predictions and as many labels: does it finish where the join may hold 1 GB?
"""

from __future__ import annotations

import generate
from measure import OURS, Contender, interleaved, keep
from options import options
from peers.run import contender


def main() -> None:
    given = options(__doc__, repeats=3)
    rows = 200_000 if given.quick else 10_000_000
    contenders = [Contender("Driftline", OURS, "join"), contender("pandas", "join")]
    records = interleaved("join", contenders, generate.join(rows), given.repeats)
    ours, theirs = (next(r["found"] for r in records if r["contender"] == c.name) for c in contenders)
    apart = {name: abs(ours[name] - theirs[name]) for name in theirs}
    print("largest difference", max(apart.items(), key=lambda item: item[1]))
    assert max(apart.values()) < 2e-3, apart
    if not given.quick:
        deep = [Contender("Driftline", OURS, "join")]
        records += interleaved("join, 50M", deep, generate.join(50_000_000), 1, timeout=1800)
    keep("join", records, given.quick)


if __name__ == "__main__":
    main()
