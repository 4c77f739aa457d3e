"""Capture requests and answers inside an endpoint. Light: it runs in a stranger's process."""

from driftline.capture.asgi import CaptureMiddleware
from driftline.capture.client import Capture
from driftline.capture.counters import Counters
from driftline.capture.decorator import captured
from driftline.capture.routes import Asked
from driftline.capture.sampler import Rule, Sampling
from driftline.capture.spool import Spool
from driftline.capture.wsgi import CaptureWSGIMiddleware

__all__ = [
    "Asked",
    "Capture",
    "CaptureMiddleware",
    "CaptureWSGIMiddleware",
    "Counters",
    "Rule",
    "Sampling",
    "Spool",
    "captured",
]
