from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "numpy", "pyarrow", "duckdb", "sqlalchemy", "httpx", "scipy", "pandas", "starlette", "logging", "asyncio", "boto3",
    "msgspec", "obstore", "aiohttp", "yaml", "click", "rich", "ssl", "multiprocessing", "dataclasses", "inspect",
)  # fmt: skip


def test_capture_is_light() -> None:
    script = "import sys, driftline.capture\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "driftline.capture.asgi" in loaded
    assert not {module.partition(".")[0] for module in loaded} & set(HEAVY)
