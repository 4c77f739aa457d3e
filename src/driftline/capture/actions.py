"""What a field policy does to one value: drop it, hash it with a key, mask what matches, or round it into a bucket."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal, DecimalException
from hashlib import blake2b
from typing import Any, Final, Literal, TypeAlias

from driftline.errors import InputError

Scalar: TypeAlias = str | int | Decimal
"""A value of a payload; numbers keep their spelling (booleans are `int` to Python, and known by their type)."""
Span: TypeAlias = Literal["day", "month", "year"]

GONE: Final = object()
"""In the place of a value that is dropped."""
LEAST_KEY: Final = 16
"""Bytes of a key: a shorter one could be guessed, and with it what was hashed."""
_AGAIN: Final = 8
_DIGITS: Final = 400
"""A number with more digits than this before or after the point is not rounded."""
_DATE: Final = re.compile(r"(\d{4})(?:-(0[1-9]|1[0-2])(?:-(0[1-9]|[12]\d|3[01]))?)?(?![^T ])")
_LENGTH: Final[Mapping[Span, int]] = {"year": 4, "month": 7, "day": 10}


class Unprotected(Exception):  # noqa: N818  it is not an error of the program
    """A payload that the policy cannot protect; the reason is what is counted."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Nothing is left of the value."""

    def scalar(self, _: Scalar) -> object:
        """No value."""
        return GONE


@dataclass(frozen=True, slots=True)
class Hash:
    """A token in the value's place: the same key and spelling give the same token, and only who has the key can tell.

    The token is `h` and 32 hexadecimal digits of keyed BLAKE2b: never taken for a number.
    """

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.key) < LEAST_KEY:
            raise InputError(f"the key has {len(self.key)} bytes; give one of {LEAST_KEY} or more, made at random")
        if len(self.key) > 64:
            object.__setattr__(self, "key", blake2b(self.key).digest())

    def mark(self) -> str:
        """Tells one key from another, and nothing else of it."""
        return blake2b(digest_size=4, key=self.key, person=b"driftline.mark").hexdigest()

    def scalar(self, value: Scalar) -> str:
        """The token of the value."""
        return self.token(spelled(value))

    def token(self, text: str) -> str:
        """The token of a text.

        >>> Hash(b"0123456789abcdef").token("bob@example.org")
        'h7ec8589a2edf52e9a8fe9bc8e3ce0aee'
        """
        data = text.encode(errors="surrogatepass")
        return "h" + blake2b(data, digest_size=16, key=self.key, person=b"driftline.token").hexdigest()


@dataclass(frozen=True, slots=True)
class Mask:
    """What matches the pattern is replaced, again and again until nothing changes: masking twice is masking once."""

    pattern: re.Pattern[str]
    replacement: str

    def scalar(self, value: Scalar) -> Scalar:
        """The value without what matches; a number in which something matched becomes a text."""
        text = spelled(value)
        masked = self.text(text)
        return value if masked == text else masked

    def text(self, text: str) -> str:
        """The text without what matches.

        >>> Mask(re.compile(r"[\\w.]+@[\\w.]+"), "(mail)").text("from bob@example.org to me")
        'from (mail) to me'
        """
        for again in range(_AGAIN):
            masked = self.pattern.sub(self.replacement, text)
            if masked == text:
                return text
            if again and len(masked) > len(text):  # it feeds on its own replacements
                break
            text = masked
        raise Unprotected("privacy: a mask matches its own replacement")


@dataclass(frozen=True, slots=True)
class RoundNumber:
    """A number becomes the lower edge of its bucket; below the first edge it becomes the first edge."""

    width: Decimal | None = None
    edges: tuple[Decimal, ...] = ()

    def scalar(self, value: Scalar) -> Scalar | None:
        """The lower edge, a text for a text; None for what is not a number.

        >>> RoundNumber(width=Decimal(10)).scalar(37), RoundNumber(edges=(Decimal(0), Decimal("0.5"))).scalar("0.81")
        (30, '0.5')
        """
        if isinstance(value, bool):
            return None
        try:
            number = value if isinstance(value, Decimal) else Decimal(value)
            if not number.is_finite() or abs(number.adjusted()) > _DIGITS:
                return None
            edge = self._edge(number)
        except (DecimalException, ValueError):
            return None
        if isinstance(value, str):
            return format(edge, "f")
        return int(edge) if isinstance(value, int) and edge == edge.to_integral_value() else edge

    def _edge(self, number: Decimal) -> Decimal:
        if self.width is None:
            return self.edges[max(0, bisect_right(self.edges, number) - 1)]
        steps = (number / self.width).to_integral_value(ROUND_FLOOR)
        return Decimal(0) if not steps else steps * self.width


@dataclass(frozen=True, slots=True)
class RoundDate:
    """A date, or a time that begins with one (ISO 8601), becomes its day, month or year."""

    to: Span

    def scalar(self, value: Scalar) -> str | None:
        """The beginning of the text; None for what is not a date.

        >>> RoundDate("month").scalar("2026-03-17T09:14:07Z"), RoundDate("day").scalar("17 March")
        ('2026-03', None)
        """
        found = _DATE.match(value) if isinstance(value, str) else None
        return None if found is None else found[0][: _LENGTH[self.to]]


Action: TypeAlias = Drop | Hash | Mask | RoundNumber | RoundDate


def spelled(value: Scalar) -> str:
    """How the value stands in JSON or CSV, a text without its quotes."""
    return value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def applied(action: Action, value: Any, lost: set[str]) -> Any:
    """The JSON value after the action, GONE if nothing is left; of a list or an object all values are meant.

    What holds nothing (null, an empty text) stays so. A value that cannot be rounded becomes null, noted in `lost`.
    """
    if isinstance(action, Drop):
        return GONE
    if value is None or value == "":
        return value
    if isinstance(value, list):
        return [applied(action, each, lost) for each in value]
    if isinstance(value, dict):
        if isinstance(action, Hash):  # its keys may be as telling as its values
            return action.token(canonical(value))
        if isinstance(action, Mask):
            return {action.text(key): applied(action, each, lost) for key, each in value.items()}
        return {key: applied(action, each, lost) for key, each in value.items()}
    found = action.scalar(value)
    if found is None:
        lost.add(NOT_ROUNDED)
    return found


NOT_ROUNDED: Final = "privacy: a value is no number or date and was left out"


def canonical(value: Any) -> str:
    """JSON text that is equal for equal objects."""
    import msgspec

    encoder = msgspec.json.Encoder(decimal_format="number", order="sorted")
    return encoder.encode(value).decode()
