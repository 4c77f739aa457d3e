"""Buckets whose stores have faults: conditions ignored, answers 500 for a while, listings in no order."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import BUCKET, S3Server
from tests.unit.objects.conftest import TinyS3

from driftline.capture import Capture, Counters
from driftline.capture.status import status
from driftline.errors import Conflict, InputError, NotFound, Unavailable
from driftline.objects.cloud import Cloud
from driftline.objects.credentials import endpoint_of
from driftline.objects.urls import Place


@pytest.mark.parametrize("conditions", ["ignored", "refused"])
def test_a_store_without_conditional_writes_is_found_out_and_told(
    tiny: TinyS3, conditions: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tiny.conditions = conditions
    store = Cloud("s3://tiny/x")
    with caplog.at_level(logging.WARNING):
        store.put("a", b"first", if_absent=True)
        with pytest.raises(Conflict, match="object 'a' is already there"):
            store.put("a", b"second", if_absent=True)
    assert store.get("a") == b"first"
    assert not store.enforces_conditions()
    (told,) = caplog.messages
    assert "s3://tiny/x" in told
    assert "does not refuse" in told


def test_a_store_with_conditional_writes_is_asked_once(tiny: TinyS3, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        store = Cloud("s3://tiny/x")
        for key in ("a", "b"):
            store.put(key + os.urandom(4).hex(), b"", if_absent=True)
    probes = [path for method, path, _ in tiny.asked if method == "PUT" and path.endswith(".driftline-probe")]
    assert len(probes) == 3, "two by the first process, one by the next"
    assert caplog.messages == []
    assert all(not entry.key.startswith(".") for entry in store.list(""))


@pytest.mark.parametrize(("conditions", "told"), [("enforced", 1), ("ignored", 0), ("refused", 0)])
def test_a_capture_finds_out_when_it_starts_and_says_so(tiny: TinyS3, conditions: Any, told: int) -> None:
    tiny.conditions = conditions
    capture = Capture("flights", "s3://tiny/x")
    capture.start()
    found: list[bool | None] = [None]
    deadline = time.monotonic() + 20
    while found == [None] and time.monotonic() < deadline:
        time.sleep(0.05)
        found = [p.conditional_writes for p in status(Cloud("s3://tiny/x"), datetime.now(UTC)).processes]  # noqa: TID251
    assert found == [bool(told)]
    assert f"driftline_capture_conditional_writes {told}" in capture.metrics()
    assert capture.close()
    assert capture.counters == Counters()


def test_what_waits_for_a_store_does_not_go_to_another_with_a_bucket_of_the_same_name(
    tiny: TinyS3, monkeypatch: pytest.MonkeyPatch, spool_root: Path
) -> None:
    def waiting() -> int:
        here = status(Cloud("s3://tiny/x", timedelta(0)), datetime.now(UTC)).processes  # noqa: TID251
        return sum(process.waiting_files for process in here)

    tiny.failing = 10**6
    capture = Capture("flights", Cloud("s3://tiny/x", patience=timedelta(0)))
    capture.log("1", "0")
    assert not capture.close(timeout_s=0.2)
    assert waiting() == 1
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://localhost:{tiny.port}")
    tiny.failing = 0
    with Capture("flights", "s3://tiny/x") as other:
        other.log("2", "0")
    assert waiting() == 0
    assert other.counters.written == sum(key.endswith(".jsonl") for key in tiny.objects) == 1
    monkeypatch.setenv("AWS_ENDPOINT_URL", tiny.endpoint)
    assert waiting() == 1


@pytest.mark.parametrize(
    ("url", "environ", "endpoint"),
    [
        ("s3://tiny", {}, ""),
        ("s3://tiny", {"AWS_ENDPOINT_URL": "https://a/"}, "https://a"),
        ("s3://tiny", {"AWS_ENDPOINT_URL": "https://a", "AWS_ENDPOINT_URL_S3": "https://b"}, "https://b"),
        ("gs://tiny", {"AWS_ENDPOINT_URL": "https://a"}, ""),
        ("az://tiny", {"AZURE_STORAGE_ACCOUNT_NAME": "us"}, "us"),
    ],
)
def test_buckets_of_one_name_are_told_apart(url: str, environ: dict[str, str], endpoint: str, tmp_path: Path) -> None:
    assert endpoint_of(Place.of(url), {"HOME": str(tmp_path), **environ}) == endpoint


def test_a_store_that_is_away_at_the_start_is_asked_again(tiny: TinyS3) -> None:
    tiny.failing = 5
    capture = Capture("flights", Cloud("s3://tiny/x", patience=timedelta(0)))
    capture.start()
    deadline = time.monotonic() + 20
    while "conditional_writes 1" not in capture.metrics() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "driftline_capture_conditional_writes 1" in capture.metrics()
    assert capture.close()


def test_a_store_that_fails_for_a_while_is_asked_again(tiny: TinyS3) -> None:
    store = Cloud("s3://tiny")
    for act in (lambda: store.put("a", b"x"), lambda: store.get("a"), lambda: list(store.list(""))):
        tiny.failing = 3
        act()
        assert tiny.failing == 0


def test_a_store_that_goes_on_failing_is_unavailable_after_the_patience(tiny: TinyS3) -> None:
    tiny.failing = 10**6
    with pytest.raises(Unavailable, match=rf"cannot write object 'a' in s3://tiny: {tiny.endpoint} answers 500"):
        Cloud("s3://tiny", patience=timedelta(seconds=0.5)).put("a", b"x")


def test_a_create_whose_answer_was_lost_is_recognised(tiny: TinyS3) -> None:
    """The store has the object, answered 500, and refuses the repeat: the caller must learn that it is there."""
    store = Cloud("s3://tiny")
    assert store.enforces_conditions()
    tiny.objects["a"] = b"mine"
    tiny.failing = 1
    with pytest.raises(Conflict):
        store.put("a", b"mine", if_absent=True)


def test_a_listing_in_no_order_is_sorted_by_bytes(tiny: TinyS3) -> None:
    written = ["b", "a/x", "a-b", "é", "Z", "a.b"]
    tiny.objects = dict.fromkeys(written, b"")
    assert [entry.key for entry in Cloud("s3://tiny").list("")] == sorted(written, key=str.encode)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"AWS_SERVER_SIDE_ENCRYPTION": "AES256"}, {"": "AES256"}),
        (
            {"AWS_SERVER_SIDE_ENCRYPTION": "aws:kms", "AWS_SSE_KMS_KEY_ID": "arn:aws:kms:x"},
            {"": "aws:kms", "-aws-kms-key-id": "arn:aws:kms:x"},
        ),
        ({"AWS_SERVER_SIDE_ENCRYPTION": "aws:kms", "AWS_SSE_BUCKET_KEY_ENABLED": "true"}, {"": "aws:kms"}),
        ({}, {"": None}),
    ],
    ids=["with keys of the store", "with a key of KMS", "with a key of the bucket", "none asked for"],
)
def test_the_encryption_of_the_environment_is_asked_for(
    tiny: TinyS3, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], expected: dict[str, str | None]
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    Cloud("s3://tiny").put("a", b"x")
    headers = tiny.headers_of("PUT")
    assert {end: headers.get(f"x-amz-server-side-encryption{end}") for end in expected} == expected


@pytest.mark.parametrize(
    ("url", "environ", "match"),
    [
        (
            "s3://tiny",
            {"AWS_SERVER_SIDE_ENCRYPTION": "sse-c", "AWS_SSE_CUSTOMER_KEY_BASE64": "a" * 43 + "="},
            "AWS_SERVER_SIDE_ENCRYPTION is sse-c: keys of the customer are not supported",
        ),
        (
            "s3://tiny",
            {"AWS_SERVER_SIDE_ENCRYPTION": "aes256"},
            "AWS_SERVER_SIDE_ENCRYPTION is 'aes256'; it must be one of AES256, aws:kms, aws:kms:dsse, or not be set",
        ),
        ("s3://tiny", {"AWS_CHECKSUM_ALGORITHM": "none-such"}, "that begins with AWS_ has a value that cannot be used"),
        ("az://tiny", {}, "AZURE_STORAGE_ACCOUNT_NAME is not set"),
    ],
    ids=["keys of the customer", "no encryption", "another option", "no account"],
)
def test_an_environment_that_cannot_be_used_is_refused_by_name(
    tiny: TinyS3, monkeypatch: pytest.MonkeyPatch, url: str, environ: dict[str, str], match: str
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=match):
        Cloud(url)


def test_no_message_has_a_secret(tiny: TinyS3) -> None:
    store = Cloud("s3://tiny", patience=timedelta(0))
    tiny.failing = 10**6
    with pytest.raises(Unavailable) as told:
        store.put("a", b"x")
    assert "s3cret" not in f"{told.value!r} {told.value.__cause__!r} {store!r}"
    assert told.value.__cause__ is None


def test_a_store_that_is_not_there_is_named() -> None:
    with socket.socket() as nobody, pytest.MonkeyPatch.context() as environ:
        nobody.bind(("127.0.0.1", 0))
        for name, value in {"ENDPOINT_URL": f"http://127.0.0.1:{nobody.getsockname()[1]}", "REGION": "x"}.items():
            environ.setenv(f"AWS_{name}", value)
        environ.setenv("AWS_ACCESS_KEY_ID", "k")
        environ.setenv("AWS_SECRET_ACCESS_KEY", "k")
        with pytest.raises(Unavailable, match="is not reachable; is the endpoint right, and the store running"):
            Cloud("s3://tiny", patience=timedelta(0)).get("a")


def test_a_bucket_that_is_not_there_is_named(s3: str) -> None:
    with pytest.raises(Unavailable, match="there is no bucket 'nobodys'; make it, or correct the URL"):
        Cloud("s3://nobodys/x", patience=timedelta(0)).put("a", b"")


@pytest.mark.parametrize(
    ("key", "secret", "match"),
    [
        ("reader", None, "access denied .*these credentials may not do this"),
        ("driftline-test", "wrong", "does not accept the credentials .*AWS_PROFILE"),
        ("nobody", "wrong", "does not accept the credentials"),
    ],
    ids=["may only read", "wrong secret", "unknown key"],
)
def test_refused_credentials_are_told(
    s3: str, monkeypatch: pytest.MonkeyPatch, key: str, secret: str | None, match: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    if secret is not None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    with pytest.raises(Unavailable, match=match):
        Cloud(s3, patience=timedelta(0)).put("a", b"")


def test_a_store_that_is_killed_and_comes_back_is_waited_for(own_s3_server: S3Server) -> None:
    """SeaweedFS answers 500 for some seconds after its start."""
    with pytest.MonkeyPatch.context() as environ:
        for name, value in own_s3_server.environ.items():
            environ.setenv(name, value)
        store = Cloud(f"s3://{BUCKET}/x", patience=timedelta(seconds=60))
        for number in range(20):
            store.put(f"{number}", b"%d" % number)
        own_s3_server.stop(kill=True)
        again = threading.Timer(0.3, own_s3_server.start)
        again.start()
        assert [store.get(f"{number}") for number in range(20)] == [b"%d" % number for number in range(20)]
        store.put("new", b"x", if_absent=True)
        assert len(list(store.list(""))) == 21
        again.join()


def test_a_large_object_goes_in_parts_and_leaves_nothing_else(s3: str, tmp_path: Any) -> None:
    store, data = Cloud(s3), os.urandom(17 << 20)
    (tmp_path / "large").write_bytes(data)
    store.put_file("file", tmp_path / "large", if_absent=True)
    with pytest.raises(Conflict):
        store.put_file("file", tmp_path / "large", if_absent=True)
    assert store.get("file") == data
    assert staged(store) == []


def test_a_large_object_that_is_written_is_written_though_what_was_staged_cannot_be_removed(
    s3: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store, data = Cloud(s3), os.urandom(17 << 20)

    def refusing(act: str, key: str, call: Any) -> Any:
        if act == "delete":
            raise Unavailable(f"cannot delete object {key!r}: access denied")
        return Cloud._try(store, act, key, call)

    monkeypatch.setattr(store, "_try", refusing)
    store.put("large", data, if_absent=True)
    assert "access denied: it is of no use any more" in caplog.text
    with pytest.raises(Conflict):
        store.put("large", data, if_absent=True)
    assert store.get("large") == data


@pytest.mark.parametrize("step", ["copy", "delete"])
def test_what_a_killed_process_had_staged_of_a_large_object_goes_when_the_next_one_tries(
    s3: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    store, data = Cloud(s3), os.urandom(17 << 20)

    def killed(act: str, key: str, call: Any) -> Any:
        if act == "delete" or (step == "copy" and act == "write" and not key.startswith(".")):
            raise KeyboardInterrupt
        return Cloud._try(store, act, key, call)

    with monkeypatch.context() as dying:
        dying.setattr(store, "_try", killed)
        with pytest.raises(KeyboardInterrupt):
            store.put("large", data, if_absent=True)
    assert len(staged(store)) == 1
    with pytest.raises(Conflict) if step == "delete" else nullcontext():
        store.put("large", data, if_absent=True)
    assert store.get("large") == data
    assert staged(store) == []


def staged(store: Cloud) -> list[str]:
    """What was put where large objects are before they have their names."""
    return [meta["path"] for batch in store._store.list() for meta in batch if "staged" in meta["path"]]


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("ftp://b/x", "ftp:// is no kind of store that Driftline knows; there are s3://"),
        ("s3://", "the bucket is missing"),
        ("s3://key:secret@tiny/x", "characters that it cannot have"),
        ("s3://tiny/x?versionId=1", "Credentials and options belong into the environment"),
        ("s3://tiny/../c", "not allowed"),
    ],
)
def test_a_url_that_is_none_is_refused_without_repeating_it(url: str, match: str) -> None:
    with pytest.raises(InputError, match=match) as told:
        Cloud(url)
    assert "secret@" not in str(told.value)


def test_google_cloud_storage_is_asked_in_its_own_words(tiny: TinyS3, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny store speaks for it: no emulator that installs here takes what the client writes."""
    account = {"gcs_base_url": tiny.endpoint, "disable_oauth": True, "client_email": "", "private_key": ""}
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps({**account, "private_key_id": ""}))
    monkeypatch.setenv("GOOGLE_BASE_URL", tiny.endpoint)
    store = Cloud("gs://tiny/x")
    store.put("a/b", b"first", if_absent=True)
    assert tiny.headers_of("PUT")["x-goog-if-generation-match"] == "0"
    with pytest.raises(Conflict, match="already there in gs://tiny/x"):
        store.put("a/b", b"second", if_absent=True)
    assert store.get("a/b") == b"first"
    assert [entry.key for entry in store.list("a/")] == ["a/b"]
    assert store.location("a/b") == "gs://tiny/x/a/b"
    store.delete("a/b")
    with pytest.raises(NotFound):
        store.get("a/b")


def test_nothing_at_a_key_is_not_found(tiny: TinyS3) -> None:
    with pytest.raises(NotFound, match="there is no object 'a' in s3://tiny"):
        Cloud("s3://tiny").get("a")
