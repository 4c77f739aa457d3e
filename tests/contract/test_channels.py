"""What every channel does: deliver once, or say whether trying again can help."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import pytest

from driftline.channels.channel import Channel, Notice, SendError
from driftline.channels.command import Command
from driftline.channels.webhook import Webhook, sign, verify
from driftline.errors import InputError
from driftline.wire import CommandSpec, WebhookSpec

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NOTICE = Notice("decay/1/firing/team", "decay", "firing", "decay is firing", {"alarm": "decay", "ä": [1.5]}, NOW)


@dataclass
class Receiver:
    """A receiver of webhooks, on a real socket."""

    port: int = 0
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    here = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            here.requests.append((self.path, dict(self.headers), body))
            status, headers = here.answers.pop(0) if here.answers else (200, {})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"what  the server\nsays")

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        here.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield here
        server.shutdown()
        thread.join()


class Setup(Protocol):
    """A kind of channel, with its other side."""

    def good(self) -> Channel: ...
    def temporary(self) -> Channel: ...
    def permanent(self) -> Channel: ...
    def heard(self) -> list[dict[str, Any]]: ...


@dataclass
class WebhookSetup:
    receiver: Receiver

    def good(self) -> Channel:
        return Webhook(self.receiver.url, lambda: NOW, "secret")

    def temporary(self) -> Channel:
        self.receiver.answers.append((503, {}))
        return self.good()

    def permanent(self) -> Channel:
        self.receiver.answers.append((410, {}))
        return self.good()

    def heard(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.receiver.requests]


@dataclass
class CommandSetup:
    folder: Path

    def good(self) -> Channel:
        return command(self.folder, "import sys; open('heard', 'a').write(sys.stdin.read() + '\\n')")

    def temporary(self) -> Channel:
        return command(self.folder, "import sys; sys.exit('no more disk')")

    def permanent(self) -> Channel:
        return Command(("no-such-program",), self.folder)

    def heard(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "heard").read_text().splitlines()]


@pytest.fixture(params=["webhook", "command"])
def setup(request: pytest.FixtureRequest, receiver: Receiver, tmp_path: Path) -> Setup:
    return WebhookSetup(receiver) if request.param == "webhook" else CommandSetup(tmp_path)


def command(folder: Path, code: str, timeout: timedelta = timedelta(seconds=20)) -> Command:
    return Command((sys.executable, "-c", code), folder, timeout)


def test_a_notice_arrives_whole_with_its_key(setup: Setup) -> None:
    receipt = setup.good().send(NOTICE)
    assert receipt.status in (0, 200)
    assert setup.heard() == [
        {
            "alarm": "decay",
            "status": "firing",
            "ä": [1.5],
            "key": "decay/1/firing/team",
            "subject": "decay is firing",
            "created_at": "2026-03-01T00:00:00Z",
        }
    ]


def test_a_notice_that_is_sent_again_is_the_same(setup: Setup) -> None:
    channel = setup.good()
    channel.send(NOTICE)
    channel.send(NOTICE)
    assert setup.heard()[0] == setup.heard()[1]


def test_trouble_that_passes_is_temporary(setup: Setup) -> None:
    with pytest.raises(SendError) as caught:
        setup.temporary().send(NOTICE)
    assert not caught.value.permanent
    assert caught.value.status in (1, 503)


def test_trouble_that_stays_is_permanent(setup: Setup) -> None:
    with pytest.raises(SendError) as caught:
        setup.permanent().send(NOTICE)
    assert caught.value.permanent


# The webhook alone.


@pytest.mark.parametrize(
    ("status", "permanent"),
    [(400, True), (404, True), (408, False), (425, False), (429, False), (500, False), (502, False), (302, True)],
)
def test_the_status_says_whether_to_try_again(receiver: Receiver, status: int, permanent: bool) -> None:
    receiver.answers.append((status, {}))
    with pytest.raises(SendError, match=f"HTTP {status} from .*: what the server says") as caught:
        Webhook(receiver.url, lambda: NOW).send(NOTICE)
    assert (caught.value.permanent, caught.value.status) == (permanent, status)


def test_nobody_at_the_other_end_is_temporary() -> None:
    with pytest.raises(SendError, match="ConnectError") as caught:
        Webhook("http://127.0.0.1:9/hook?token=hidden", lambda: NOW).send(NOTICE)
    assert not caught.value.permanent
    assert "hidden" not in str(caught.value)


def test_a_redirect_on_the_same_host_is_followed(receiver: Receiver) -> None:
    receiver.answers.append((308, {"Location": "/moved"}))
    Webhook(receiver.url, lambda: NOW).send(NOTICE)
    assert [path for path, _, _ in receiver.requests] == ["/hook", "/moved"]


def test_a_redirect_to_another_host_is_not_followed(receiver: Receiver) -> None:
    receiver.answers.append((307, {"Location": "http://localhost:1/"}))
    with pytest.raises(SendError, match="another host, http://localhost:1/") as caught:
        Webhook(receiver.url, lambda: NOW).send(NOTICE)
    assert caught.value.permanent


@pytest.mark.parametrize("location", ["http://[", "http://127.0.0.1:99999/", "//user:@@["])
def test_a_redirect_to_what_is_no_url_is_permanent(receiver: Receiver, location: str) -> None:
    receiver.answers.append((307, {"Location": location}))
    with pytest.raises(SendError) as caught:
        Webhook(receiver.url, lambda: NOW).send(NOTICE)
    assert caught.value.permanent


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999/", "http://[", "ftp://host/", "nothing"])
def test_what_is_no_url_is_told_as_an_error_of_sending(url: str) -> None:
    with pytest.raises(SendError):
        Webhook(url, lambda: NOW).send(NOTICE)


def test_redirects_in_a_circle_end(receiver: Receiver) -> None:
    receiver.answers += [(307, {"Location": "/hook"})] * 9
    with pytest.raises(SendError, match="more than 3 redirects"):
        Webhook(receiver.url, lambda: NOW).send(NOTICE)


def test_the_receiver_can_verify_who_speaks(receiver: Receiver) -> None:
    Webhook(receiver.url, lambda: NOW, "secret").send(NOTICE)
    _, headers, body = receiver.requests[0]
    assert headers["Idempotency-Key"] == NOTICE.key
    assert verify("secret", headers, body, now=NOW)["alarm"] == "decay"
    lower = {name.lower(): value for name, value in headers.items()}
    assert verify("secret", lower, body)["alarm"] == "decay"


@pytest.mark.parametrize(
    ("secret", "change", "body", "message"),
    [
        ("other", {}, b'{"a": 1}', "signature is wrong"),
        ("secret", {}, b'{"a": 2}', "signature is wrong"),
        ("secret", {"Driftline-Timestamp": "1"}, b'{"a": 1}', "signature is wrong"),
        ("secret", {"Driftline-Signature": "v1=é"}, b'{"a": 1}', "signature is wrong"),
        ("secret", {"Driftline-Signature": "v0=00"}, b'{"a": 1}', "signature is wrong"),
    ],
    ids=["another secret", "another body", "another time", "not ASCII", "another version"],
)
def test_what_was_not_signed_like_this_is_refused(
    secret: str, change: dict[str, str], body: bytes, message: str
) -> None:
    headers = sign("secret", b'{"a": 1}', NOW) | change
    with pytest.raises(InputError, match=message):
        verify(secret, headers, body)


def test_an_unsigned_request_and_an_old_one_are_refused() -> None:
    with pytest.raises(InputError, match="not signed"):
        verify("secret", {}, b"{}")
    with pytest.raises(InputError, match="more than 0:05:00"):
        verify("secret", sign("secret", b"{}", NOW), b"{}", now=NOW + timedelta(minutes=6))
    with pytest.raises(InputError, match="not JSON"):
        verify("secret", sign("secret", b"{", NOW), b"{")


def test_the_secret_comes_from_the_environment_and_is_not_shown() -> None:
    spec = WebhookSpec(url="http://h/x?token=hidden", secret_env="HOOK")  # noqa: S106
    channel = Webhook.of(spec, {"HOOK": "geheim"}, lambda: NOW)
    assert channel.secret == "geheim"  # noqa: S105
    assert "geheim" not in repr(channel)
    with pytest.raises(InputError, match="'HOOK' is not set") as caught:
        Webhook.of(spec, {}, lambda: NOW)
    assert "hidden" not in str(caught.value)


# The command alone.


def test_a_command_finds_the_notice_in_its_environment_and_its_folder(tmp_path: Path) -> None:
    names = "['DRIFTLINE_NOTICE_' + n for n in ('KEY', 'ALARM', 'STATUS')]"
    command(tmp_path, f"import os; open('found', 'w').write(' '.join(os.environ[n] for n in {names}))").send(NOTICE)
    assert (tmp_path / "found").read_text() == "decay/1/firing/team decay firing"


def test_no_shell_reads_the_arguments(tmp_path: Path) -> None:
    Command(
        (sys.executable, "-c", "import sys; assert sys.argv[1] == '$HOME; exit 3'", "$HOME; exit 3"), tmp_path
    ).send(NOTICE)


def test_the_end_of_what_a_failed_command_said_is_kept(tmp_path: Path) -> None:
    code = "import sys; sys.stderr.write('x' * 5000 + 'the reason'); sys.exit(7)"
    with pytest.raises(SendError, match=r"exit status 7: x+the reason") as caught:
        command(tmp_path, code).send(NOTICE)
    assert caught.value.status == 7
    assert len(str(caught.value)) < 2300


def test_at_the_time_limit_the_whole_process_group_is_ended(tmp_path: Path) -> None:
    code = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open("child", "w").write(str(child.pid))
time.sleep(60)
"""
    began = time.monotonic()
    with pytest.raises(SendError, match="was ended after PT1S") as caught:
        command(tmp_path, code, timedelta(seconds=1)).send(NOTICE)
    assert time.monotonic() - began < 10
    assert not caught.value.permanent
    assert ended(int((tmp_path / "child").read_text()))


def ended(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        # An orphan that nobody has waited for yet is ended all the same.
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def test_a_command_that_dies_by_a_signal_says_which(tmp_path: Path) -> None:
    with pytest.raises(SendError, match="signal SIGKILL"):
        command(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)").send(NOTICE)


def test_a_command_does_not_need_to_read_the_notice(tmp_path: Path) -> None:
    big = Notice("k", "a", "firing", "s", {"x": "y" * 1_000_000}, NOW)
    assert command(tmp_path, "pass").send(big).status == 0


def test_a_command_is_built_from_its_spec() -> None:
    spec = CommandSpec(command=("python", "retrain.py"), timeout="PT5M", folder="/srv")
    assert Command.of(spec) == Command(("python", "retrain.py"), Path("/srv"), timedelta(minutes=5))
