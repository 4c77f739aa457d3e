"""A command is a corrective action: a program that is started with the notice on its standard input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

from driftline.channels.channel import Notice, Receipt, SendError, payload
from driftline.windows import duration_text, parse_duration
from driftline.wire import CommandSpec

_TAIL: Final = 2048
_KILL_AFTER_S: Final = 5.0
"""So long a program may take to end after SIGTERM."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program, its arguments, and how long it may take. No shell reads them."""

    arguments: tuple[str, ...]
    folder: Path
    timeout: timedelta = timedelta(minutes=10)

    @classmethod
    def of(cls, spec: CommandSpec) -> Command:
        """The channel that the spec declares."""
        return cls(spec.command, Path(spec.folder or "."), parse_duration(spec.timeout))

    def send(self, notice: Notice) -> Receipt:
        """Run the program to its end.

        It finds the notice as JSON on its standard input, and DRIFTLINE_NOTICE_KEY, _ALARM and _STATUS in its
        environment. What it starts in the background may live on; only at the time limit all of it is ended.

        Raises:
            SendError: permanent if it cannot be started; temporary if it fails, or does not end in time.
        """
        with TemporaryFile() as given, TemporaryFile() as errors:
            given.write(json.dumps(payload(notice), sort_keys=True, allow_nan=False).encode())
            given.seek(0)
            status, in_time = self._run(notice, given, errors)
            said = _tail(errors)
        name, said = self.arguments[0], f": {said}" if said else ""
        if not in_time:
            limit = duration_text(self.timeout)
            raise SendError(f"{name} was ended after {limit}{said}", permanent=False, status=status)
        if status != 0:
            raise SendError(f"{name} ended with {_status(status)}{said}", permanent=False, status=status)
        return Receipt(f"exit status 0{said}", 0)

    def _run(self, notice: Notice, given: IO[bytes], errors: IO[bytes]) -> tuple[int, bool]:
        """Exit status, and whether the program ended by itself in time."""
        try:
            process = subprocess.Popen(
                self.arguments,
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=self.folder,
                env=os.environ | _told(notice),
                start_new_session=True,  # a process group of its own, which can be ended as a whole
            )
        except (OSError, ValueError) as why:
            raise SendError(f"{self.arguments[0]} cannot be started in {self.folder}: {why}", permanent=True) from why
        with process:
            try:
                return process.wait(self.timeout.total_seconds()), True
            except subprocess.TimeoutExpired:
                _end(process)
                return process.returncode, False
            except BaseException:
                _end(process)
                raise


def _told(notice: Notice) -> dict[str, str]:
    return {
        "DRIFTLINE_NOTICE_KEY": notice.key,
        "DRIFTLINE_NOTICE_ALARM": notice.alarm,
        "DRIFTLINE_NOTICE_STATUS": notice.status,
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the whole process group: politely, then surely."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_KILL_AFTER_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _TAIL))
    return errors.read().decode("utf-8", "replace").strip()


def _status(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
