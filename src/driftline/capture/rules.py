"""The rules of a field policy as they are written down, and what each of them means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct

from driftline.capture.actions import Action, Drop, Hash, Mask, RoundDate, RoundNumber, Span, Unprotected
from driftline.capture.fields import parse_path
from driftline.errors import InputError

On: TypeAlias = Literal["input", "output", "both", "attributes", "id"]


class Rule(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing that is done to some of the values."""

    action: Literal["drop", "hash", "mask", "round"]
    name: str | None = None
    """A key at any depth, a tensor, or a column."""
    index: int | None = None
    """The place in a row without keys, from 0: a CSV line, a list of values."""
    path: str | None = None
    """A place in JSON: `instances[*].customer.email`."""
    on: On = "both"
    """Where: a side of the request, the custom attributes, or the id that labels name."""
    pattern: str | None = None
    """Of mask: a regular expression (Python's)."""
    replacement: str = "***"
    """Of mask: what stands there instead; may refer to groups (`\\\\1`)."""
    width: float | None = None
    """Of round: the width of the buckets …"""
    edges: tuple[float, ...] = ()
    """… or where they begin, ascending."""
    to: Span | None = None
    """Of round, for dates: what of them is kept."""


class PolicySpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A policy as files declare it: the section `privacy` of the configuration of a capture."""

    rules: tuple[Rule, ...]
    key_env: str | None = None
    """The environment variable that holds the key …"""
    key_file: str | None = None
    """… or the file that does (without its line end)."""
    input_columns: tuple[str, ...] = ()
    """The names of the values in a row without keys."""
    output_columns: tuple[str, ...] = ()
    header: bool = False
    """The first line of a CSV input names its columns."""


def where(rule: Rule) -> str:
    """The place of a rule in words."""
    place = rule.name or rule.path or (None if rule.index is None else f"[{rule.index}]")
    return " on ".join(filter(None, (place, rule.on)))


def action_of(number: int, rule: Rule, key: bytes | None) -> Action:
    """The action of a rule that has a meaning. Raises InputError."""
    try:
        _check_place(rule)
        return _action(rule, key)
    except InputError as why:
        raise InputError(f"rule {number} ({rule.action}): {why}") from why


def _check_place(rule: Rule) -> None:
    places = [name for name in ("name", "index", "path") if getattr(rule, name) is not None]
    if len(places) > 1:
        raise InputError(f"it has {' and '.join(places)}; one of them says where")
    if rule.on in ("attributes", "id"):
        if places:
            raise InputError(f"on {rule.on} there is no {places[0]}; leave it out")
        if rule.action == "round":
            raise InputError(f"what is on {rule.on} is text and cannot be rounded")
    elif not places and rule.action != "mask":
        raise InputError("it has no name, index or path; only a mask may be over everything")
    if rule.index is not None and (rule.index < 0 or rule.on == "both"):
        raise InputError("an index counts from 0 in the rows of one side; say on: input or on: output")
    if rule.name == "":
        raise InputError("its name is empty")
    if rule.path is not None:
        parse_path(rule.path)


def _action(rule: Rule, key: bytes | None) -> Action:
    own = {"mask": ("pattern",), "round": ("width", "edges", "to")}.get(rule.action, ())
    for other in ("pattern", "width", "edges", "to"):
        if other not in own and getattr(rule, other) not in (None, ()):
            raise InputError(f"{other} has no meaning here")
    if rule.action == "drop":
        return Drop()
    if rule.action == "hash":
        if key is None:
            raise InputError("there is no key; name its environment variable with key_env, or its file with key_file")
        return Hash(key)
    return _mask(rule) if rule.action == "mask" else _round(rule)


def _mask(rule: Rule) -> Mask:
    if not rule.pattern:
        raise InputError("there is no pattern")
    try:
        pattern = re.compile(rule.pattern)
        pattern.sub(rule.replacement, "")
        if pattern.fullmatch(""):
            raise InputError(f"pattern {rule.pattern!r} matches where nothing is; let it match one character or more")
    except (re.error, IndexError) as why:
        raise InputError(f"pattern {rule.pattern!r} with replacement {rule.replacement!r}: {why}") from why
    mask = Mask(pattern, rule.replacement)
    try:
        mask.text(rule.replacement)
    except Unprotected as why:
        raise InputError(f"the replacement {rule.replacement!r} is matched by its own pattern and grows") from why
    return mask


def _round(rule: Rule) -> Action:
    given = [name for name in ("width", "edges", "to") if getattr(rule, name) not in (None, ())]
    if len(given) != 1:
        raise InputError("give one of width, edges (for numbers) and to (day, month, year: for dates)")
    if rule.to is not None:
        return RoundDate(rule.to)
    edges = tuple(map(_decimal, rule.edges))
    if list(edges) != sorted(set(edges)):
        raise InputError(f"edges {list(rule.edges)} do not ascend")
    if rule.width is not None and not 0 < rule.width < float("inf"):
        raise InputError(f"width is {rule.width}; it must be above 0")
    return RoundNumber(None if rule.width is None else _decimal(rule.width), edges)


def _decimal(number: float) -> Decimal:
    found = Decimal(str(number))
    if not found.is_finite():
        raise InputError(f"{number} is not a finite number")
    return Decimal(int(found)) if found == found.to_integral_value() else found


def key_of(spec: PolicySpec, environ: Mapping[str, str], folder: Path) -> bytes | None:
    """The key that a policy names, None where it names none. Raises InputError where it is not there."""
    if spec.key_env is not None and spec.key_file is not None:
        raise InputError("privacy: key_env and key_file are both given; keep one")
    if spec.key_env is not None:
        if not environ.get(spec.key_env):
            raise InputError(f"privacy: the environment variable {spec.key_env} of the key is not set")
        return environ[spec.key_env].encode()
    if spec.key_file is None:
        return None
    path = folder / Path(spec.key_file).expanduser()
    try:
        return path.read_bytes().rstrip(b"\r\n")
    except OSError as why:
        raise InputError(f"privacy: the key file {path} cannot be read: {why.strerror or why}") from why
