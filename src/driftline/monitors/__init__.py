"""The questions that can be asked of a window; a new one is one file, and one line here."""

from __future__ import annotations

from driftline.monitors.data_quality import DataQuality
from driftline.monitors.model_quality import ModelQuality
from driftline.monitors.monitor import Monitor, Profile

__all__ = ["DataQuality", "ModelQuality", "Monitor", "Profile"]
