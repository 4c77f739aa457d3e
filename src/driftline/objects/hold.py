"""A hold: one process at a time does what must not be done twice at once; who died holding is passed over."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from driftline.errors import Conflict, NotFound
from driftline.objects.audit import who
from driftline.objects.store import ObjectStore

_DEAD: Final = timedelta(minutes=15)
_RENEW: Final = timedelta(minutes=1)


@contextmanager
def held(store: ObjectStore, key: str, clock: Callable[[], datetime]) -> Iterator[Callable[[], None]]:
    """Hold `key`; gives what is to be called now and then, so that others see that the holder lives.

    Raises:
        Conflict: another process holds it, and gave a sign of life within the last 15 minutes; one of this machine that
            has died is known at once.
    """
    renewed = clock()

    def sign(*, if_absent: bool = False) -> None:
        store.put(
            key, json.dumps({"at": renewed.isoformat(), "who": who(), "pid": os.getpid()}).encode(), if_absent=if_absent
        )

    def alive() -> None:
        nonlocal renewed
        if clock() - renewed >= _RENEW:
            renewed = clock()
            sign()

    try:
        sign(if_absent=True)
    except Conflict:
        _passed_over(store, key, renewed)
        sign()
    try:
        yield alive
    finally:
        store.delete(key)


def _passed_over(store: ObjectStore, key: str, now: datetime) -> None:
    """Returns where the holder is gone. Raises Conflict where it lives."""
    try:
        told = json.loads(store.get(key))
        since, by = datetime.fromisoformat(told["at"]), told["who"]
        if now - since < _DEAD and not (by["host"] == who()["host"] and _gone(int(told["pid"]))):
            raise Conflict(
                f"object {key!r} is held by {by['user']} on {by['host']}, alive at {since:%Y-%m-%dT%H:%M:%SZ}: "
                f"wait until that is done; if it has died, it is passed over 15 minutes after that"
            )
    except (NotFound, ValueError, KeyError, TypeError):
        return


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it lives, and is somebody else's
        return False
    return False
