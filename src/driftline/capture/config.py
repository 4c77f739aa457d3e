"""A capture as a YAML file declares it: every argument of `Capture` is a key, every mistake has its line."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct, structs

from driftline.capture.layout import name
from driftline.capture.privacy import Policy
from driftline.capture.routes import Routes
from driftline.capture.rules import PolicySpec
from driftline.capture.rules import Rule as PolicyRule
from driftline.capture.sampler import Rule, Sampling
from driftline.capture.spool import Spool
from driftline.errors import InputError
from driftline.settings import read_settings
from driftline.yamlfile import KeyPath, Reader, decoded, read_text

if TYPE_CHECKING:
    from driftline.capture.watch import Watch

FILE: Final = "DRIFTLINE_CAPTURE_CONFIG"
"""The environment variable that names the file."""
_SIZES: Final = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


class RuleSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """A share for some of the requests."""

    rate: float = 1.0
    errors: bool = False
    endpoint: str | None = None
    variant: str | None = None
    path: str | None = None
    attribute: str | None = None
    header: str | None = None


class SamplingSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """Which requests are captured."""

    rate: float = 1.0
    rules: tuple[RuleSpec, ...] = ()
    most_per_second: float | None = None


class SpoolSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """Where records wait on the local disk."""

    folder: str | None = None
    most_bytes: int = 4 << 30
    free_bytes: int = 256 << 20
    free_share: float = 0.01
    sync_every_s: float = 1.0


class GatewaySpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The options of `driftline gateway`; None: as the command has it."""

    upstream: str | None = None
    one_endpoint: bool | None = None
    id_header: str | None = None
    connect_timeout: float | None = None
    read_timeout: float | None = None
    rewrite_host: bool | None = None
    host: str | None = None
    port: int | None = None
    admin_host: str | None = None
    admin_port: int | None = None
    max_connections: int | None = None
    drain: float | None = None


class SinkSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The options of `driftline sink`; None: as the command has it."""

    names: str | None = None
    mode: Literal["all", "request", "response"] | None = None
    id_header: str | None = None
    wait: float | None = None
    most_waiting: int | None = None
    host: str | None = None
    port: int | None = None
    admin_host: str | None = None
    admin_port: int | None = None
    max_connections: int | None = None
    drain: float | None = None


class ConfigSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """What the file says."""

    endpoint: str
    variant: str = "AllTraffic"
    store: str | None = None
    sampling: SamplingSpec = SamplingSpec()
    privacy: PolicySpec | None = None
    format: Literal["jsonl", "parquet"] = "jsonl"
    spool: SpoolSpec | None = SpoolSpec()
    """None: what waits, waits in memory."""
    csv_content_types: tuple[str, ...] = ("text/csv",)
    json_content_types: tuple[str, ...] = ("application/json",)
    roll_after_s: float = 60.0
    max_file_bytes: int = 64 << 20
    queue_size: int = 10_000
    queue_bytes: int = 64 << 20
    paths: tuple[str, ...] | None = None
    max_body_bytes: int = 6 << 20
    gateway: GatewaySpec = GatewaySpec()
    sink: SinkSpec = SinkSpec()


class Config(Struct, frozen=True):
    """A file that was read, and what it means."""

    file: Path
    text: bytes
    spec: ConfigSpec
    store: str
    sampling: Sampling
    privacy: Policy | None
    spool: Spool | Literal[False]
    fixed: frozenset[str] = frozenset()
    """Keys that do not count: the program said something else."""

    def watched(self, sample: Callable[[Sampling], None], protect: Callable[[Policy | None], None]) -> Watch:
        """The file, to be looked at while the capture runs."""
        from driftline.capture.watch import Watch

        return Watch(self, sample, protect)

    def arguments(self) -> dict[str, Any]:
        """The arguments of `Capture`."""
        own = ("store", "sampling", "privacy", "spool")
        plain = {
            key: value
            for key, value in structs.asdict(self.spec).items()
            if key not in (*own, "paths", "max_body_bytes", "gateway", "sink")
        }
        return plain | {key: getattr(self, key) for key in own}


def config_file(file: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Path:
    """The file that is given, or that the environment names. Raises InputError where there is none."""
    named = file or environ.get(FILE)
    if not named:
        raise InputError(f"there is no config of the capture: name its file, or set {FILE}")
    return Path(named).absolute()


def read_config(
    path: Path,
    environ: Mapping[str, str] | None = None,
    *,
    text: bytes | None = None,
    fixed: frozenset[str] = frozenset(),
) -> Config:
    """The file at `path`, checked; `text` is what it holds, where that was read already.

    Relative paths in it are relative to its folder.

    Raises:
        NotFound: there is no such file.
        InputError: with the file, the line and the key.
    """
    content = read_text(path) if text is None else decoded(text, path)
    reader = _Reader(str(path), path.absolute().parent)
    return reader.config(content, path, os.environ if environ is None else environ, fixed)


class _Reader(Reader):
    """Reads one config."""

    def config(self, text: str, path: Path, environ: Mapping[str, str], fixed: frozenset[str]) -> Config:
        tree = self.tree(text, ConfigSpec.__struct_fields__)
        tree.pop("version")
        spec = self.spec(tree)
        for key in ("endpoint", "variant"):
            self.meant((key,), lambda key=key: name(key, getattr(spec, key)))
        self.numbers(spec)
        if spec.paths == ():
            self.fail(("paths",), "there is none in it; name one, or leave the key out")
        if spec.paths is not None:
            self.meant(("paths",), lambda: Routes(spec.paths or ()))
        store = read_settings(environ).objects if spec.store is None else self.absolute(spec.store, ("store",))
        sampling, privacy = self.sampling(spec.sampling), self.policy(spec, environ)
        return Config(path, text.encode(), spec, store, sampling, privacy, self.spool(spec), fixed)

    def spec(self, tree: dict[str, Any]) -> ConfigSpec:
        """The shape: what may be written short is written out first."""
        if isinstance(tree.get("sampling"), (int, float, str, bool)):
            tree["sampling"] = {"rate": tree["sampling"]}
        if isinstance(tree.get("spool"), str):
            tree["spool"] = {"folder": tree["spool"]}
        if tree.get("spool") is False:
            tree["spool"] = None
        elif "spool" in tree and not isinstance(tree["spool"], dict):
            self.fail(("spool",), f"it is {tree['spool']!r}; write a folder, keys, or false for none")
        if isinstance(tree.get("paths"), str):
            tree["paths"] = [tree["paths"]]
        sections = {
            "sampling": SamplingSpec,
            "spool": SpoolSpec,
            "privacy": PolicySpec,
            "gateway": GatewaySpec,
            "sink": SinkSpec,
        }
        self.sizes(tree, ())
        self.check_keys(ConfigSpec, tree, ())
        for key, kind in sections.items():
            if key in tree and not (key == "spool" and tree[key] is None):
                if not isinstance(tree[key], dict):
                    self.fail((key,), f"must hold keys, but it is {tree[key]!r}")
                self.sizes(tree[key], (key,))
                self.check_keys(kind, tree[key], (key,))
        for key, rule in (("sampling", RuleSpec), ("privacy", PolicyRule)):
            self.rules(tree.get(key) or {}, key, rule)
        found: ConfigSpec = self.converted(ConfigSpec, tree, ())
        return found

    def rules(self, section: dict[str, Any], key: str, kind: Any) -> None:
        rules = section.get("rules", [])
        if not isinstance(rules, list):
            self.fail((key, "rules"), f"must be a list of rules, each with its keys, but it is {rules!r}")
        for number, rule in enumerate(rules):
            if not isinstance(rule, dict):
                self.fail((key, "rules", number), f"a rule must hold keys, but it is {rule!r}")
            self.check_keys(kind, rule, (key, "rules", number))

    def sizes(self, section: dict[str, Any], path: KeyPath) -> None:
        """Numbers of bytes may be written as 64 MiB."""
        for key, value in section.items():
            found = re.fullmatch(r"(\d{1,9}) ?([KMGT]iB)", value) if isinstance(value, str) else None
            if found and key.endswith("_bytes"):
                section[key] = int(found[1]) * _SIZES[found[2]]
            elif isinstance(value, str) and key.endswith("_bytes"):
                self.fail((*path, key), f"{value!r} is no size; write a number of bytes, or one of {', '.join(_SIZES)}")

    def numbers(self, spec: ConfigSpec) -> None:
        for key in ("roll_after_s", "max_file_bytes", "queue_size", "queue_bytes"):
            if not getattr(spec, key) > 0:
                self.fail((key,), f"it is {getattr(spec, key)}; it must be above 0")
        if spec.max_body_bytes < 0:
            self.fail(("max_body_bytes",), f"it is {spec.max_body_bytes}; it is a number of bytes, 0 or more")

    def sampling(self, spec: SamplingSpec) -> Sampling:
        rules = [
            self.meant(("sampling", "rules", number), lambda rule=rule: Rule(**structs.asdict(rule)))
            for number, rule in enumerate(spec.rules)
        ]
        made: Sampling = self.meant(("sampling",), lambda: Sampling(spec.rate, rules, spec.most_per_second))
        return made

    def policy(self, spec: ConfigSpec, environ: Mapping[str, str]) -> Policy | None:
        if spec.privacy is None:
            return None
        try:
            return Policy.of(spec.privacy, environ, self.folder)
        except InputError as why:
            numbered = re.match(r"rule (\d+)", str(why))
            self.fail(
                ("privacy", "rules", int(numbered[1]) - 1) if numbered else ("privacy",),
                str(why).removeprefix("privacy: "),
            )

    def spool(self, spec: ConfigSpec) -> Spool | Literal[False]:
        if spec.spool is None:
            return False
        given = structs.asdict(spec.spool)
        if spec.spool.folder is not None:
            given["folder"] = self.absolute(spec.spool.folder, ("spool", "folder"))
        made: Spool = self.meant(("spool",), lambda: Spool(**given).checked())
        return made

    def meant(self, path: KeyPath, make: Any) -> Any:
        """What `make` gives; what it refuses has its line."""
        try:
            return make()
        except InputError as why:
            self.fail(path, str(why))
