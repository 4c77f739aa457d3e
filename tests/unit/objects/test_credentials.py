"""Credentials of S3: which of the usual places counts, seen by the key that a request is signed with."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.unit.objects.conftest import TinyS3

from driftline.errors import InputError, Unavailable
from driftline.objects.cloud import Cloud

LATER = "2099-01-01T00:00:00Z"
CREDENTIALS = """
[default]
aws_access_key_id = of-default
aws_secret_access_key = x
[team]
aws_access_key_id = of-team
aws_secret_access_key = x
aws_session_token = token-of-team
"""


def used(tiny: TinyS3) -> str:
    """The access key of the request."""
    Cloud("s3://tiny").put("a", b"x")
    return tiny.headers_of("PUT")["Authorization"].partition("Credential=")[2].partition("/")[0]


@pytest.fixture
def home(tmp_path: Path, tiny: TinyS3, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with profiles, and an environment without keys."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(CREDENTIALS)
    return tmp_path


class Roles(BaseHTTPRequestHandler):
    """What gives roles away: the agent of a container, the metadata of the machine."""

    def do_GET(self) -> None:
        own = {"/container": "of-container", "/latest/meta-data/iam/security-credentials/worker": "of-machine"}
        if self.path in own:
            given = {"AccessKeyId": own[self.path], "SecretAccessKey": "x", "Token": "t", "Expiration": LATER}
            self.answer(json.dumps({**given, "Code": "Success"}))
        else:
            self.answer("worker")

    def do_PUT(self) -> None:
        self.answer("metadata-token")

    def answer(self, text: str) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def roles() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Roles)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_keys_in_the_environment_come_first(tiny: TinyS3, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    assert used(tiny) == "of-environment"


def test_without_them_the_default_profile_counts(tiny: TinyS3, home: Path) -> None:
    assert used(tiny) == "of-default"


def test_a_named_profile_counts_with_its_token(tiny: TinyS3, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "team")
    assert used(tiny) == "of-team"
    assert tiny.headers_of("PUT")["x-amz-security-token"] == "token-of-team"


def test_a_profile_says_region_and_endpoint_where_the_environment_does_not(
    tiny: TinyS3, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".aws/config").write_text(f"[profile team]\nregion = eu-north-1\nendpoint_url = {tiny.endpoint}\n")
    for name in ("AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_PROFILE", "team")
    assert used(tiny) == "of-team"
    assert "/eu-north-1/s3/" in tiny.headers_of("PUT")["Authorization"]


def test_a_container_gives_its_role(
    tiny: TinyS3, home: Path, roles: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("t")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{roles}/container")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    assert used(tiny) == "of-container"


def test_a_machine_gives_its_role(tiny: TinyS3, home: Path, roles: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".aws/credentials").unlink()
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", roles)
    assert used(tiny) == "of-machine"


def test_a_web_identity_goes_before_profiles_and_its_token_only_over_tls(
    tiny: TinyS3, home: Path, roles: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("jwt")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/worker")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", roles)
    with pytest.raises(Unavailable, match="has no TLS"):
        Cloud("s3://tiny", patience=timedelta(0)).put("a", b"x")
    assert tiny.asked == []


def test_a_profile_that_is_not_there_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(InputError, match=r"AWS_PROFILE='nobody' is not in .*; correct it, or add the profile there"):
        Cloud("s3://tiny")


def test_a_file_that_holds_no_profiles_is_named_without_what_it_holds(home: Path) -> None:
    (home / ".aws/credentials").write_text("aws_secret_access_key = hush\n")
    with pytest.raises(InputError, match=r"\.aws/credentials is not a file of profiles") as told:
        Cloud("s3://tiny")
    assert "hush" not in f"{told.value} {told.value.__cause__}"


def test_a_profile_that_needs_boto3_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".aws/config").write_text("[profile role]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = default\n")
    monkeypatch.setenv("AWS_PROFILE", "role")
    with pytest.raises(InputError, match="needs boto3: pip install boto3"):
        Cloud("s3://tiny")
