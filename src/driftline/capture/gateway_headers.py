"""What of a request's and an answer's head goes on, and what is of one connection only."""

from __future__ import annotations

from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OURS = _HOP | {"expect", "via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}
# What a caller must not have removed on the way by naming it in Connection: framing, routing, whose record it is.
_STAYS = frozenset({"content-length", "content-type", "content-encoding", "host", "authorization", "cookie"})


def target(request: web.Request) -> str | None:
    """What is asked for, from the slash on, exactly as it was written; None where that is no path of this server."""
    given = request.raw_path
    if given.startswith("/"):
        return given
    scheme, found, rest = given.partition("://")
    if found and scheme.lower() in ("http", "https"):
        return "/" + rest.partition("/")[2]
    if given == "*" and request.method == "OPTIONS":
        return "/*"
    return None


def to_upstream(request: web.Request, via: str, upstream_host: str, *, rewrite_host: bool) -> CIMultiDict[str]:
    """The headers of the request as the upstream gets them: with who asked, for which host, and by which gateway."""
    given = request.headers
    headers = _passed_on(given, _OURS)
    host = given.get(hdrs.HOST, "")
    if rewrite_host or not host:
        headers[hdrs.HOST] = upstream_host
    peer = request.remote or "unknown"
    before = ", ".join(given.getall(hdrs.X_FORWARDED_FOR, ()))
    headers[hdrs.X_FORWARDED_FOR] = f"{before}, {peer}" if before else peer
    headers[hdrs.X_FORWARDED_PROTO] = given.get(hdrs.X_FORWARDED_PROTO) or "http"
    headers[hdrs.X_FORWARDED_HOST] = given.get(hdrs.X_FORWARDED_HOST) or host or upstream_host
    own = f"{request.version.major}.{request.version.minor} {via}"
    headers[hdrs.VIA] = ", ".join((*given.getall(hdrs.VIA, ()), own))
    return headers


def to_caller(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """The headers of the answer as the caller gets them."""
    return _passed_on(headers, _HOP)


def _passed_on(headers: CIMultiDictProxy[str], but: frozenset[str]) -> CIMultiDict[str]:
    """The headers without those of one connection (also what Connection names), in order."""
    connection = headers.get(hdrs.CONNECTION)
    if connection is not None and connection.lower() not in ("keep-alive", "close"):
        but |= {word.strip().lower() for word in ",".join(headers.getall(hdrs.CONNECTION)).split(",")} - _STAYS
    return CIMultiDict([(name, value) for name, value in headers.items() if name.lower() not in but])
