"""What befalls an endpoint other than its death: full disks, stores in trouble, floods, forks, clocks that jump.

    python bench/fault_scenes.py [SCENE ...] [--seconds 3] [--quick]

Real processes and a real S3 server. After each scene: is every accepted request a record or a counted loss, and did it
happen at all? The exit status is 1 where not. What came out is kept in bench/results.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fault_clock import WrongClock
from fault_ledger import Ledger, Life, scratch, summary
from fault_store import BUCKET, How, S3Server, Wire, play, s3
from faults import KILLED, ended, settle, started
from measure import keep
from obstore.store import S3Store

from driftline.capture.writer import SPOOL_FAILED
from driftline.objects.places import store_at

_TROUBLES: tuple[How, ...] = ("answer lost", "errors", "down", "silent", "slow")
_HOUR_S = 3600.0
_LARGE = 24 << 20


def disk_full(folder: Path, seconds: float) -> dict[str, object]:
    """The store is away until the disk of the spool is full; then it comes back. One endpoint heeds a watermark."""
    size = int(2 * seconds) << 20
    with _small_disk(folder / "spool", size) as quota, _in_s3(folder, folder / "spool") as (ledger, wire, _):
        wire.turn("down")
        how = {"rate": 2000, "body": 4000, "seconds": 3 * seconds, "spool_bytes": quota, "threads": 2}
        lives = [ledger.life(folder, number, free_bytes=number * size // 6, **how) for number in range(2)]
        running = [started(life) for life in lives]
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()  # it is ready
        time.sleep(2 * seconds)
        wire.turn("well")
        _ended(running, lives)
        settle(ledger, folder)
        return _with_lost(ledger.check("disk full"), {"disk full"})


def store(folder: Path, seconds: float) -> dict[str, object]:
    """The store answers 500, is down, does not answer, is slow, and does as asked while its answers get lost."""
    with _in_s3(folder, folder / "spool") as (ledger, wire, _):
        life = ledger.life(folder, 0, rate=300, body=400, seconds=seconds * (len(_TROUBLES) + 1) + 6)
        running = started(life)
        play(wire, seconds, _TROUBLES)
        _ended([running], [life])
        settle(ledger, folder)
        told = ledger.check()
        ledger.faults += [f"no connection was ever {how!r}" for how in _TROUBLES if how not in wire.met]
        return told


def restart(folder: Path, seconds: float) -> dict[str, object]:
    """The store is killed and started again, twice, while records are on their way to it."""
    with _in_s3(folder, folder / "spool") as (ledger, _, server):
        life = ledger.life(folder, 0, rate=300, body=400, seconds=4 * seconds)
        running = started(life)
        for _round in range(2):
            time.sleep(seconds)
            server.stop(kill=True)
            server.start()
        _ended([running], [life])
        settle(ledger, folder)
        return ledger.check()


def half_open(folder: Path, seconds: float) -> dict[str, object]:
    """The store takes requests, never answers, and nobody cuts the connection: an endpoint still ends in time."""
    with _in_s3(folder, folder / "spool") as (ledger, wire, _):
        wire.turn("silent")
        life = ledger.life(folder, 0, rate=300, body=400, seconds=seconds, close_s=1.0)
        running, began = started(life), time.monotonic()
        _ended([running], [life])
        took = time.monotonic() - began - seconds
        wire.turn("well", cut=False)
        settle(ledger, folder)
        told = ledger.check()
        ledger.faults += [] if "silent" in wire.met else ["no connection was ever silent"]
        ledger.faults += [] if took < life.close_s + 3 else [f"the endpoint took {took:.1f} s to start and to end"]
        return told


def large(folder: Path, seconds: float) -> dict[str, object]:
    """Objects of many parts: endpoints are killed at the first part, at a later one, and at the last steps."""
    with _in_s3(folder, folder / "spool") as (ledger, wire, _):
        met = []
        for number, (what, which) in enumerate(((b"PUT", 1), (b"PUT", 3), (b"POST", 1), (b"POST", 2))):
            how = {"rate": 1000, "body": 60_000, "lanes": 1, "roll_after_s": 60.0, "max_file_bytes": _LARGE}
            life = ledger.life(folder, number, seconds=20 * seconds, **how)
            running = started(life)
            wire.look = _Killer(running, what, which)
            code = ended(running, 20 * seconds + 30)
            met.append(code == -signal.SIGKILL)
            ledger.look()
        wire.look = lambda _: None
        settle(ledger, folder)
        told = ledger.check(*KILLED)
        largest = max(entry.size for entry in store_at(ledger.store).list("captured/"))
        ledger.faults += [] if all(met) else [f"not all endpoints were killed in mid upload: {met}"]
        ledger.faults += [] if largest > _LARGE // 2 else [f"the largest object has {largest} bytes"]
        staged = _staged()
        ledger.faults += [f"{len(staged)} staged objects are left: {staged[:3]}"] if staged else []
        return {**told, "largest": largest}


class _Killer:
    """Kills a process as it sends the n-th request of a kind in an upload of parts, before the store gets it."""

    def __init__(self, process: subprocess.Popen[str], kind: bytes, number: int) -> None:
        self._process, self._kind, self._left = process, kind, number

    def __call__(self, data: bytes) -> None:
        if data.startswith(self._kind + b" ") and b"uploadId=" in data.partition(b"\r\n")[0]:
            self._left -= 1
            if self._left == 0:
                self._process.kill()
                self._process.wait()


def _staged() -> list[str]:
    """What uploads have left where they put objects before they have their names."""
    client = S3Store(BUCKET, prefix="faults", client_options={"allow_http": True})
    return [meta["path"] for batch in client.list(".driftline-staged") for meta in batch]


def flood(folder: Path, seconds: float) -> dict[str, object]:
    """Requests come as fast as threads can send them, ten times more than the queue takes."""
    ledger = Ledger(str(folder / "objects"), folder / "spool")
    life = ledger.life(folder, 0, rate=0, threads=4, queue_size=100, seconds=seconds)
    _ended([started(life)], [life])
    settle(ledger, folder)
    return _with_lost(ledger.check("queue full"), {"queue full"})


def fork(folder: Path, seconds: float) -> dict[str, object]:
    """A process that captures already forks three more, which capture too."""
    ledger = Ledger(str(folder / "objects"), folder / "spool")
    life = ledger.life(folder, 0, forks=3, threads=2, requests=int(200 * seconds), rate=500)
    _ended([started(life)], [life])
    settle(ledger, folder)
    return ledger.check()


def starved(folder: Path, seconds: float) -> dict[str, object]:
    """For a while the process of the endpoint can open no more files."""
    ledger = Ledger(str(folder / "objects"), folder / "spool")
    life = ledger.life(folder, 0, rate=500, starved_s=seconds, seconds=4 * seconds)
    _ended([started(life)], [life])
    settle(ledger, folder)
    return _with_lost(ledger.check(SPOOL_FAILED), {SPOOL_FAILED})


def clock(folder: Path, seconds: float) -> dict[str, object]:
    """The clock of the requests jumps back and forth over hours and days, from one to the next."""
    ledger = Ledger(str(folder / "objects"), folder / "spool")
    jumps = [0.0, -2 * _HOUR_S, _HOUR_S, 0.0, -72 * _HOUR_S, 0.5, -0.5, 24 * _HOUR_S]
    life = ledger.life(folder, 0, rate=1000, jumps=jumps, seconds=seconds)
    _ended([started(life)], [life])
    settle(ledger, folder)
    return ledger.check()


def system_clock(folder: Path, seconds: float) -> dict[str, object]:
    """The clock of the system jumps ahead and back while records are on their way into a bucket; then it is right."""
    jumps = (0, 3, -5, 72, -72, 0)
    clock = WrongClock(folder)
    with _in_s3(folder, folder / "spool") as (ledger, _, _):
        life = ledger.life(folder, 0, rate=500, seconds=seconds * len(jumps) + 1)
        running = started(life, clock.environ)
        for hours in jumps:
            clock.jump(hours * int(_HOUR_S))
            time.sleep(seconds)
        _ended([running], [life])
        settle(ledger, folder)
        told = ledger.check()
        keys = [entry.key for entry in store_at(ledger.store).list("captured/lane-0/")]
        hours_met = {key.rpartition("/")[0][-13:] for key in keys if "/_counters/" not in key}
        ledger.faults += [] if len(hours_met) >= len(set(jumps)) else [f"the clock did not jump: {sorted(hours_met)}"]
        return {**told, "hours": len(hours_met)}


_ALL = (disk_full, store, half_open, restart, large, flood, fork, starved, clock, system_clock)
SCENES = {each.__name__.replace("_", " "): each for each in _ALL}


@contextmanager
def _in_s3(folder: Path, spool: Path) -> Iterator[tuple[Ledger, Wire, S3Server]]:
    """A ledger of endpoints that write into a bucket; they, and whoever looks into it, find it by the environment."""
    with s3(folder / "s3") as (server, wire, environ):
        before = {name: os.environ.get(name) for name in environ}
        os.environ.update(environ)
        try:
            yield Ledger(f"s3://{BUCKET}/faults", spool), wire, server
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def _small_disk(folder: Path, size: int) -> Iterator[int]:
    """A disk of so many bytes at the folder, and no quota; where nobody may mount one, the quota of a spool."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        yield size
        return
    try:
        yield 4 << 30
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _ended(running: list[subprocess.Popen[str]], lives: list[Life]) -> None:
    """Wait for endpoints that end by themselves: not one request may have failed."""
    for process, life in zip(running, lives, strict=True):
        code = ended(process, life.seconds + 60)
        assert code == 0, f"endpoint {life.number} ended with {code}{_signal(code)}"


def _signal(code: int) -> str:
    with suppress(ValueError):
        return f" ({signal.Signals(-code).name})"
    return ""


def _with_lost(told: dict[str, object], reasons: set[str]) -> dict[str, object]:
    """A scene that was to lose something and did not shows nothing."""
    lost = told["lost"]
    assert isinstance(lost, dict)
    faults = told["faults"]
    assert isinstance(faults, list)
    faults += [
        f"nothing was lost for the reason {reason!r}: the scene did not happen" for reason in reasons - lost.keys()
    ]
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="*", metavar="SCENE", help=", ".join(SCENES))
    parser.add_argument("--seconds", type=float, default=3.0, help="of each trouble; default 3")
    parser.add_argument("--quick", action="store_true", help="keep the results with those of other quick runs")
    given = parser.parse_args()
    told = []
    for name in given.scenes or SCENES:
        with scratch() as folder:
            began = time.monotonic()
            told.append({"scene": name, **SCENES[name](Path(folder), given.seconds)})
            told[-1]["seconds"] = round(time.monotonic() - began, 1)
        print(summary(told[-1]), flush=True)
    keep("faults", told, given.quick or bool(given.scenes))
    sys.exit(any(each["faults"] for each in told))


if __name__ == "__main__":
    main()
