"""What a cloud's client says went wrong, in words that help, and without what must not be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from driftline.objects.urls import Place

CLOUD_ERRORS: Final = (BaseError, FileNotFoundError, ValueError, OSError)
"""What obstore raises; a ValueError (UnicodeEncodeError among them) is a key or an option that it does not take."""
Kind = Literal["not there", "already there", "changed", "no range", "wrong key", "other"]

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>([A-Za-z0-9_.]{1,64})</Code>")
_ENDPOINT: Final = re.compile(r"\b(https?://[^/\s?#@]+)")
_NO_BUCKET: Final = frozenset({"NoSuchBucket", "ContainerNotFound"})
_NO_KEY: Final = frozenset({"SignatureDoesNotMatch", "InvalidAccessKeyId", "AuthenticationFailed", "InvalidToken"})
_UNKNOWN_CONDITION: Final = frozenset({400, 405, 501})
_PREFIXES: Final = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}
_CREDENTIALS: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a role of the machine",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or the service account of the machine",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or the identity of the machine",
}


@dataclass(frozen=True, slots=True)
class Said:
    """One failure."""

    kind: Kind
    text: str
    status: int | None = None
    code: str | None = None


def said(why: Exception, place: Place) -> Said:
    """What `why` means to somebody who works at `place`."""
    told = str(why).partition("Debug source:")[0]
    debug = str(why)
    status = int(found[1]) if (found := _STATUS.search(told)) else None
    code = found[1] if (found := _CODE.search(told)) else None
    if code in _NO_BUCKET or (isinstance(why, FileNotFoundError) and "bucket does not exist" in told):
        what = "container" if place.scheme == "az" else "bucket"
        return Said("other", f"there is no {what} {place.bucket!r}; make it, or correct the URL", status, code)
    kind = _kind(why, status)
    return Said(kind, _words(why, told, debug, place, status, code), status, code)


def misconfigured(why: Exception, place: Place) -> str:
    """What is wrong with the environment, of which the client could not be made. No value is repeated."""
    if "MissingAccount" in str(why):
        return "AZURE_STORAGE_ACCOUNT_NAME is not set"
    return (
        f"a variable of the environment that begins with {_PREFIXES[place.scheme]}_ has a value that cannot be used; "
        f"correct it (docs/objects.md has those that are needed)"
    )


def ignores_conditions(found: Said) -> bool:
    """Whether a store says that it does not know `If-None-Match`."""
    return found.status in _UNKNOWN_CONDITION and found.code in (None, "NotImplemented", "InvalidArgument")


def _kind(why: Exception, status: int | None) -> Kind:
    if isinstance(why, AlreadyExistsError):
        return "already there"
    if isinstance(why, FileNotFoundError):
        return "not there"
    if isinstance(why, PreconditionError):
        return "changed"
    if status == 416 or "StartTooLarge" in str(why):
        return "no range"
    if isinstance(why, (ValueError, InvalidPathError)):
        return "wrong key"
    return "other"


def _words(why: Exception, told: str, debug: str, place: Place, status: int | None, code: str | None) -> str:
    if isinstance(why, (ValueError, InvalidPathError)):
        return "it has a character that no key may have" if "arse" in told or "codec" in told else "an option is wrong"
    if "169.254.169.254" in told or "metadata.google" in told or "oauth2" in told:
        return f"there are no credentials: set {_CREDENTIALS[place.scheme]} (docs/objects.md)"
    if isinstance(why, (PermissionDeniedError, UnauthenticatedError)) or status in (401, 403):
        if code in _NO_KEY:
            return f"the store does not accept the credentials ({code}): correct {_CREDENTIALS[place.scheme]}"
        return f"access denied ({code or status}): these credentials may not do this in {place.url}"
    endpoint = found[1] if (found := _ENDPOINT.search(told)) else "its endpoint"
    if status is not None:
        return f"{endpoint} answers {status}{'' if code is None else f' {code}'}"
    if "BadScheme" in debug:
        return f"{endpoint} has no TLS; only an endpoint that is set in the environment may be http://"
    if "kind: Connect" in debug:
        return f"{endpoint} is not reachable; is the endpoint right, and the store running?"
    if "imed out" in debug or "TimedOut" in debug or "Timeout" in debug:
        return f"{endpoint} did not answer in time"
    return f"{endpoint} broke off, or answered what is not understood"
