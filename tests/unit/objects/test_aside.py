"""A process that was forked from one that had used a bucket goes on using it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from driftline.capture.layout import captured_prefix
from driftline.objects.places import store_at

FORKED = """
import os, sys
from driftline.errors import Conflict, NotFound
from driftline.objects.places import store_at

store = store_at(sys.argv[1])
store.put("of/parent", b"x", if_absent=True)
child = os.fork()
if child == 0:
    store.put("of/child", b"y" * 100_000, if_absent=True)
    again = lambda: store.put("of/parent", b"", if_absent=True)
    for wrong, error in ((again, Conflict), (lambda: store.get("no"), NotFound)):
        try:
            wrong()
        except error:
            continue
        os._exit(3)
    assert [entry.key for entry in store.list("of/")] == ["of/child", "of/parent"]
    grandchild = os.fork()
    if grandchild == 0:
        store.put("of/grandchild", store.get("of/child"))
        os._exit(0)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
assert os.waitpid(child, 0)[1] == 0
store.put("of/parent", b"again")
"""
WORKERS = """
import os, sys
from driftline.capture import Capture

capture = Capture("loans", sys.argv[1], roll_after_s=0.1)
capture.log("1", "2", inference_id="of the parent")
assert capture.flush(30)
children = []
for number in range(2):
    if (child := os.fork()) == 0:
        capture.log("1", "2", inference_id=f"of child {number}")
        os._exit(0 if capture.close(30) in (None, True) else 4)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
capture.close(30)
"""


def test_a_forked_child_writes_reads_and_lists(s3: str) -> None:
    subprocess.run([sys.executable, "-c", FORKED, s3], check=True, timeout=60)
    store = store_at(s3)
    assert {entry.key: entry.size for entry in store.list("of/")} == {
        "of/child": 100_000, "of/grandchild": 100_000, "of/parent": 5
    }  # fmt: skip


def test_workers_that_are_forked_after_the_first_upload_capture_on(
    s3: str, tmp_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTLINE_SPOOL", str(tmp_path))
    subprocess.run([sys.executable, "-c", WORKERS, s3], check=True, timeout=90, env=os.environ)
    store = store_at(s3)
    lines = b"".join(store.get(entry.key) for entry in store.list(captured_prefix("loans", "AllTraffic")))
    assert sorted(name for name in (b"of the parent", b"of child 0", b"of child 1") if name in lines) == [
        b"of child 0", b"of child 1", b"of the parent"
    ]  # fmt: skip
