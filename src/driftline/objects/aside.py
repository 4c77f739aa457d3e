"""A bucket reached through a process of its own, for processes that were forked from one that had used the client.

The client's threads do not survive a fork: in the child its calls would wait for ever. Servers that load the
application and then fork their workers (gunicorn with `--preload`) do just that.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import wraps
from typing import Any, BinaryIO, Concatenate, Final, ParamSpec, Protocol, TypeVar, cast

from driftline.errors import DriftlineError, Unavailable
from driftline.objects.urls import Place

P = ParamSpec("P")
R = TypeVar("R")

_ITERATOR: Final = "iterator"
_used_by: int | None = None
"""The first process that used the client."""
_helpers: dict[tuple[int, str], Aside] = {}


class _Reached(Protocol):
    place: Place
    patience: timedelta


S = TypeVar("S", bound=_Reached)


def fork_safe(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """The method, done in a process of its own where this one cannot."""

    @wraps(method)
    def either(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        global _used_by
        if _used_by is None:
            _used_by = os.getpid()
        if _used_by == os.getpid():
            return method(self, *args, **kwargs)
        helper = _helpers.setdefault((os.getpid(), self.place.url), Aside(self.place.url, self.patience))
        result: R = helper.call(method.__name__, args, kwargs)
        return result

    return cast(Callable[Concatenate[S, P], R], either)


class Aside:
    """A process that does what it is told with the store at `url`, one call at a time."""

    def __init__(self, url: str, patience: timedelta) -> None:
        self._command = [sys.executable, "-m", __name__, url, str(patience.total_seconds())]
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the method gives there; what it raises there is raised here.

        Raises:
            Unavailable: the process ended; the next call starts another.
        """
        with self._lock:
            try:
                self._process = self._process or self._started()
                assert self._process.stdin is not None  # noqa: S101  both are pipes
                assert self._process.stdout is not None  # noqa: S101
                pickle.dump((method, args, kwargs), self._process.stdin)
                self._process.stdin.flush()
                kind, result = pickle.load(self._process.stdout)  # noqa: S301  our own process
            except (OSError, EOFError, pickle.UnpicklingError) as why:
                self._end()
                raise Unavailable(f"the process that reaches {self._command[-2]} after a fork ended: {why}") from why
        if isinstance(result, DriftlineError):
            raise result
        return iter(result) if kind == _ITERATOR else result

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def serve(url: str, patience_s: float, told: BinaryIO, answers: BinaryIO) -> None:
    """Do what is told until nobody tells any more: whoever started this process ended."""
    from driftline.objects.cloud import Cloud

    store = Cloud(url, timedelta(seconds=patience_s))
    while True:
        try:
            method, args, kwargs = pickle.load(told)  # noqa: S301  our own process
        except EOFError:
            return
        try:
            result = getattr(store, method)(*args, **kwargs)
            answer = (_ITERATOR, list(result)) if isinstance(result, Iterator) else ("value", result)
        except DriftlineError as why:
            answer = ("error", why)
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    serve(sys.argv[1], float(sys.argv[2]), sys.stdin.buffer, sys.stdout.buffer)
