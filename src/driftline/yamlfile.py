"""YAML as plain values, with the line of every key: so a mistake is named by file, line and key."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

import msgspec
import yaml

from driftline.errors import InputError, NotFound

KeyPath: TypeAlias = tuple[str | int, ...]
"""Where a value stands in a file: the keys and numbers above it."""
_TAGS: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq"))
_VERSION: Final = 1


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        NotFound: there is no such file.
        InputError: it is no text in UTF-8.
    """
    try:
        return decoded(path.read_bytes(), path)
    except FileNotFoundError as why:
        raise NotFound(f"{path}: there is no such file") from why
    except OSError as why:
        raise InputError(f"{path} cannot be read: {why}") from why


def decoded(data: bytes, path: Path) -> str:
    """The text that the file at `path` holds. Raises InputError."""
    try:
        return data.decode()
    except UnicodeDecodeError as why:
        raise InputError(f"{path} cannot be read as a text in UTF-8: {why}") from why


class Reader:
    """Reads one file; remembers the line of every key, for messages.

    Args:
        file: its name, for messages.
        folder: relative paths in it are relative to this.
    """

    def __init__(self, file: str, folder: Path) -> None:
        self.file = file
        self.folder = folder
        self.lines: dict[KeyPath, int] = {}

    def tree(self, text: str, keys: Collection[str]) -> dict[str, Any]:
        """What the file holds: `version: 1` and some of the keys. Raises InputError."""
        try:
            root = yaml.compose(text, Loader=yaml.BaseLoader)
        except yaml.YAMLError as why:
            mark = getattr(why, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark else ""
            raise InputError(f"{self.file}{where}: not YAML: {getattr(why, 'problem', None) or why}") from why
        except RecursionError as why:
            raise InputError(f"{self.file}: nested too deeply to be read; it needs no more than five levels") from why
        if root is None:
            self.fail((), "the file is empty; begin with version: 1")
        tree = self.plain(root, (), frozenset())
        if not isinstance(tree, dict):
            self.fail((), f"the file holds a {type(tree).__name__}; it must hold keys: version, {', '.join(keys)}")
        self.known_keys(tree, ("version", *keys), ())
        if type(tree.get("version")) is not int or tree["version"] != _VERSION:
            what = f"version {tree['version']!r} is not known" if "version" in tree else "key 'version' is missing"
            self.fail(("version",), f"{what}; this release reads version: {_VERSION}")
        return tree

    def fail(self, path: KeyPath, message: str) -> NoReturn:
        """Refuse what stands at the path. Raises InputError."""
        line = next((self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), 1)
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
        raise InputError(f"{self.file}, line {line}{f', {key}' if key else ''}: {message}")

    def plain(self, node: yaml.Node, path: KeyPath, above: frozenset[int]) -> Any:
        """The node as plain values. Only true and false are booleans: `on` is a key of ours."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        if node.tag not in _TAGS or id(node) in above:
            self.fail(path, "YAML tags and recursive aliases are not read; write the value out")
        above |= {id(node)}
        if isinstance(node, yaml.MappingNode):
            found: dict[str, Any] = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    self.fail(path, "a key must be a word")
                where = (*path, key.value)
                if key.value in found:
                    first = self.lines[where]
                    self.lines[where] = key.start_mark.line + 1
                    self.fail(where, f"the key stands here twice, first in line {first}; keep one of them")
                self.lines[where] = key.start_mark.line + 1
                found[key.value] = self.plain(value, where, above)
            return found
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*path, i), above) for i, item in enumerate(node.value)]
        return node.value if isinstance(node, yaml.ScalarNode) and node.style else _scalar(node.value)

    def known_keys(self, value: dict[str, Any], allowed: Collection[str], path: KeyPath) -> None:
        """Refuse other keys than these."""
        for key in value:
            if key not in allowed:
                self.fail((*path, key), f"unknown key {key!r}{nearest(key, allowed)}; allowed: {', '.join(allowed)}")

    def converted(self, kind: Any, value: Any, path: KeyPath) -> Any:
        """The value as `kind`, a shape of ours or a plain type. Raises InputError."""
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as why:
            message, _, at = str(why).partition(" - at `$")
            below = tuple(int(n) if n else key for key, n in re.findall(r"\.(\w+)|\[(\d+)\]", at))
            found, allowed = _at(value, below), _allowed(kind, below)
            if allowed:
                message = f"it must be one of {', '.join(allowed)}{nearest(str(found), allowed)}"
            self.fail((*path, *below), f"{message}; it is {found!r}")

    def check_keys(self, kind: Any, value: dict[str, Any], path: KeyPath, more: tuple[str, ...] = ()) -> None:
        """Refuse keys that the shape does not have, and miss those that it needs; `more` are allowed, too."""
        fields = msgspec.structs.fields(kind)
        names = (*more, *(field.name for field in fields))
        self.known_keys(value, names, path)
        for field in fields:
            if field.required and field.name not in value:
                self.fail(path, f"key {field.name!r} is missing; keys: {', '.join(names)}")

    def absolute(self, text: str, path: KeyPath) -> str:
        """The path, relative to the file's folder; a URL stays as it is."""
        try:
            return text if "://" in text else str((self.folder / Path(text).expanduser()).absolute())
        except RuntimeError as why:  # ~somebody who is not there
            self.fail(path, f"{text!r} has no meaning here: {why}")


def _scalar(text: str) -> Any:
    """A scalar without quotes, by the core rules of YAML 1.2."""
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"[-+]?\d{1,18}", text):
        return int(text)
    if re.fullmatch(r"[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?", text):
        return float(text)
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """What may have been meant, for the end of a message."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _allowed(kind: Any, path: KeyPath) -> tuple[str, ...]:
    """The words among which a value of this kind may choose at `path`; none where it is no choice of words."""
    from msgspec import inspect

    infos = _one_of(inspect.type_info(kind))
    for part in path:
        if isinstance(part, int):
            items = [info.item_type for info in infos if isinstance(info, inspect.VarTupleType)]
        else:
            structs = (info for info in infos if isinstance(info, inspect.StructType))
            items = [field.type for struct in structs for field in struct.fields if field.name == part]
        infos = [info for item in items for info in _one_of(item)]
    words = [str(value) for info in infos if isinstance(info, inspect.LiteralType) for value in info.values]
    return (*words, *(m.value for info in infos if isinstance(info, inspect.EnumType) for m in info.cls))


def _one_of(info: Any) -> list[Any]:
    return list(getattr(info, "types", (info,)))


def _at(value: Any, path: KeyPath) -> Any:
    for part in path:
        try:
            value = value[part]
        except (LookupError, TypeError):
            return value
    return value
