"""What the gateway tells a tap: the headers of a prediction and of its answer."""

from __future__ import annotations

from multidict import CIMultiDictProxy

from driftline.capture.routes import Asked
from driftline.capture.tap import CUSTOM_ATTRIBUTES, INVOKED_VARIANT, Tap, Tapping


def tap_of(tapping: Tapping, asked: Asked, headers: CIMultiDictProxy[str], path: str, inference_id: str | None) -> Tap:
    """The tap of a prediction whose headers have come."""
    tap = Tap(tapping, asked, path, inference_id, tuple(headers.getall(CUSTOM_ATTRIBUTES, ())), headers.get)
    tap.asks(headers.get("Content-Type"), headers.get("Content-Encoding"))
    return tap


def begin(tap: Tap, status: int, headers: CIMultiDictProxy[str]) -> None:
    """The upstream begins to answer."""
    tap.begin(status, headers.get("Content-Type"), headers.get("Content-Encoding"), headers.get(INVOKED_VARIANT))
