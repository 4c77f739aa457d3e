"""Which requests are predictions, and of which endpoint and variant: read from the path that names a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Final, NamedTuple, TypeAlias, TypeVar
from urllib.parse import unquote

from driftline.capture.layout import name
from driftline.errors import InputError

PREDICTIONS = (
    "/invocations",
    "/endpoints/{endpoint}/invocations",
    "/endpoints/{endpoint}/invocations-response-stream",
    "/v1/models/{endpoint}:predict",
    "/v1/models/{endpoint}/versions/{variant}:predict",
    "/v2/models/{endpoint}/infer",
    "/v2/models/{endpoint}/versions/{variant}/infer",
    "/predictions/{endpoint}",
    "/predictions/{endpoint}/{variant}",
    "/predict",
    "/score",
)
"""SageMaker, MLflow, KServe V1, TensorFlow Serving, Open Inference Protocol V2, TorchServe, and two common ones."""

_PART = re.compile(r"\{([^{}]*)\}|(\*)")
_REMEMBERED = 1000
_LONGEST = 200  # characters of a path that is remembered: paths are the callers', and must not fill the memory


class Asked(NamedTuple):
    """What a path says about who was asked; None where it does not say."""

    endpoint: str | None = None
    variant: str | None = None


NOBODY: Final = Asked()
"""Where a path does not say who was asked."""


class Routes:
    """Templates of paths: `{endpoint}` and `{variant}` stand for one segment (or a part of it), `*` for anything.

    >>> routes = Routes(PREDICTIONS)
    >>> routes.asked("/v2/models/churn/versions/3/infer")
    Asked(endpoint='churn', variant='3')
    >>> routes.asked("/invocations")
    Asked(endpoint=None, variant=None)
    >>> routes.asked("/v2/health/ready") is None
    True
    """

    def __init__(self, templates: Collection[str], *, named: bool = True) -> None:
        """`named` false: the path decides only whether a request is a prediction, not whose."""
        self.templates = tuple(templates)
        self._named = named
        self._patterns = tuple(_pattern(template) for template in templates)
        self.known: dict[str, Asked | None] = {each: NOBODY for each in templates if not _PART.search(each)}
        """What `asked` says of paths that were asked for before, and of those that are templates as they are."""
        self._room = _REMEMBERED

    def asked(self, path: str) -> Asked | None:
        """Who is asked by a request to this path (without its query); None: it is no prediction.

        A segment that cannot be a name (see `layout.name`) names nobody: the request is of the tap's own endpoint.
        """
        if path in self.known:
            return self.known[path]
        asked = self._matched(path)
        if len(path) <= _LONGEST and self._room > 0:
            self._room -= 1
            self.known[path] = asked
        return asked

    def _matched(self, path: str) -> Asked | None:
        for pattern in self._patterns:
            found = pattern.fullmatch(path)
            if found:
                names = found.groupdict() if self._named else {}
                return Asked(named(names.get("endpoint")), named(names.get("variant")))
        return None


RequestT = TypeVar("RequestT")
Paths: TypeAlias = Collection[str] | Callable[[RequestT], "bool | Asked | None"]
"""Templates of paths, or a function that is asked with the request: whether it is a prediction, or whose."""


def watching(paths: Paths[RequestT]) -> Callable[[RequestT, str], Asked | None]:
    """Tells from a request and its path who is asked; None: it is no prediction."""
    if callable(paths):
        ask = paths

        def told(request: RequestT, _: str) -> Asked | None:
            answer = ask(request)
            return answer if isinstance(answer, Asked) else NOBODY if answer else None

        return told
    routes = Routes((paths,) if isinstance(paths, str) else paths)
    known = routes.known
    return lambda _, path: known[path] if path in known else routes.asked(path)


def named(text: str | None) -> str | None:
    """`text` if it can name an endpoint or a variant.

    >>> named("churn%2Dv2"), named("../x"), named(None)
    ('churn-v2', None, None)
    """
    if text is None:
        return None
    try:
        return name("name", unquote(text))
    except InputError:
        return None


def _pattern(template: str) -> re.Pattern[str]:
    if not template.startswith(("/", "*")):
        raise InputError(f"path {template!r} does not begin with a slash, such as /invocations or /models/{{endpoint}}")
    pattern, at, seen = "", 0, set[str]()
    for part in _PART.finditer(template):
        what = part[1]
        if part[2] is None and (what not in ("endpoint", "variant") or what in seen):
            raise InputError(f"path {template!r}: {{{what}}} is not {{endpoint}} or {{variant}}, or stands there twice")
        pattern += re.escape(template[at : part.start()]) + (".*" if part[2] else f"(?P<{what}>[^/]+?)")
        at = part.end()
        seen.add(what)
    return re.compile(pattern + re.escape(template[at:]), re.DOTALL)
