"""The same Flask application with the WSGI middleware in it: `gunicorn flask_app:app`."""

from __future__ import annotations

import os

from container import app as inner

from driftline.capture import Capture
from driftline.capture.wsgi import CaptureWSGIMiddleware

app = CaptureWSGIMiddleware(inner, Capture("churn", os.environ["STORE"]))
