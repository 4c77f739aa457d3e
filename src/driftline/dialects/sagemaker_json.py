"""JSON as Model Monitor writes it, and reading it with the file and the key in every complaint."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeAlias

from driftline.errors import InputError

Json: TypeAlias = dict[str, Any]

MOST: Final = 1 << 40
"""The highest count a file may tell: no dataset has a trillion rows, and sums of weights stay within 64 bits."""

NOT_A_NUMBER = "NaN"
"""Model Monitor writes a number that it could not compute as this string."""


def render(document: Json) -> bytes:
    """The document as Model Monitor lays it out: two spaces, `"key" : value`, lists on the line of their key."""
    return (_rendered(document, "") + "\n").encode()


def _rendered(value: object, indent: str) -> str:
    deeper = indent + "  "
    if isinstance(value, dict):
        if not value:
            return "{ }"
        items = (f"{deeper}{json.dumps(k, ensure_ascii=False)} : {_rendered(v, deeper)}" for k, v in value.items())
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, (list, tuple)):
        return "[ " + ", ".join(_rendered(v, indent) for v in value) + " ]" if value else "[ ]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def java_double(x: float) -> str:
    """The number as Java prints it: `0.5`, but `5.09E-4` below a thousandth and `1.0E7` from ten million on.

    >>> java_double(0.000509), java_double(12345678.0), java_double(0.625), java_double(-1e-3)
    ('5.09E-4', '1.2345678E7', '0.625', '-0.001')
    """
    if math.isnan(x):
        return "NaN"
    if math.isinf(x):
        return "Infinity" if x > 0 else "-Infinity"
    if x == 0 or 1e-3 <= abs(x) < 1e7:
        plain = format(x, "f") if "e" in repr(x) else repr(x)
        return plain if "." in plain else plain + ".0"
    digits, exponent = _scientific(x)
    return f"{digits}E{exponent}"


def _scientific(x: float) -> tuple[str, int]:
    """The shortest decimal digits of x with one before the point, and the power of ten."""
    mantissa, _, power = repr(x).partition("e")
    sign, digits = ("-", mantissa[1:]) if mantissa.startswith("-") else ("", mantissa)
    whole, _, fraction = digits.partition(".")
    exponent = int(power or 0) + len(whole) - 1
    both = whole + fraction
    stripped = both.lstrip("0")
    exponent -= len(both) - len(stripped)
    rest = stripped[1:].rstrip("0")
    return f"{sign}{stripped[0]}.{rest or '0'}", exponent


@dataclass(frozen=True, slots=True)
class Place:
    """A value in a JSON file, and where it stands there."""

    file: str
    path: str
    value: Any

    def fail(self, must: str) -> NoReturn:
        """Complain of this value; `must` says what would be right."""
        shown = json.dumps(self.value, ensure_ascii=False)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        raise InputError(f"{self.file}: {self.path or 'the document'} is {shown}, but must be {must}")

    def get(self, key: str) -> Place | None:
        """The member of this object, or None where it is absent or null."""
        if not isinstance(self.value, dict):
            self.fail("an object")
        value = self.value.get(key)
        path = f"{self.path}.{key}" if self.path else key
        return None if value is None else Place(self.file, path, value)

    def need(self, key: str) -> Place:
        """The member of this object. Raises InputError where there is none."""
        found = self.get(key)
        if found is None:
            inside = f" of {self.path}" if self.path else ""
            raise InputError(f"{self.file}: key {key!r}{inside} is missing")
        return found

    def items(self) -> Iterator[Place]:
        """The elements of this list."""
        if not isinstance(self.value, list):
            self.fail("a list")
        for i, value in enumerate(self.value):
            yield Place(self.file, f"{self.path}[{i}]", value)

    def members(self) -> Iterator[tuple[str, Place]]:
        """The members of this object, in the order of the file."""
        if not isinstance(self.value, dict):
            self.fail("an object")
        for key, value in self.value.items():
            yield key, Place(self.file, f"{self.path}.{key}" if self.path else key, value)

    def number(self, low: float = -math.inf, high: float = math.inf) -> float:
        """This finite number, within [low, high]."""
        least = f" from {low:g}" if low > -math.inf else ""
        must = f"a number{least}" + (f" to {high:g}" if high < math.inf else "")
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            self.fail(must)
        try:
            x = float(self.value)
        except OverflowError:
            self.fail("a number that a double can hold")
        if not math.isfinite(x) or not low <= x <= high:
            self.fail(must)
        return x

    def count(self) -> int:
        """This whole number, zero to `MOST` (`3.0` counts as one)."""
        x = self.number(low=0.0)
        if x != int(x) or x > MOST:
            self.fail(f"a whole number of at most {MOST}")
        return int(x)

    def text(self) -> str:
        """This string."""
        if not isinstance(self.value, str):
            self.fail("a string")
        return str(self.value)

    def flag(self) -> bool:
        """This boolean, also where it is spelled `Enabled` or `Disabled`."""
        if isinstance(self.value, bool):
            return self.value
        if not isinstance(self.value, str) or self.value.lower() not in ("enabled", "disabled"):
            self.fail('"Enabled" or "Disabled"')
        return bool(self.value.lower() == "enabled")

    def choice(self, **words: str) -> str:
        """What this string stands for; letter case and underscores do not matter."""
        word = self.value.lower().replace("_", "") if isinstance(self.value, str) else None
        if word not in words:
            self.fail(" or ".join(f'"{right}"' for right in dict.fromkeys(words.values())))
        return words[word]


def parse(data: bytes, file: str) -> Place:
    """The JSON object of a file; `file` is its name in complaints."""
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as why:
        raise InputError(f"{file}: not UTF-8 at byte {why.start}") from why
    except json.JSONDecodeError as why:
        raise InputError(f"{file}, line {why.lineno}, column {why.colno}: not JSON: {why.msg}") from why
    except RecursionError as why:
        raise InputError(f"{file}: nested too deeply to be a file of Model Monitor") from why
    if not isinstance(value, dict):
        raise InputError(f"{file}: holds a {type(value).__name__}, but must hold a JSON object")
    return Place(file, "", value)
