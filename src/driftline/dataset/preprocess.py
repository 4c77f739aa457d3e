"""A preprocess script turns records into rows; it runs out of process, and what it does wrong is counted."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from driftline.dataset import preprocess_runner
from driftline.dataset.records import Records, reserved
from driftline.dataset.spelled import Cells, Spelling
from driftline.dataset.tables import Work
from driftline.dataset.truths import truths
from driftline.errors import InputError
from driftline.schema import LABEL

TIME_LIMIT_S: Final = 60.0
"""Seconds that the script may take to start, and for one record."""
_BATCH: Final = 4096


class Script:
    """The script's process. Raises InputError where the script cannot be used, hangs or dies."""

    def __init__(self, path: Path, time_limit_s: float = TIME_LIMIT_S) -> None:
        self.path, self.time_limit_s = path, time_limit_s
        if not path.is_file():
            raise InputError(f"there is no preprocess script {str(path)!r}; check the path")
        command = [sys.executable, str(preprocess_runner.__file__), str(path.resolve())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            ready = self._answer("while it was imported")
            if "unusable" in ready:
                raise InputError(f"preprocess script {str(path)!r} cannot be used: {ready['unusable']}")
        except InputError:
            self.close()
            raise

    def rows(self, records: list[str], where: list[str]) -> Iterator[dict[str, Any]]:
        """What the script says of each record: `{"rows": [...]}` or `{"error": "..."}`; `where` names them."""
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101  it was opened as a pipe
        # From a thread of its own: the script may stop reading while its answers are not fetched.
        writer = threading.Thread(target=_feed, args=(stdin, records), daemon=True)
        writer.start()
        for place in where:
            yield self._answer(f"on the record at {place}")
        writer.join()

    def _answer(self, where: str) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=self.time_limit_s)
        except queue.Empty as why:
            self.close()
            raise InputError(
                f"preprocess script {str(self.path)!r} took longer than {self.time_limit_s:g} seconds {where}"
            ) from why
        if not line:
            raise InputError(f"preprocess script {str(self.path)!r} ended {where}, exit status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _listen(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101  it was opened as a pipe
        for line in stdout:
            self._answers.put(line)
        self._answers.put(b"")

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:
                pass  # what was still to be written has no reader any more


def _feed(stdin: Any, records: list[str]) -> None:
    try:
        for record in records:
            stdin.write(record.replace("\n", " ").encode() + b"\n")
        stdin.flush()
    except (OSError, ValueError):
        pass  # the script died or was ended; the reader of its answers says so


def preprocessed(path: Path, records: Records, work: Work, label: str | None) -> int:
    """Bring the rows that the script makes of the records into scratch; gives the number of records that it dropped.

    Strings that the script returns are typed by their spelling, like CSV; other values bring their type.
    """
    script = Script(path)
    skipped = 0
    try:
        for batch in records.batches():
            for start in range(0, batch.num_rows, _BATCH):
                skipped += _add(script, batch.slice(start, _BATCH), records, work, label)
    finally:
        script.close()
    return skipped


def _add(script: Script, batch: pa.RecordBatch, records: Records, work: Work, label: str | None) -> int:
    file, line = batch.column("file").to_pylist(), batch.column("line").to_pylist()
    where = [f"{records.files[f]}, line {n}" for f, n in zip(file, line, strict=True)]
    texts = batch.column("text").to_pylist()
    labels = truths(work.connection, batch, label) if records.labelled else None
    rows: list[dict[str, Any]] = []
    times = np.zeros(batch.num_rows, np.int64)
    dead: dict[int, str] = {}
    found: list[list[dict[str, Any]]] = []
    for at, answer in enumerate(script.rows(texts, where)):
        found.append(answer.get("rows", []))
        times[at] = len(found[-1])
        if "error" in answer:
            dead[at] = f"preprocess script, {answer['error']}"
    skipped = int(np.count_nonzero(times == 0)) - len(dead)
    if labels is not None:
        wrong: dict[int, str] = {}
        labels.check(times, wrong)
        dead |= {at: reason for at, reason in wrong.items() if times[at] and at not in dead}
    for at, reason in dead.items():
        times[at] = 0
        work.dead.add(records.files[file[at]], line[at], reason, texts[at], batch.column("offset")[at].as_py())
    for at, own in enumerate(found):
        rows.extend(own if at not in dead else [])
    columns = _columns(rows)
    if labels is not None:
        columns[LABEL] = labels.spread(times)
    work.scratch.add(columns, reserved(batch, times), len(rows))
    return skipped


def _columns(rows: list[dict[str, Any]]) -> dict[str, Cells]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _cells([row.get(name) for row in rows]) for name in names}


def _cells(values: list[Any]) -> Cells:
    kinds = {type(v) for v in values} - {type(None)}
    if kinds <= {str}:
        return Cells(pa.array([v or None for v in values], pa.string()))
    told = {bool: Spelling.BOOLEAN, int: Spelling.INTEGRAL, float: Spelling.FRACTIONAL, str: Spelling.STRING}
    texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
    return Cells(pa.array(texts, pa.string()), frozenset(told[kind] for kind in kinds))
