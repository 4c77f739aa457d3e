"""Runs a preprocess script in a process of its own: records come in as JSON lines, rows go out as JSON lines.

It is started by its path with nothing but the standard library, so that the script meets a plain Python.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import logging
import os
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class Record:
    """One captured record, as Model Monitor hands it to `preprocess_handler`."""

    def __init__(self, record: dict[str, Any]) -> None:
        self._record = record
        data = record.get("captureData") or {}
        event = record.get("eventMetadata") or {}
        self.endpoint_input = _payload(data.get("endpointInput"))
        self.endpoint_output = _payload(data.get("endpointOutput"))
        self.batch_transform_output = _payload(data.get("batchTransformOutput"))
        self.ground_truth = _payload(record.get("groundTruthData"))
        self.event_metadata = SimpleNamespace(
            event_id=event.get("eventId"),
            event_time=event.get("inferenceTime"),
            inference_id=event.get("inferenceId"),
            custom_attribute=event.get("customAttributes"),
        )
        self.event_version = record.get("eventVersion")
        self.event_data = SimpleNamespace(
            endpointInput=self.endpoint_input,
            endpointOutput=self.endpoint_output,
            batchTransformOutput=self.batch_transform_output,
        )

    def as_dict(self) -> dict[Any, Any]:
        """The record as it was captured."""
        return self._record

    def str(self) -> Any:
        """The record as JSON."""
        return json.dumps(self._record)

    __str__ = str  # noqa: A003  Model Monitor's name for it


def _payload(part: Any) -> SimpleNamespace | None:
    if not isinstance(part, dict):
        return None
    return SimpleNamespace(
        data=part.get("data"),
        encoding=part.get("encoding"),
        observedContentType=part.get("observedContentType"),
        observed_content_type=part.get("observedContentType"),
        mode=part.get("mode"),
    )


def main() -> int:
    """Serve records until standard input ends."""
    # What the script prints must not run into the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    path = sys.argv[1]
    try:
        handler = _handler(path)
    except BaseException as why:  # noqa: BLE001  a script may raise anything, and the answer says what
        _say(answers, {"unusable": _told(why, path)})
        return 1
    _say(answers, {"ready": True})
    for line in sys.stdin.buffer:
        try:
            _say(answers, {"rows": _rows(handler(Record(json.loads(line))))})
        except (Exception, SystemExit) as why:  # noqa: BLE001  the record is a dead letter with this reason
            _say(answers, {"error": _told(why, path)})
    return 0


def _handler(path: str) -> Any:
    # In the place of this file's own folder, whose modules (tables, records, …) are not the script's.
    sys.path[0] = str(Path(path).parent)
    spec = importlib.util.spec_from_file_location("preprocess_script", path)
    if spec is None or spec.loader is None:
        raise ImportError("not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handler = getattr(module, "preprocess_handler", None)
    if not callable(handler):
        raise ImportError(  # noqa: TRY004  it is the script as a whole that cannot be used
            "it has no function preprocess_handler(record) or preprocess_handler(record, logger)"
        )
    logger = logging.getLogger("preprocess")
    return (lambda r: handler(r, logger)) if len(inspect.signature(handler).parameters) > 1 else handler


def _rows(answer: Any) -> list[dict[str, Any]]:
    rows = [answer] if isinstance(answer, dict) else answer
    if not isinstance(rows, (list, tuple)) or not all(isinstance(row, dict) for row in rows):
        raise TypeError(f"it returned {type(answer).__name__}; a dict, a list of dicts or [] is expected")
    return [{str(key): _plain(value) for key, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    """NumPy scalars as Python's; what JSON has no form for as text."""
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
    if isinstance(value, float) and value != value:
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else json.dumps(value, default=str)


def _told(why: BaseException, path: str) -> str:
    frames = [f for f in traceback.extract_tb(why.__traceback__) if f.filename == path]
    at = f"line {frames[-1].lineno}: " if frames else ""
    return f"{at}{type(why).__name__}: {why}"


def _say(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
