"""Field policies: what must never be stored is dropped, hashed, masked or rounded before a record touches a disk.

A policy fails closed: a payload in which a rule cannot be carried out is left out of its record and counted, and is
never stored as it came.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from driftline.capture import fields
from driftline.capture.actions import (
    Action,
    Hash,
    Mask,
    Unprotected,
    applied,
)
from driftline.capture.record import Payload, Record
from driftline.capture.rules import PolicySpec, Rule, action_of, key_of, where
from driftline.errors import InputError

Side: TypeAlias = Literal["input", "output"]

__all__ = ["Policy", "PolicySpec", "Protected", "Rule"]

UNKNOWN_TYPE: Final = "privacy: neither CSV nor JSON"
TRUNCATED: Final = "privacy: the body is truncated"
NOT_JSON: Final = "privacy: not valid JSON"
_decoder: Final = msgspec.json.Decoder(float_hook=Decimal)
_encoder: Final = msgspec.json.Encoder(decimal_format="number")


class Protected(NamedTuple):
    """A record under a policy, and why payloads were left out of it."""

    record: Record
    withheld: tuple[str, ...] = ()
    """A reason for each payload that is left out."""
    lost: tuple[str, ...] = ()
    """Why single values are left out."""


class Policy:
    """What is done to every record before it is written; rules apply in their order.

    Args:
        rules: see `Rule`.
        key: of the hashes, 16 bytes or more; it is never shown.
        input_columns, output_columns: the names of the values in a row without keys, for rules by name.
        header: the first line of a CSV input names its columns.

    Raises:
        InputError: a rule has no meaning; with its number.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        key: bytes | None = None,
        input_columns: Sequence[str] = (),
        output_columns: Sequence[str] = (),
        header: bool = False,
    ) -> None:
        self.rules = tuple(rules)
        self.columns: Mapping[Side, tuple[str, ...]] = {"input": tuple(input_columns), "output": tuple(output_columns)}
        self.header = header
        self._key_mark = None if key is None else Hash(key).mark()
        self._of: dict[str, list[_Done]] = {on: [] for on in ("input", "output", "attributes", "id")}
        for number, rule in enumerate(self.rules, 1):
            done = _Done.of(rule, action_of(number, rule, key))
            self._check_name(number, rule)
            for on in ("input", "output") if rule.on == "both" else (rule.on,):
                self._of[on].append(done)

    def __repr__(self) -> str:
        return f"Policy({', '.join(f'{rule.action} {where(rule)}' for rule in self.rules)})"

    @classmethod
    def of(cls, spec: PolicySpec, environ: Mapping[str, str] | None = None, folder: Path = Path()) -> Policy:
        """The policy that a file declares; a relative `key_file` is relative to `folder`.

        Raises:
            InputError: a rule has no meaning, or the key is not there.
        """
        return cls(
            spec.rules,
            key=key_of(spec, os.environ if environ is None else environ, folder),
            input_columns=spec.input_columns,
            output_columns=spec.output_columns,
            header=spec.header,
        )

    def told(self) -> dict[str, Any]:
        """For JSON: the rules as they were written down, and of the key a mark by which another one can be told."""
        columns = {f"{side}_columns": list(names) for side, names in self.columns.items() if names}
        mark = {} if self._key_mark is None else {"key": self._key_mark}
        header = {"header": True} if self.header else {}
        return {"rules": [msgspec.to_builtins(rule) for rule in self.rules], **columns, **header, **mark}

    def apply(self, record: Record) -> Record:
        """The record as it may be stored."""
        return self.protect(record).record

    def protect(self, record: Record) -> Protected:
        """The record as it may be stored, and what was left out of it."""
        withheld: list[str] = []
        lost: set[str] = set()
        sides: dict[Side, Payload | None] = {"input": record.input, "output": record.output}
        for side, payload in sides.items():
            if payload is not None and self._of[side]:
                try:
                    sides[side] = self._payload(side, payload, lost)
                except Unprotected as why:
                    sides[side] = None
                    withheld.append(str(why))
        join_id = self.join_id(record.join_id)
        ids = {} if join_id == record.join_id else _renamed(record, join_id)
        made = replace(record, **sides, **ids, custom_attributes=self._attributes(record.custom_attributes))
        return Protected(made, tuple(withheld), tuple(sorted(lost)))

    def join_id(self, join_id: str) -> str | None:
        """What a label must name for the request with this id; None where the policy drops the caller's ids."""
        found: Any = join_id
        for rule in self._of["id"]:
            found = applied(rule.action, found, set())
            if not isinstance(found, str):
                return None
        return found or None

    def column_actions(self, names: Sequence[str], sides: Sequence[Side] = ("input", "output")) -> list[list[Action]]:
        """For each column of a data set of decoded rows (nested keys as `a.b`) what the policy does to its values."""
        found: list[list[Action]] = [[] for _ in names]
        for rule in dict.fromkeys(rule for side in sides for rule in self._of[side]):
            for at, name in enumerate(names):
                if rule.meets(name, at):
                    found[at].append(rule.action)
        return found

    def _check_name(self, number: int, rule: Rule) -> None:
        declared = [c for side, columns in self.columns.items() if rule.on in (side, "both") for c in columns]
        if rule.name is not None and declared and rule.name not in declared:
            raise InputError(
                f"rule {number} is about {rule.name!r}, which is not among the declared columns "
                f"({', '.join(declared)}); write its name as there, or give a path"
            )

    def _payload(self, side: Side, payload: Payload, lost: set[str]) -> Payload:
        if payload.truncated:
            raise Unprotected(TRUNCATED)
        if payload.encoding == "BASE64":
            raise Unprotected(UNKNOWN_TYPE)
        if payload.encoding == "CSV":
            return replace(payload, data=self._csv(side, payload.data, lost))
        try:
            return replace(payload, data=self._json(side, payload.data, lost))
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as why:
            raise Unprotected(NOT_JSON) from why

    def _json(self, side: Side, text: str, lost: set[str]) -> str:
        if not text.strip():
            return text
        try:
            return _encoder.encode(self._document(side, _decoder.decode(text), lost)).decode()
        except msgspec.DecodeError:
            lines = [line for line in text.split("\n") if line.strip()]
            if len(lines) < 2:
                raise
        made = [_encoder.encode(self._document(side, _decoder.decode(line), lost)).decode() for line in lines]
        return "\n".join(made) + ("\n" if text.endswith("\n") else "")

    def _document(self, side: Side, document: Any, lost: set[str]) -> Any:
        for rule in self._of[side]:
            if rule.steps:
                document = fields.by_path(document, rule.steps, rule.action, lost)
            elif rule.name is not None:
                document = self._named(side, document, rule, lost)
            elif rule.index is not None:
                document = _indexed(side, document, rule, rule.index, lost)
            else:
                document = applied(rule.action, document, lost)
        return document

    def _named(self, side: Side, document: Any, rule: _Done, lost: set[str]) -> Any:
        name, columns = rule.name or "", self.columns[side]
        if fields.bears(document, name):
            return fields.by_name(document, name, rule.action, lost)
        widths = [
            width for width in fields.nameless(document, answers=side == "output" and not columns) if width is not None
        ]
        if not widths or not self._declared(side, name):
            return document
        if any(width != len(columns) for width in widths):
            raise Unprotected(fields.OTHER_WIDTH)
        position = columns.index(name)
        return fields.by_position(document, lambda _: position, rule.action, lost, answers=False)

    def _declared(self, side: Side, name: str) -> bool:
        """Whether the name is a column of the rows of this side; Unprotected where nobody can say."""
        if not self.columns[side] and not (side == "output" and name in self.columns["input"]):
            raise Unprotected(fields.NO_NAMES)
        return name in self.columns[side]

    def _csv(self, side: Side, text: str, lost: set[str]) -> str:
        rules = self._of[side]
        if all(rule.everywhere for rule in rules):
            return _masked(rules, text)
        rows = fields.read_rows(text)
        head = rows[:1] if self.header and side == "input" else []
        names = tuple(head[0]) if head else self.columns[side]
        for rule in rules:
            if rule.everywhere:
                text = _masked([rule], fields.write_rows(rows, text))
                rows = fields.read_rows(text)
                continue
            if rule.steps:
                raise Unprotected("privacy: a path is asked for in CSV")
            if rule.name is not None:
                if not head and not self._declared(side, rule.name):
                    continue
                places = [at for at, name in enumerate(names) if name == rule.name]
                width: int | None = len(names)
            else:
                places, width = [rule.index or 0], None
            _column(rows[len(head) :], places, width, rule.action, lost)
        return fields.write_rows(rows, text)

    def _attributes(self, attributes: tuple[str, ...]) -> tuple[str, ...]:
        for rule in self._of["attributes"]:
            attributes = tuple(v for each in attributes if isinstance(v := applied(rule.action, each, set()), str))
        return attributes


class _Done(Struct, frozen=True):
    """A rule, ready to be carried out."""

    action: Action
    name: str | None
    index: int | None
    steps: fields.Steps

    @classmethod
    def of(cls, rule: Rule, action: Action) -> _Done:
        return cls(action, rule.name, rule.index, () if rule.path is None else fields.parse_path(rule.path))

    @property
    def everywhere(self) -> bool:
        """Whether it is about all values."""
        return self.name is None and self.index is None and not self.steps

    def meets(self, column: str, at: int) -> bool:
        """Whether it is about the column of a data set whose rows are what is listed in a request."""
        if self.index is not None or self.everywhere:
            return self.everywhere or at == self.index
        parts = column.split(".")
        if self.name is not None:
            return self.name == column or self.name in parts
        steps = list(self.steps)
        if steps and (steps[0] in fields.ROW_LISTS or not isinstance(steps[0], str)) and len(steps) > 1:
            del steps[: 1 + (isinstance(steps[0], str) and not isinstance(steps[1], str))]
        return len(steps) <= len(parts) and all(s is None or str(s) == p for s, p in zip(steps, parts, strict=False))


def _indexed(side: Side, document: Any, rule: _Done, index: int, lost: set[str]) -> Any:
    widths = list(fields.nameless(document, answers=False))
    if not widths or None in widths:
        raise Unprotected(fields.NO_ROWS)

    def at(width: int) -> int:
        if index >= width:
            raise Unprotected(fields.OTHER_WIDTH)
        return index

    return fields.by_position(document, at, rule.action, lost, answers=side == "output")


def _column(rows: list[list[str]], places: list[int], width: int | None, action: Action, lost: set[str]) -> None:
    for row in rows:
        if (width is not None and len(row) != width) or any(at >= len(row) for at in places):
            raise Unprotected(fields.OTHER_WIDTH)
        for at in places:
            row[at] = fields.csv_field(action, row[at], lost)


def _masked(rules: Sequence[_Done], text: str) -> str:
    for rule in rules:
        if isinstance(rule.action, Mask):
            text = rule.action.text(text)
    return text


def _renamed(record: Record, join_id: str | None) -> dict[str, str | None]:
    if record.inference_id:
        return {"inference_id": join_id}
    return {} if join_id is None else {"event_id": join_id}
