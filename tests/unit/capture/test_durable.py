"""What a writer leaves behind, and what the next one makes of it; in one file, for all of it needs a killed writer."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from driftline.capture import Capture, Counters, Spool, cells, segments
from driftline.capture.counters import stored_counters
from driftline.capture.folder import WriterFolder, is_held, sweep, writer_folders
from driftline.capture.frames import unframe
from driftline.capture.spool import damaged_files, folder_bytes
from driftline.capture.tallies import KILLED, Counted, Place, Tallies
from driftline.errors import Unavailable
from driftline.objects.directory import Directory
from driftline.windows import Window

from .conftest import Clock, Gated, ReadBack

KILL_ITSELF = textwrap.dedent(
    """
    import os, signal, sys, time
    from datetime import datetime
    from driftline.capture import Capture

    capture = Capture("flights", sys.argv[1], clock=lambda: datetime.fromisoformat("2026-03-01T09:00:00+00:00"))
    for number in range(50):
        capture.log("1", "0", inference_id=str(number))
    time.sleep(0.6)  # now they are spooled, and counted in the journal
    if sys.argv[2] == "more":
        for number in range(50, 60):
            capture.log("1", "0", inference_id=str(number))
        time.sleep(0.12)
    os.kill(os.getpid(), signal.SIGKILL)
    """
)


class Refusing(Directory):
    """A folder that is away, or that forgets to answer after it has stored."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.away = True
        self.silent = 0

    def put(self, key: str, data: bytes, *, if_absent: bool = False, durable: bool = True) -> None:
        if self.away:
            raise Unavailable("the store is away")
        super().put(key, data, if_absent=if_absent, durable=durable)
        if self.silent and key.endswith(".jsonl"):
            self.silent -= 1
            raise Unavailable("no answer")


def killed(objects: Path, how: str = "") -> None:
    done = subprocess.run([sys.executable, "-c", KILL_ITSELF, str(objects), how], check=False)
    assert done.returncode == -signal.SIGKILL


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def spools(tmp: Path) -> list[Path]:
    """The folders of all writers in the only spool."""
    return [writer for spool in tmp.iterdir() for writer in writer_folders(spool)]


@pytest.mark.parametrize("how", ["", "more"])
def test_what_a_killed_process_had_spooled_is_uploaded_by_the_next(
    store: Directory, clock: Clock, read_back: ReadBack, spool_root: Path, how: str
) -> None:
    killed(store.root, how)
    (dead,) = spools(spool_root)
    assert not is_held(dead)
    heir = Capture("flights", store, clock=clock)  # it need not capture anything
    until(lambda: not dead.exists())
    assert heir.close()
    ids = [int(record.inference_id or "") for record in read_back()]
    assert ids[:50] == list(range(50))
    assert len(set(ids)) == len(ids)
    hour = clock.at.replace(minute=0, second=0)
    counted = stored_counters(store, "flights", "AllTraffic", Window(hour, hour + timedelta(hours=1)))
    assert counted == Counters(len(ids), len(ids), len(ids))
    assert heir.counters == Counters()


def test_what_was_counted_and_never_spooled_is_a_loss_of_the_killed_process(
    store: Directory, clock: Clock, spool_root: Path
) -> None:
    killed(store.root)
    (dead,) = spools(spool_root)
    folder = WriterFolder.adopt(dead)
    assert folder is not None
    place = Place("flights", "AllTraffic", clock.at.replace(minute=0, second=0))
    folder.note([Counted(place, 0, Counters(70, 60, 0, {"queue full": 3}))])
    folder.release()
    with Capture("flights", store, clock=clock):
        until(lambda: not dead.exists())
    counted = stored_counters(store, *place[:2], Window(place.hour, place.hour + timedelta(hours=1)))
    assert counted == Counters(70, 60, 50, {"queue full": 3, KILLED: 7})


def noted(folder: WriterFolder, place: Place, *counters: Counters) -> None:
    for each in counters:
        folder.note([Counted(place, 0, each)])


def test_a_note_that_was_torn_does_not_tear_the_next_one(clock: Clock, spool_root: Path) -> None:
    place = Place("flights", "AllTraffic", clock.at.replace(minute=0, second=0))
    folder = WriterFolder.open(spool_root / "flights", "writer")
    noted(folder, place, Counters(5, 5))
    with (folder.path / "journal").open("ab") as journal:
        journal.write(b"01234567 {torn")
    folder.release()
    for heir in range(2):  # the first one dies, too, once it has noted what it wrote
        adopted = WriterFolder.adopt(folder.path)
        assert adopted is not None
        tallies = Tallies()
        assert list(adopted.left(tallies, 0.0)) == []
        assert tallies.total() == Counters(5, 5, 3 * heir)
        noted(adopted, place, Counters(5, 5, 3))
        adopted.release()


def test_a_folder_that_is_half_deleted_is_not_counted_again(
    clock: Clock, spool_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = WriterFolder.open(spool_root / "flights", "writer")
    noted(folder, Place("flights", "AllTraffic", clock.at.replace(minute=0, second=0)), Counters(5, 5, 5))
    with monkeypatch.context() as stopped:
        stopped.setattr(shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            folder.remove()
    folder.release()
    assert writer_folders(spool_root / "flights") == []
    sweep(spool_root / "flights")
    assert list((spool_root / "flights").iterdir()) == []


def test_a_folder_that_was_begun_by_a_dead_process_is_swept_and_one_that_is_being_made_is_not(spool_root: Path) -> None:
    dead, living, young = (spool_root / f".new-{name}" for name in ("dead", "living", "young"))
    for folder in (dead, living, young):
        folder.mkdir()
    with (living / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for folder in (dead, living):
            os.utime(folder, (0, 0))
        sweep(spool_root)
        assert set(spool_root.iterdir()) == {living, young}


def test_a_kill_takes_no_request_uncounted_not_even_the_first(store: Directory, clock: Clock, spool_root: Path) -> None:
    capture = Capture("flights", store, clock=clock)
    (folder,) = spools(spool_root)
    assert is_held(folder)
    assert [each.counters for each in cells.left(folder.name)] == []
    capture.log("1", "0")
    assert [each.counters for each in cells.left(folder.name)] == [Counters(1, 1)]
    assert capture.close()
    idle = Capture("flights", store, clock=clock)
    assert idle.close()
    assert spools(spool_root) == []


def test_who_asks_whether_a_writer_lives_does_not_keep_its_heir_from_it(spool_root: Path) -> None:
    WriterFolder.open(spool_root / "flights", "writer").release()
    path = spool_root / "flights" / "writer"
    asking = os.open(path / "lock", os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)  # as `is_held` does, for less time
    threading.Timer(0.01, os.close, [asking]).start()
    heir = WriterFolder.adopt(path)
    assert heir is not None
    assert WriterFolder.adopt(path) is None
    heir.release()


def test_writers_begin_while_others_sweep(spool_root: Path) -> None:
    ended = threading.Event()

    def sweeping() -> None:
        while not ended.is_set():
            sweep(spool_root / "flights")

    sweepers = [threading.Thread(target=sweeping) for _ in range(2)]
    for sweeper in sweepers:
        sweeper.start()
    try:
        for number in range(200):
            WriterFolder.open(spool_root / "flights", f"writer{number}").release()
    finally:
        ended.set()
        for sweeper in sweepers:
            sweeper.join()


def test_what_could_not_be_synced_is_synced_by_the_next_try(spool_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = WriterFolder.open(spool_root / "flights", "writer")
    noted(folder, Place("flights", "AllTraffic", datetime(2026, 3, 1, tzinfo=UTC)), Counters(5, 5))
    synced: list[str] = []
    through = os.fsync

    def failing(handle: int) -> None:
        if not synced:
            synced.append("failed")
            raise OSError(errno.EIO, "input/output error")
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)  # noqa: PTH115
        through(handle)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="input/output error"):
        folder.sync()
    folder.sync()
    folder.sync()
    assert synced == ["failed", "journal", "writer", "flights"]
    folder.release()


def test_an_order_is_carried_out_whatever_goes_wrong_in_the_writer(
    store: Directory, read_back: ReadBack, monkeypatch: pytest.MonkeyPatch
) -> None:
    through = os.fsync

    def failing(handle: int) -> None:
        if threading.current_thread().name == "driftline-capture":
            raise MemoryError("as nobody foresaw")
        through(handle)

    capture = Capture("flights", store)
    capture.log("1", "0")
    monkeypatch.setattr(os, "fsync", failing)
    assert capture.close()
    assert len(read_back()) == 1


def test_trouble_with_a_store_whose_name_is_no_text_is_told_and_harms_nothing(
    tmp_path: Path, spool_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / os.fsdecode(b"caf\xe9")
    place.write_text("a file, where the folder must be")
    capture = Capture("flights", place)
    capture.log("1", "0", inference_id="a")
    assert not capture.flush()
    (folder,) = spools(spool_root)
    until(lambda: b"caf" in (folder / "state.json").read_bytes())
    place.unlink()
    assert capture.close()
    assert capture.counters == Counters(1, 1, 1)
    assert "driftline_capture_failures_total 0" in capture.metrics()
    messages = [record.getMessage().encode() for record in caplog.records]
    assert any(rb"caf\udce9" in each for each in messages)


def test_the_folder_of_a_living_writer_is_left_alone(store: Directory, gated: Gated, spool_root: Path) -> None:
    gated.gate.set()
    first = Capture("flights", gated)
    first.log("1", "0", inference_id="first")
    until(lambda: bool(spools(spool_root)))
    (folder,) = spools(spool_root)
    assert is_held(folder)
    assert WriterFolder.adopt(folder) is None
    with Capture("flights", store) as second:
        second.log("1", "0", inference_id="second")
        assert second.flush()
        assert folder.is_dir()
    assert first.close()
    assert spools(spool_root) == []


def test_what_is_not_uploaded_at_the_end_waits_for_the_next_start(tmp_path: Path, read_back: ReadBack) -> None:
    away = Refusing(tmp_path / "objects")
    capture = Capture("flights", away)
    capture.log("1", "0")
    assert not capture.close(timeout_s=0.3)
    assert capture.counters.pending == 1
    assert capture.counters.lost == 0
    away.away = False
    heir = Capture("flights", away)
    until(lambda: len(read_back()) == 1)
    assert heir.close()


@pytest.mark.parametrize("silent", [1, 3])
def test_an_answer_that_got_lost_does_not_make_a_second_object(
    tmp_path: Path, read_back: ReadBack, silent: int
) -> None:
    store = Refusing(tmp_path / "objects")
    store.away, store.silent = False, silent
    capture = Capture("flights", store)
    for _ in range(10):
        capture.log("1", "0")
    capture.flush()
    assert capture.close(timeout_s=20)
    assert len(read_back()) == 10
    assert capture.counters == Counters(10, 10, 10)


def test_a_name_that_is_taken_by_other_records_is_not_written_over(
    gated: Gated, read_back: ReadBack, spool_root: Path
) -> None:
    capture = Capture("flights", gated)
    capture.log("1", "0", inference_id="ours")
    until(lambda: any(list(spool.glob("*.segment")) for spool in spools(spool_root)))
    (file,) = next(spool for spool in spools(spool_root)).glob("*.segment")
    import json

    key = json.loads(unframe(file.read_bytes()).lines[0])["key"]
    Directory(gated.root).put(key, b"")
    gated.gate.set()
    assert capture.close()
    assert [record.inference_id for record in read_back()] == ["ours"]
    assert gated.get(key) == b""


def test_after_an_outage_all_is_there_in_order_without_loss(tmp_path: Path, clock: Clock, read_back: ReadBack) -> None:
    store = Refusing(tmp_path / "objects")
    capture = Capture("flights", store, clock=clock, roll_after_s=0.05)
    for number in range(120):
        capture.log("1", "0", inference_id=f"{number:03d}")
        clock.at += timedelta(seconds=30)
        if number % 10 == 0:
            time.sleep(0.12)
    store.away = False
    assert capture.close(timeout_s=30)
    assert [record.inference_id for record in read_back()] == [f"{number:03d}" for number in range(120)]


def test_capture_pauses_while_the_spool_is_full_and_goes_on_after(tmp_path: Path, read_back: ReadBack) -> None:
    store = Refusing(tmp_path / "objects")
    capture = Capture("flights", store, roll_after_s=0.05, spool=Spool(tmp_path / "spool", most_bytes=2000))
    dropped = 0
    for number in range(1000):
        capture.log("x" * 1000, "0", inference_id=str(number))
        time.sleep(0.01)
        dropped = capture.counters.dropped.get("disk full", 0)
        if dropped:
            break
    assert dropped
    store.away = False
    until(lambda: capture.counters.written > 0 and capture.flush())
    before = capture.counters.written

    def goes_on() -> bool:
        capture.log("1", "0", inference_id="later")
        capture.flush()
        return capture.counters.written > before

    until(goes_on)
    assert capture.close()
    assert capture.counters.dropped.keys() == {"disk full"}
    assert capture.counters.written == len(read_back())


def test_without_a_folder_for_the_spool_capture_goes_on_in_memory(
    store: Directory, tmp_path: Path, read_back: ReadBack, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with Capture("flights", store, spool=tmp_path / "file" / "spool") as capture:
        capture.log("1", "0")
    assert len(read_back()) == 1
    assert "wait in memory, not on the disk" in caplog.text


def test_a_spool_that_is_deleted_under_the_writer_is_counted_and_made_anew(
    gated: Gated, read_back: ReadBack, spool_root: Path
) -> None:
    capture = Capture("flights", gated, roll_after_s=0.1)
    capture.log("1", "0", inference_id="gone")
    until(lambda: any(list(spool.glob("*.segment")) for spool in spools(spool_root)))
    for folder in spools(spool_root):
        shutil.rmtree(folder)
    gated.gate.set()
    capture.log("1", "0", inference_id="after")
    until(lambda: capture.counters.lost > 0)
    assert capture.close()
    counters = capture.counters
    assert counters.sampled == counters.written + counters.lost == 2
    assert counters.written == len(read_back())


def test_a_damaged_line_in_the_spool_is_counted_and_the_others_are_kept(
    gated: Gated, read_back: ReadBack, spool_root: Path
) -> None:
    capture = Capture("flights", gated)
    for number in range(10):
        capture.log("1", "0", inference_id=f"id-{number}")
    until(lambda: any(list(spool.glob("*.segment")) for spool in spools(spool_root)))
    (file,) = next(spool for spool in spools(spool_root)).glob("*.segment")
    file.write_bytes(file.read_bytes().replace(b"id-3", b"id-X"))
    gated.gate.set()
    assert capture.close()
    assert [record.inference_id for record in read_back()] == [f"id-{n}" for n in range(10) if n != 3]
    assert capture.counters == Counters(10, 10, 9, {"spool damaged": 1})


def test_a_file_of_nobody_knows_where_is_kept_for_a_week_and_takes_no_room(
    store: Directory, clock: Clock, spool_root: Path
) -> None:
    killed(store.root)
    (dead,) = spools(spool_root)
    (file,) = dead.glob("*.segment")
    file.write_bytes(b"X" + file.read_bytes()[1:])
    os.utime(file, (0, 0))  # it had waited for long
    with Capture("flights", store, clock=clock):
        until(lambda: not dead.exists())
    (kept,) = damaged_files(spool_root, store.location("captured"))
    assert folder_bytes(dead.parent) == 0
    sweep(dead.parent)
    assert kept.exists()
    long_ago = kept.stat().st_mtime - 8 * 86_400
    os.utime(kept, (long_ago, long_ago))
    sweep(dead.parent)
    assert not kept.exists()
    hour = clock.at.replace(minute=0, second=0)
    counted = stored_counters(store, "flights", "AllTraffic", Window(hour, hour + timedelta(hours=1)))
    assert counted == Counters(50, 50, 0, {KILLED: 50})


@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_segments_that_cannot_be_saved_for_a_while_are_counted_once(
    store: Directory, read_back: ReadBack, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    lanes, left = ("flights", "trains", "ships"), 0
    through = segments._append

    def starved(file: Path, data: bytes, size: int) -> tuple[int, OSError | None]:
        nonlocal left
        left -= 1
        return (0, OSError(errno.EMFILE, "too many open files")) if left >= 0 else through(file, data, size)

    monkeypatch.setattr(segments, "_append", starved)
    capture = Capture("flights", store)
    for number in range(3):
        for lane in lanes[:2] if number == 0 else lanes:  # the segment of the third has nothing in it yet
            capture.log("1", "0", inference_id=f"{lane}-{number}", endpoint=lane)
        time.sleep(0.3)
        left = times if number == 0 else 0
    assert capture.close()
    counters = capture.counters
    assert counters.dropped == {"spool cannot be written": counters.lost}
    assert counters.lost >= 1
    assert counters.sampled == counters.written + counters.lost == 8
    assert counters.written == len(read_back()) == len({record.inference_id for record in read_back()})


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_keep_its_dead_parent_alive(store: Directory, clock: Clock, spool_root: Path) -> None:
    read_end, write_end = os.pipe()
    parent = os.fork()
    if parent == 0:
        capture = Capture("flights", store, clock=clock)
        capture.log("1", "0", inference_id="parent")
        time.sleep(0.4)
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        os.write(write_end, str(child).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    child = int(os.read(read_end, 20))
    os.waitpid(parent, 0)
    try:
        (dead,) = spools(spool_root)
        until(lambda: not is_held(dead))
    finally:
        os.kill(child, signal.SIGKILL)
        cells.forget(dead.name)
        os.close(read_end)
        os.close(write_end)
