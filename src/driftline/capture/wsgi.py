"""The tap for WSGI applications (Flask, Django, …): it listens, and changes nothing but one header."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from driftline.capture.client import Capture
from driftline.capture.routes import Paths, watching
from driftline.capture.tap import CUSTOM_ATTRIBUTES, EVENT_ID, INFERENCE_ID, INVOKED_VARIANT, Tap, Tapping

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


def _variable(header: str) -> str:
    """Where the header is in the environment of a request: `content-type` in `CONTENT_TYPE`, others under `HTTP_…`."""
    name = header.upper().replace("-", "_")
    return name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"


_INFERENCE_ID = _variable(INFERENCE_ID)
_CUSTOM_ATTRIBUTES = _variable(CUSTOM_ATTRIBUTES)


class CaptureWSGIMiddleware:
    """Captures every POST to `paths`, with its answer.

    The body of the request and of the answer pass through untouched and as they come; what was seen of them is captured
    with the last byte. A request without an inference id gets an event id, returned in the header
    `X-Driftline-Event-Id`: labels refer to it.

    Args:
        paths: templates of the paths that are captured, as `Routes` reads them, or a function that is asked with the
            environment of the request and says whether it is a prediction, or by an `Asked` whose; default: those of
            the capture's config, else `PREDICTIONS`.
        max_body_bytes: of a longer body only so much is kept, and the record is marked as truncated; default: as the
            capture's config says, else 6 MiB.
        errors: whether errors are captured that no sampling rule for errors matches.
        metrics_path: where GET gives the counters of the process that answers to Prometheus; None: nowhere.
    """

    def __init__(
        self,
        app: WSGIApplication,
        capture: Capture,
        paths: Paths[WSGIEnvironment] | None = None,
        max_body_bytes: int | None = None,
        *,
        errors: bool = True,
        metrics_path: str | None = None,
    ) -> None:
        self._app = app
        self._tapping = Tapping(capture, max_body_bytes, errors=errors)
        self._asked = watching(capture.paths if paths is None else paths)
        self._metrics_path = metrics_path

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        method = environ.get("REQUEST_METHOD")
        if method == "POST":
            heard = self._heard(environ, start_response)
            if heard is not None:
                return self._tapped(heard, environ)
        elif self._metrics_path is not None and method in ("GET", "HEAD") and _path(environ) == self._metrics_path:
            return self._tell(start_response, head=method == "HEAD")
        return self._app(environ, start_response)

    def _heard(self, environ: WSGIEnvironment, start_response: StartResponse) -> _Heard | None:
        try:
            path = _path(environ)
            asked = self._asked(environ, path)
            if asked is None:
                return None
            get = environ.get
            inference_id, attributes = get(_INFERENCE_ID), get(_CUSTOM_ATTRIBUTES)
            heard = _Heard(
                self._tapping,
                asked,
                path,
                inference_id and _text(inference_id),
                () if attributes is None else (_text(attributes),),
                partial(_header, environ) if self._tapping.capture.sampler.ruled else None,
            )
            heard.start_response = start_response
            heard.gone = False
            if heard.keeps:
                kind, encoding, length = get("CONTENT_TYPE"), get("HTTP_CONTENT_ENCODING"), get("CONTENT_LENGTH")
                heard.asks(_text(kind) if kind else None, encoding and _text(encoding))
                chunked = "HTTP_TRANSFER_ENCODING" in environ
                environ["wsgi.input"] = _Input(
                    environ["wsgi.input"], heard, int(length) if length else None if chunked else 0
                )
            return heard
        except Exception as why:  # noqa: BLE001  whatever the caller sent, or the function that was given as `paths`
            self._tapping.failed(why)
            return None

    def _tapped(self, heard: _Heard, environ: WSGIEnvironment) -> Iterable[bytes]:
        try:
            answer = self._app(environ, heard.start)
        except BaseException:
            heard.failed()
            raise
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(answer, (list, tuple)) and type(answer) in (list, tuple):
            # All is there: the server gets the very object, for it may look at its length.
            heard.answers(answer)
        elif isinstance(wrapper, type) and isinstance(answer, wrapper):
            # The server sends a file by itself: its bytes are never seen here.
            heard.hidden()
        else:
            return (_Sized if hasattr(answer, "__len__") else _Answer)(answer, heard)
        return answer

    def _tell(self, start_response: StartResponse, *, head: bool) -> Iterable[bytes]:
        from driftline.capture.metrics import CONTENT_TYPE

        told = self._tapping.metrics()
        start_response("200 OK", [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(told)))])
        return [b"" if head else told]


class _Heard(Tap):
    """A prediction as it passes between the server and the application. Only what calls either of them may raise."""

    __slots__ = ("_write", "gone", "start_response")

    start_response: StartResponse
    """The server's."""
    gone: bool
    """Whether the body of the request could not be read: the caller has gone away."""

    def start(self, status: str, headers: list[tuple[str, str]], *more: Any, **named: Any) -> Callable[[bytes], object]:
        """Stands in for the server's `start_response`."""
        given = headers
        if self.event_id is not None and isinstance(headers, list):
            headers = [*headers, (EVENT_ID, self.event_id)]
        self._write = self.start_response(status, headers, *more, **named)
        try:
            kind = encoding = variant = None
            for name, value in given:
                if (name := name.lower()) == "content-type":
                    kind = _text(value)
                elif name == "content-encoding":
                    encoding = _text(value)
                elif name == INVOKED_VARIANT:
                    variant = _text(value)
            self.begin(int(status.partition(" ")[0]), kind, encoding, variant)
        except Exception as why:  # noqa: BLE001  the server took it: it is not for the tap to refuse it
            self.fail(why)
        return self.write

    def write(self, data: bytes) -> object:
        """Stands in for the function by which old applications send pieces of the answer."""
        done = self._write(data)
        self.gives(data)
        return done

    def gives(self, piece: bytes) -> None:
        """A piece of the answer, and it is not known whether it is the last."""
        try:
            self.saw(piece)
            if self.sated:
                self.finish()
        except Exception as why:  # noqa: BLE001  what is no piece of a body is the server's to refuse
            self.fail(why)

    def answers(self, pieces: Sequence[bytes]) -> None:
        """All pieces of the answer that were not written before."""
        if self.response is not None:
            try:
                for piece in pieces[:-1]:
                    self.saw(piece)
                self.saw_all(pieces[-1] if pieces else b"")
            except Exception as why:  # noqa: BLE001  as above
                self.fail(why)
        if not self.answered:
            self.broke()
        self.finish()

    def hidden(self) -> None:
        """The answer is not seen here."""
        self.response = None
        self.finish()

    def ended(self) -> None:
        """The answer is whole."""
        self.answers(())

    def failed(self) -> None:
        """The application failed, or the caller did while its body was read."""
        if not self.gone:
            self.broke()
        self.finish()


def _header(environ: WSGIEnvironment, name: str) -> str | None:
    value = environ.get(_variable(name))
    return None if value is None else _text(value)


class _Answer:
    """The pieces of an answer, as the server asks for them."""

    __slots__ = ("_answer", "_heard", "_pieces")

    def __init__(self, answer: Iterable[bytes], heard: _Heard) -> None:
        self._answer = answer
        self._heard = heard
        self._pieces: Iterator[bytes] | None = None

    def __iter__(self) -> _Answer:
        self._pieces = iter(self._answer)
        return self

    def __next__(self) -> bytes:
        if self._pieces is None:
            self._pieces = iter(self._answer)
        try:
            piece = next(self._pieces)
        except StopIteration:
            self._heard.ended()
            raise
        except BaseException:
            self._heard.failed()
            raise
        self._heard.gives(piece)
        return piece

    def close(self) -> None:
        """Asked by the server when it is done, or was left by its caller."""
        try:
            close = getattr(self._answer, "close", None)
            if close is not None:
                close()
        finally:
            self._heard.finish()


class _Sized(_Answer):
    """The same where the number of pieces is known: servers make a length of it where there is one."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._answer)  # type: ignore[arg-type]  # only made where there is one


class _Input:
    """The body of a request, as the application reads it."""

    __slots__ = ("_heard", "_left", "_stream")

    def __init__(self, stream: Any, heard: _Heard, length: int | None) -> None:
        self._stream = stream
        self._heard = heard
        self._left = length
        """Bytes to come; None where only the end tells."""
        if length == 0:
            heard.hears(b"", more=False)

    def read(self, *size: int) -> bytes:
        """Read, as `wsgi.input` has it."""
        data: bytes = self._passed(self._stream.read, *size)
        asked = size[0] if size else None
        self._saw(data, ended=asked is None or asked < 0 or (asked > 0 and not data))
        return data

    def readline(self, *size: int) -> bytes:
        """Read a line."""
        data: bytes = self._passed(self._stream.readline, *size)
        self._saw(data, ended=not data and size[:1] != (0,))
        return data

    def readlines(self, *hint: int) -> list[bytes]:
        """Read the lines that are left."""
        lines: list[bytes] = self._passed(self._stream.readlines, *hint)
        for line in lines:
            self._saw(line)
        self._saw(b"", ended=not lines or not hint)
        return lines

    def __iter__(self) -> Iterator[bytes]:
        lines = iter(self._stream)
        while line := self._passed(next, lines, b""):
            self._saw(line)
            yield line
        self._saw(b"", ended=True)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._stream, name)
        if name == "read1":
            return self._read1
        if name in ("readinto", "readinto1"):
            return lambda buffer: self._into(found, buffer)
        if name == "seek":
            self._heard.hears_again()
        return found

    def _read1(self, *size: int) -> bytes:
        data: bytes = self._passed(self._stream.read1, *size)
        self._saw(data, ended=not data and size[:1] != (0,))
        return data

    def _into(self, read: Callable[[Any], int | None], buffer: Any) -> int | None:
        count: int | None = self._passed(read, buffer)
        place = memoryview(buffer).cast("B")
        self._saw(bytes(place[: count or 0]), ended=count == 0 and len(place) > 0)
        return count

    def _passed(self, read: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return read(*arguments)
        except BaseException:
            self._heard.gone = True
            raise

    def _saw(self, data: bytes, *, ended: bool = False) -> None:
        try:
            if self._left is not None:
                self._left -= len(data)
                ended = self._left <= 0
            self._heard.hears(data, more=not ended)
        except Exception as why:  # noqa: BLE001  what the server gives is for the application to refuse
            self._heard.fail(why)


def _path(environ: WSGIEnvironment) -> str:
    return _text(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))


def _text(value: str) -> str:
    """What the server read as Latin-1, as WSGI wants it, read as UTF-8 where it is."""
    if value.isascii():
        return value.strip()
    try:
        return value.encode("latin-1").decode().strip()
    except UnicodeError:
        return value.strip()
