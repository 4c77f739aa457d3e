"""Faults, one after the other, with real processes; after each: is every accepted request a record or a counted loss?

    python bench/faults.py kill [--rounds 200] [--seed 1] [--format parquet] [--store s3://…]
    python bench/faults.py lines [--seed 1]

`kill`: endpoints that share a spool are killed (SIGKILL) and followed by others, two at a time; half of the kills come
at a random moment, half at a random line of the code that writes, uploads and counts. `lines`: a kill at each of these.
The exit status is 1 where anything is lost, double, torn or left behind that should not be.
"""

from __future__ import annotations

import argparse
import dis
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from types import CodeType

import msgspec
from fault_ledger import Ledger, Life, scratch, summary

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src/driftline"
DELICATE = [
    *(f"capture/{name}.py" for name in ("upload", "folder", "segments", "outbox", "cells", "counters", "tallies")),
    *("capture/writer.py", "capture/client.py", "capture/buffer.py", "objects/directory.py"),
]
KILLED = ("process killed", "spool damaged")
_SETTLED_S = 120.0


def started(life: Life, environ: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """The process of a life, with more in its environment."""
    command = [sys.executable, str(ROOT / "bench/fault_endpoint.py"), msgspec.json.encode(life).decode()]
    more = {**os.environ, **(environ or {})}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=more)


def ended(process: subprocess.Popen[str], within_s: float) -> int:
    """How it ended; it is killed where it does not do so by itself."""
    try:
        said = process.communicate(timeout=within_s)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        said = process.communicate()[1]
    if "Traceback" in said:
        print(said, file=sys.stderr)
    return process.returncode


def settle(ledger: Ledger, folder: Path) -> None:
    """Start an endpoint that captures nothing, and wait until it has put everything into the store."""
    heir = started(ledger.life(folder, len(ledger.lives), requests=0, stays=True))
    until = time.monotonic() + _SETTLED_S
    while time.monotonic() < until and not ledger.settled():
        time.sleep(0.1)
    heir.send_signal(signal.SIGTERM)
    ended(heir, 30)


def lines_of(source: str) -> Iterator[tuple[str, int]]:
    """The lines in the functions of a file of ours."""
    codes = [compile((SOURCES / source).read_text(), source, "exec")]
    found: set[int] = set()
    for code in codes:
        inner = [each for each in code.co_consts if isinstance(each, CodeType)]
        codes += inner
        if code.co_flags & 2:  # of a function: lines of classes and modules run once, at the import
            found.update(line for _, line in dis.findlinestarts(code) if line and line > code.co_firstlineno)
    return ((source, line) for line in sorted(found))


def kills(folder: Path, store: str, plans: list[dict[str, object]], format_: str) -> dict[str, object]:
    """Lives that follow each other, two at a time, each killed as planned."""
    ledger = Ledger(store, folder / "spool")
    numbers, ends = Lock(), {"killed": 0, "ended": 0}

    def one(plan: dict[str, object]) -> None:
        moment = float(str(plan.pop("moment")))
        with numbers:
            life = ledger.life(folder, len(ledger.lives), format=format_, **plan)
        code = ended(started(life), moment)
        with numbers:
            ends["killed" if code == -signal.SIGKILL else "ended"] += 1
            ledger.look()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, plans))
    settle(ledger, folder)
    return {**ends, **ledger.check(*KILLED)}


def plan(chance: random.Random, trap: tuple[str, int, int] | None = None) -> dict[str, object]:
    """How an endpoint lives, and when it dies."""
    return {
        "threads": chance.choice([1, 1, 2]),
        "rate": chance.choice([100, 500, 2000]),
        "body": chance.choice([10, 300, 5000]),
        "lanes": chance.choice([1, 3]),
        "roll_after_s": chance.choice([0.05, 0.1, 0.5]),
        "max_file_bytes": chance.choice([20_000, 200_000, 64 << 20]),
        "seconds": chance.uniform(0.2, 0.8) if trap else 0.0,
        "trap": trap,
        "moment": 6.0 if trap else chance.uniform(0.1, 1.5),
    }


def kill(folder: Path, given: argparse.Namespace) -> dict[str, object]:
    chance = random.Random(given.seed)
    lines = [each for source in DELICATE for each in lines_of(source)]
    plans = []
    for number in range(given.rounds):
        trap = (*chance.choice(lines), chance.choice([1, 1, 2, 5])) if number % 2 else None
        plans.append(plan(chance, trap))
    return kills(folder, given.store or str(folder / "objects"), plans, given.format)


def lines(folder: Path, given: argparse.Namespace) -> dict[str, object]:
    chance = random.Random(given.seed)
    traps = [(*each, chance.choice([1, 1, 2])) for source in DELICATE for each in lines_of(source)]
    chance.shuffle(traps)
    return kills(folder, given.store or str(folder / "objects"), [plan(chance, each) for each in traps], given.format)


FAULTS: dict[str, Callable[[Path, argparse.Namespace], dict[str, object]]] = {"kill": kill, "lines": lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=FAULTS)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--format", choices=["jsonl", "parquet"], default="jsonl")
    parser.add_argument("--store", help="where to; default: a folder")
    given = parser.parse_args()
    with scratch() as folder:
        began = time.monotonic()
        told = FAULTS[given.what](Path(folder), given)
    print(summary({"fault": given.what, "seconds": round(time.monotonic() - began), **told}))
    sys.exit(1 if told["faults"] else 0)


if __name__ == "__main__":
    main()
