"""An endpoint to be hurt: it captures requests and notes in shared memory how many, where a kill leaves the number.

python bench/fault_endpoint.py LIFE     (a `Life` of fault_ledger.py as JSON)

Each thread of each process has a slot: requests begun, requests whose capture has returned, the longest capture.
"""

from __future__ import annotations

import mmap
import os
import resource
import signal
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
from fault_ledger import COUNTS, Life, bodies, request_id

from driftline.capture import Capture, Spool


def trap(file: str, line: int, hit: int) -> None:
    """Kill this process as it comes to a line of ours for the `hit`th time."""
    left = hit

    def at_line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if event == "line" and frame.f_lineno == line:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return at_line

    def at_call(frame: FrameType, _: str, __: Any) -> Any:
        return at_line if frame.f_code.co_filename.endswith(file) else None

    threading.settrace(at_call)
    sys.settrace(at_call)


class Load:
    """Logs requests, one after the other in each thread, until it is told to stop."""

    def __init__(self, capture: Capture, life: Life, notes: mmap.mmap) -> None:
        self.capture, self.life, self.notes = capture, life, notes
        self.begin = time.monotonic()

    def run(self, process: int) -> None:
        first = process * self.life.threads
        threads = [threading.Thread(target=self._log, args=(first + number,)) for number in range(self.life.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _log(self, slot: int) -> None:
        life, log = self.life, self.capture.log
        counts = memoryview(self.notes)[slot * COUNTS.size : (slot + 1) * COUNTS.size].cast("Q")
        for number in range(life.requests):
            if life.rate:
                time.sleep(max(0.0, self.begin + number / life.rate - time.monotonic()))
            if life.seconds and time.monotonic() - self.begin > life.seconds:
                return
            named = request_id(life.number, slot, number)
            request, response = bodies(named, life.body)
            lane = number % life.lanes
            at = None
            if life.jumps:
                at = datetime.now(UTC) + timedelta(seconds=life.jumps[number % len(life.jumps)])  # noqa: TID251
            counts[0] = number + 1
            begin_ns = time.perf_counter_ns()
            log(request, response, inference_id=named, endpoint=f"lane-{lane}" if lane else None, at=at)
            counts[2] = max(counts[2], time.perf_counter_ns() - begin_ns)
            counts[1] = number + 1


def starve(seconds: float) -> None:
    """After so long, and for so long, leave this process no file descriptor."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    time.sleep(seconds)
    until, held = time.monotonic() + seconds, list[int]()
    while time.monotonic() < until:
        with suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        time.sleep(0.001)
    for each in held:
        os.close(each)


def main() -> None:
    life = msgspec.json.decode(sys.argv[1], type=Life)
    with Path(life.notes).open("r+b") as file:
        notes = mmap.mmap(file.fileno(), 0)
    if life.trap is not None:
        trap(*life.trap)
    capture = Capture(
        "lane-0",
        life.store,
        sampling=life.sampling,
        spool=Spool(life.spool, life.spool_bytes, life.free_bytes, 0.0),
        roll_after_s=life.roll_after_s,
        max_file_bytes=life.max_file_bytes,
        queue_size=life.queue_size,
        format=life.format,
    )
    if life.starved_s:
        threading.Thread(target=starve, args=(life.starved_s,), daemon=True).start()
    print("ready", flush=True)
    load = Load(capture, life, notes)
    children = []
    for number in range(1, life.forks + 1):
        if number == 1:
            load.run(0)  # the parent captures before it forks: its threads run, and its queue is not empty
        child = os.fork()
        if child == 0:
            Load(capture, life, notes).run(number)
            capture.close(life.close_s)
            os._exit(0)
        children.append(child)
    if not life.forks:
        load.run(0)
    for child in children:
        os.waitpid(child, 0)
    if life.stays:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        while True:
            time.sleep(1)
    capture.close(life.close_s)


if __name__ == "__main__":
    main()
