from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import httpx
import pytest

from driftline.channels.channel import Notice
from driftline.channels.webhook import Webhook
from driftline.demo.hook import listening
from driftline.demo.play import play
from driftline.demo.telling import firing_periods
from driftline.errors import InputError

NOW = datetime(2013, 8, 4, 9, tzinfo=UTC)


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("irreplaceable")
    with pytest.raises(InputError, match="not from this demo"):
        play(tmp_path, quiet=True)
    assert (tmp_path / "thesis.tex").read_text() == "irreplaceable"


def test_a_signed_notice_is_kept_once_and_an_unsigned_one_refused(tmp_path: Path) -> None:
    notice = Notice("decay/1/firing/team", "decay", "firing", "decay is firing", {"alarm": "decay"}, NOW)
    with listening("secret", lambda: NOW, tmp_path / "notices.jsonl") as inbox:
        for _ in range(2):
            assert Webhook(inbox.url, lambda: NOW, "secret").send(notice).status == 204
        assert httpx.post(inbox.url, content=b"{}").status_code == 401
    assert list(inbox.notices) == [notice.key]
    assert inbox.refused == 1
    assert len((tmp_path / "notices.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "periods"),
    [
        ([], []),
        ([("firing", "2013-08-03")], [(date(2013, 8, 3), None)]),
        (
            [("firing", "2013-08-03"), ("ok", "2013-08-07"), ("firing", "2013-08-20")],
            [(date(2013, 8, 3), date(2013, 8, 7)), (date(2013, 8, 20), None)],
        ),
    ],
    ids=["never", "still up", "again"],
)
def test_an_alarm_is_up_from_firing_to_clearing(
    changes: list[tuple[str, str]], periods: list[tuple[date, date | None]]
) -> None:
    told = [{"status": status, "day": day} for status, day in changes]
    assert list(firing_periods(told)) == periods
