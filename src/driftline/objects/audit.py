"""The audit log: who removed what, and when, as small objects beside the data that nobody rewrites."""

from __future__ import annotations

import getpass
import itertools
import json
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from driftline.objects.store import ObjectStore

PREFIX: Final = "audit/"
_ordinals: Final = itertools.count()


def noted(store: ObjectStore, now: datetime, what: str, **told: Any) -> str:
    """Append one line to the audit log; gives its key.

    Lines sort by the time of writing, those of one process and time in their order. Each is an object of its own, so
    that writers never meet.
    """
    at = now.astimezone(UTC)
    key = f"{PREFIX}{at:%Y/%m/%d/%H-%M-%S}-{at.microsecond:06d}-{next(_ordinals):06d}-{os.urandom(4).hex()}.jsonl"
    line: Mapping[str, Any] = {"at": f"{at:%Y-%m-%dT%H:%M:%SZ}", "who": who(), "what": what, **told}
    store.put(key, json.dumps(line).encode() + b"\n", if_absent=True)
    return key


def who() -> dict[str, str]:
    """The user and the machine of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return {"user": user, "host": socket.gethostname()}
