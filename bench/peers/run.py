"""Driftline beside its peers: the profile of 1M x 20, and its drift against another 1M x 20.

    python bench/peers/run.py [--quick] [--repeats N] [--only PEER ...]

Every peer has an environment of its own under bench/venvs, made from its pinned requirements (`PEER.txt`). One that
cannot be installed or fails is named in the results with the reason.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # and not this folder, whose scripts are named like the peers

import generate  # noqa: E402
from measure import LIMITS, OURS, ROOT, Contender, Record, interleaved, keep  # noqa: E402

VENVS = ROOT / "bench/venvs"
PEERS = {
    "evidently": "Evidently",
    "nannyml": "NannyML",
    "whylogs": "whylogs",
    "tfdv": "TFDV",
    "alibi_detect": "alibi-detect",
    "popmon": "popmon",
    "great_expectations": "Great Expectations",
    "ydata": "ydata-profiling",
    "spark": "PySpark aggregates",
    "pandas": "pandas + scikit-learn",
}
SCAN = Contender("pyarrow's scan alone", LIMITS, "read_tasks")
TASKS = {
    "profile": ("evidently", "whylogs", "tfdv", "great_expectations", "ydata", "spark", "pandas"),
    "drift": ("evidently", "nannyml", "whylogs", "tfdv", "alibi_detect", "popmon", "pandas"),
}
"""Who does what: not every peer has both."""


class NotInstalledError(Exception):
    """An environment cannot be made; the message says why."""


def environment(name: str) -> Path:
    """The Python of the environment with the pinned requirements of this name; made where it is not there."""
    requirements = ROOT / f"bench/peers/{name}.txt"
    folder, python = VENVS / name, VENVS / name / "bin/python"
    made = folder / "requirements.txt"
    if made.exists() and made.read_text() == requirements.read_text():
        return python.relative_to(ROOT)
    print(f"installing bench/venvs/{name}", flush=True)
    venv.create(folder, clear=True)
    command = [_uv(), "pip", "install", "--quiet", "--python", python, "--requirements", requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalledError(" ".join(done.stderr.split())[-600:].replace(f"{ROOT}/", ""))
    made.write_text(requirements.read_text())
    return python.relative_to(ROOT)


def _uv() -> Path:
    """uv, in an environment of its own: it installs ten environments in the time that pip needs for one."""
    uv = VENVS / "uv/bin/uv"
    if not uv.exists():
        venv.create(VENVS / "uv", clear=True, with_pip=True)
        subprocess.run([VENVS / "uv/bin/pip", "install", "--quiet", "uv"], check=True)
    return uv


def contender(peer: str, function: str) -> Contender:
    return Contender(PEERS[peer], f"bench/peers/{peer}.py", function, environment(peer))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS))
    given = parser.parse_args()
    rows = 20_000 if given.quick else 1_000_000
    paths = [generate.tabular(rows, drifted=True), generate.tabular(rows)]
    records: list[Record] = []
    for task, peers in TASKS.items():
        contenders = [SCAN, Contender("Driftline", OURS, task)]
        for peer in (p for p in peers if p in given.only):
            try:
                contenders.append(contender(peer, task))
            except NotInstalledError as why:
                print(f"{PEERS[peer]} cannot be installed: {why}")
                records.append({"task": task, "contender": PEERS[peer], "repeat": 0, "error": f"not installed: {why}"})
        files = paths if task == "drift" else paths[:1]
        found = interleaved(task, contenders, files, given.repeats or (1 if given.quick else 3))
        records += [record | {"rows": rows} for record in found]
    _compare(records)
    keep("peers", records, given.quick)


def _compare(records: list[Record]) -> None:
    """All read the same rows: where they tell the mean of a column and its exact KS distance, they agree."""
    for what, apart in (("mean", 1e-6), ("ks", 1e-3)):
        told = {r["contender"]: r["found"][what] for r in records if (r.get("found") or {}).get(what) is not None}
        for name, value in told.items():
            ours = told["Driftline"]
            assert abs(value - ours) <= apart * max(1.0, abs(ours)), f"{what}: {name} found {value}, Driftline {ours}"


if __name__ == "__main__":
    main()
