"""Azure Blob Storage as Azurite emulates it: `make azurite` installs it (from npm), and without it nothing is tried."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.conftest import free_ports

ACCOUNT, SECRET = "driftline", base64.b64encode(b"only for tests " * 4).decode()
CONTAINER = "tests"
_INSTALLED = Path(__file__).parents[2] / ".azurite/node_modules/.bin/azurite-blob"


@contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """The variables by which its clients find a server with an empty container."""
    program = _INSTALLED if _INSTALLED.exists() else shutil.which("azurite-blob")
    if program is None:
        pytest.skip("Azurite is not here: make azurite")
    (port,) = free_ports(1)
    options = ["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location", str(folder)]
    command = [str(program), *options, "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    environ = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{SECRET}"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while _make_container(port) != 201:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "Azurite did not come up"
            time.sleep(0.1)
        yield {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": SECRET,
            "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{ACCOUNT}",
        }
    finally:
        process.kill()
        process.wait(30)


def _make_container(port: int) -> int | None:
    """The status of the answer, None where there is none yet; the client that is tried makes no containers."""
    now = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")  # noqa: TID251  the server looks at its clock
    headers = {"x-ms-date": now, "x-ms-version": "2021-08-06"}
    path = f"/{ACCOUNT}/{CONTAINER}"
    signed = "\n".join(["PUT", *[""] * 11, *map(":".join, headers.items()), f"/{ACCOUNT}{path}", "restype:container"])
    digest = hmac.new(base64.b64decode(SECRET), signed.encode(), hashlib.sha256).digest()
    headers |= {"Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}", "Content-Length": "0"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with suppress(OSError, http.client.HTTPException), closing(connection):
        connection.request("PUT", f"{path}?restype=container", headers=headers)
        return connection.getresponse().status
    return None
