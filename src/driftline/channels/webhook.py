"""A webhook is told by an HTTP POST of JSON, signed so that the receiver knows who speaks."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

from driftline.channels.channel import Notice, Receipt, SendError, payload
from driftline.errors import InputError
from driftline.wire import WebhookSpec

if TYPE_CHECKING:
    import httpx

SIGNATURE: Final = "Driftline-Signature"
TIMESTAMP: Final = "Driftline-Timestamp"
KEY: Final = "Idempotency-Key"
_TIMEOUT_S: Final = 10.0
_TEMPORARY: Final = frozenset({408, 425, 429})
_HOPS: Final = 3
_SHOWN: Final = 300


@dataclass(frozen=True, slots=True)
class Webhook:
    """Somebody at a URL."""

    url: str
    clock: Callable[[], datetime]
    """The time that goes into the signature."""
    secret: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, spec: WebhookSpec, environ: Mapping[str, str], clock: Callable[[], datetime]) -> Webhook:
        """The channel that the spec declares. Raises InputError if the variable of its secret is not set."""
        if spec.secret_env is None:
            return cls(spec.url, clock)
        secret = environ.get(spec.secret_env)
        if not secret:
            raise InputError(
                f"environment variable {spec.secret_env!r} is not set; it must hold the secret that signs the notices "
                f"to {_place(spec.url)}"
            )
        return cls(spec.url, clock, secret)

    def send(self, notice: Notice) -> Receipt:
        """POST the notice once.

        Raises:
            SendError: temporary for no answer within ten seconds, 408, 425, 429 and 5xx; permanent for other answers.
        """
        import httpx

        body = json.dumps(payload(notice), sort_keys=True, allow_nan=False).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "driftline", KEY: notice.key}
        if self.secret is not None:
            headers |= sign(self.secret, body, self.clock())
        try:
            with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False) as client:
                return self._post(client, body, headers)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError) as why:  # ours, or that of a redirect
            raise SendError(f"{_place(self.url)}: {why}", permanent=True) from why
        except httpx.HTTPError as why:
            raise SendError(f"{_place(self.url)}: {type(why).__name__}: {why}", permanent=False) from why

    def _post(self, client: httpx.Client, body: bytes, headers: Mapping[str, str]) -> Receipt:
        url = self.url
        for _ in range(_HOPS + 1):
            with client.stream("POST", url, content=body, headers=dict(headers)) as response:
                status, location = response.status_code, response.headers.get("location")
                answer = _beginning(response) if status >= 300 else ""
            detail = f"HTTP {status} from {_place(url)}"
            if 200 <= status < 300:
                return Receipt(detail, status)
            if status not in (307, 308) or location is None:
                permanent = status < 500 and status not in _TEMPORARY
                raise SendError(f"{detail}{f': {answer}' if answer else ''}", permanent=permanent, status=status)
            url = urljoin(url, location)
            if _origin(url) != _origin(self.url):
                raise SendError(
                    f"{detail} sends us to another host, {_place(url)}; give that URL to the channel if it is right",
                    permanent=True,
                    status=status,
                )
        raise SendError(f"{_place(self.url)}: more than {_HOPS} redirects", permanent=True)


def sign(secret: str, body: bytes, at: datetime) -> dict[str, str]:
    """The headers that prove who sent `body`, and when: HMAC-SHA256 over timestamp, ".", body."""
    timestamp = str(int(at.timestamp()))
    return {TIMESTAMP: timestamp, SIGNATURE: f"v1={_hmac(secret, timestamp, body)}"}


def verify(
    secret: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: datetime | None = None,
    tolerance: timedelta = timedelta(minutes=5),
) -> dict[str, Any]:
    """The notice in `body`, if it was signed with `secret`: for receivers, before they believe a word of it.

    Args:
        headers: of the request; their case does not matter.
        body: the bytes as they came; parse them only afterwards.
        now: the time; if given, a request signed more than `tolerance` away from it is refused, so that nobody can
            send an old one again.

    Raises:
        InputError: the signature is missing or wrong, the request is too old, or the body is not JSON.
    """
    found = {key.lower(): value for key, value in headers.items()}
    timestamp, signature = found.get(TIMESTAMP.lower()), found.get(SIGNATURE.lower())
    if timestamp is None or signature is None:
        raise InputError(f"the request is not signed: header {TIMESTAMP} or {SIGNATURE} is missing")
    given = [part.strip().removeprefix("v1=") for part in signature.split(",") if part.strip().startswith("v1=")]
    wanted = _hmac(secret, timestamp, body).encode()
    if not any(hmac.compare_digest(wanted, one.encode()) for one in given):
        raise InputError("the signature is wrong: the secrets differ, or the body was changed on its way")
    if now is not None:
        # The timestamp is signed, so it is the number that `sign` wrote.
        age = abs(now - datetime.fromtimestamp(int(timestamp), UTC))
        if age > tolerance:
            raise InputError(f"the request was signed {age} away from now, more than {tolerance}")
    try:
        notice = json.loads(body)
    except ValueError as why:
        raise InputError(f"the body is signed, but not JSON: {why}") from why
    if not isinstance(notice, dict):
        raise InputError("the body is signed, but not a notice")
    return notice


def _hmac(secret: str, timestamp: str, body: bytes) -> str:
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _beginning(response: httpx.Response) -> str:
    """The first characters of the answer, on one line; the rest is not read."""
    for chunk in response.iter_bytes(2048):
        return " ".join(chunk.decode("utf-8", "replace").split())[:_SHOWN]
    return ""


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _place(url: str) -> str:
    """The URL without user, password and query: those may be secrets, and messages are stored."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "a URL that cannot be read"
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"
