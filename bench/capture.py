"""What capture costs the endpoint: the request thread at a steady rate of 5,000 requests a second.

python bench/capture.py [--quick] [--repeats N]
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable

from measure import Record, keep
from options import options

from driftline.capture import Capture

RATE = 5_000

REQUEST = (
    b"-5.16974,3.51732,10.2858,0.536409,7.26806,-8.46826,-1.49811,-3.38039,3.95009,6.56546,"
    b"20.2633,-14.7036,-2.44412,-4.9807,295,482,911,208,cat16,cat44"
)
RESPONSE = b"0.49080954862320386"


def paced(call: Callable[[int], object], rate: int, seconds: float) -> list[float]:
    """Seconds that each call took, at `rate` calls a second in bursts of 10."""
    taken: list[float] = []
    begin = time.perf_counter()
    for number in range(int(rate * seconds)):
        if number % 10 == 0:
            time.sleep(max(0.0, begin + number / rate - time.perf_counter()))
        start = time.perf_counter()
        call(number)
        taken.append(time.perf_counter() - start)
    return sorted(taken)


def request_path(sampling: float, rate: int, seconds: float) -> dict[str, float]:
    """Microseconds per `log`, and what became of the records."""
    with tempfile.TemporaryDirectory() as folder:
        capture = Capture("bench", f"{folder}/objects", sampling=sampling, spool=f"{folder}/spool")
        cpu = time.process_time()
        ids = [f"order-{number}" for number in range(int(rate * seconds))]
        taken = paced(lambda n: capture.log(REQUEST, RESPONSE, inference_id=ids[n]), rate, seconds)
        whole = capture.close()
        cpu = time.process_time() - cpu
        idle = statistics.median(paced(lambda n: None, rate, 0.5))
        counters = capture.counters
    at = {share: taken[int(share * (len(taken) - 1))] * 1e6 for share in (0.5, 0.99, 0.999)}
    assert whole
    assert counters.written + counters.lost == counters.sampled
    return {
        "sampling": sampling,
        "requests": len(taken),
        "us_p50": at[0.5],
        "us_p99": at[0.99],
        "us_p99.9": at[0.999],
        "us_timer": idle * 1e6,
        "us_cpu": cpu / len(taken) * 1e6,
        "dropped": counters.lost,
    }


def main() -> None:
    given = options(__doc__, repeats=3)
    records: list[Record] = []
    for repeat in range(given.repeats):
        for sampling in (1.0, 0.1):
            told = request_path(sampling, RATE, 1.0 if given.quick else 4.0)
            records.append({"task": "capture.log", "contender": f"{sampling:.0%} captured", "repeat": repeat, **told})
            print(f"capture.log, {sampling:.0%} captured: p50 {told['us_p50']:.1f} us, p99 {told['us_p99']:.0f} us")
    keep("capture", records, given.quick)


if __name__ == "__main__":
    main()
