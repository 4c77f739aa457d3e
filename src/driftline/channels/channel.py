"""A channel delivers one notice and says only: sent, try again, or never."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from driftline.errors import DriftlineError
from driftline.windows import stamp


@dataclass(frozen=True, slots=True)
class Notice:
    """What is told: an alarm changed. `key` is the idempotency key; a receiver may see it more than once."""

    key: str
    alarm: str
    status: str
    subject: str
    body: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the other side answered, in a line (an HTTP status, an exit status)."""

    detail: str
    status: int | None = None
    """The same as a number."""


class SendError(DriftlineError):
    """The notice was not delivered. `permanent`: trying again will not help. `status`: as in a receipt."""

    def __init__(self, message: str, *, permanent: bool, status: int | None = None) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.status = status


def payload(notice: Notice) -> dict[str, Any]:
    """The notice as it is sent: its body, and with it its key, subject and time."""
    told = {"key": notice.key, "subject": notice.subject, "created_at": stamp(notice.created_at)}
    return notice.body | {"alarm": notice.alarm, "status": notice.status} | told


class Channel(Protocol):
    """Somebody, or something, that can be told."""

    def send(self, notice: Notice) -> Receipt:
        """Deliver once. Raises SendError."""
        ...
