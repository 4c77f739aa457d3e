"""How much memory capture holds as requests go on: ten million of them, one fifth captured, through spool and store.

    python bench/memory.py [--quick]

One process logs as fast as it can, and waits whenever 8,000 records are on their way, so that nothing is shed.
Its resident memory is looked at after each twentieth of the requests; spooling and uploading go on meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from measure import ROOT, Record, keep
from options import options

REQUEST, RESPONSE = b"34,0.5,yes,12.25,7,0.125,blue,18", b"0.8125"


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def endpoint(requests: int, folder: Path) -> list[Record]:
    """What a process that captures holds, from time to time."""
    from driftline.capture import Capture, Spool

    seen: list[Record] = []
    begin = time.perf_counter()
    capture = Capture("flights", str(folder / "objects"), sampling=0.2, spool=Spool(folder / "spool"), roll_after_s=0.3)
    with capture:
        for number in range(1, requests + 1):
            capture.log(REQUEST, RESPONSE)
            if number % 5_000 == 0:
                while capture.counters.pending > 8_000:
                    time.sleep(0.002)
            if number % (requests // 20) == 0:
                took = round(time.perf_counter() - begin, 1)
                seen.append({"requests": number, "resident_mb": round(resident_mb(), 1), "seconds": took})
        capture.flush(60)
        stats = capture.counters
    assert (stats.seen, stats.lost, stats.pending) == (requests, 0, 0), stats
    return [{**each, "written": stats.written} for each in seen]


def main() -> None:
    if sys.argv[1:2] == ["endpoint"]:
        print(msgspec.json.encode(endpoint(int(sys.argv[2]), Path(sys.argv[3]))).decode())
        return
    given = options(__doc__)
    requests = 500_000 if given.quick else 10_000_000
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "bench/memory.py", "endpoint", str(requests), folder]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout
    records: list[Record] = msgspec.json.decode(out)
    for each in records:
        print(f"{each['requests']:12,} requests {each['resident_mb']:8.1f} MB {each['seconds']:8.1f} s")
    early, late = records[1]["resident_mb"], max(each["resident_mb"] for each in records[2:])
    print(f"{early} MB after a tenth of the requests, at most {late} MB afterwards")
    keep("memory", records, given.quick)


if __name__ == "__main__":
    main()
