from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from driftline.errors import Conflict, InputError, Unavailable
from driftline.objects.directory import Directory


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_symbolic_link_does_not_lead_out_of_the_root(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    store = Directory(tmp_path / "root")
    store.put("a", b"x")
    (store.root / "way").symlink_to(outside)
    (store.root / "file").symlink_to(outside / "secret")
    for key in ("way/secret", "file"):
        with pytest.raises(InputError, match="symbolic link"):
            store.get(key)
        with pytest.raises(InputError, match="symbolic link"):
            store.put(key, b"overwritten")
    assert [entry.key for entry in store.list("")] == ["a"]
    assert (outside / "secret").read_bytes() == b"secret"


def test_the_root_itself_may_be_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    Directory(tmp_path / "link").put("a/b", b"x")
    assert (tmp_path / "real" / "a" / "b").read_bytes() == b"x"


def test_what_a_dead_writer_left_behind_is_not_listed(tmp_path: Path) -> None:
    store = Directory(tmp_path)
    store.put("a/b", b"x")
    (tmp_path / "a" / ".0123.tmp").write_bytes(b"half a rec")
    assert [entry.key for entry in store.list("")] == ["a/b"]


def test_a_writer_killed_in_the_middle_leaves_nothing_half_written(tmp_path: Path) -> None:
    script = (
        "import sys, itertools\n"
        "from driftline.objects.directory import Directory\n"
        "store = Directory(sys.argv[1])\n"
        "for i in itertools.count():\n"
        "    store.put('a/object', bytes([65 + i % 26]) * 3_000_000)\n"
        "    print(i, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.kill()
    data = Directory(tmp_path).get("a/object")
    assert len(data) == 3_000_000
    assert len(set(data)) == 1


@pytest.mark.parametrize("durable", [True, False])
def test_a_durable_object_is_flushed_and_so_is_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(Path(f"/proc/self/fd/{handle}").readlink()))
    store = Directory(tmp_path)
    store.put("a/b", b"x", durable=durable)
    assert store.get("a/b") == b"x"
    assert [path.parent if path.name.startswith("#") else path for path in flushed] == [tmp_path / "a"] * 2 * durable


@pytest.mark.parametrize("there", [False, True], ids=["new", "replaced"])
def test_of_a_killed_write_nothing_is_left(tmp_path: Path, there: bool) -> None:
    store = Directory(tmp_path)
    if there:
        store.put("a/b", b"before")
    script = "import os, sys; from driftline.objects.directory import Directory; os.fsync = lambda _: os.kill(0, 9); "
    script += "os.setsid(); Directory(sys.argv[1]).put('a/b', b'after')"
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert names(tmp_path / "a") == ["b"] * there
    assert not there or store.get("a/b") == b"before"


def test_a_file_system_without_nameless_files_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")
    store = Directory(tmp_path)
    store.put("a/b", b"1", if_absent=True)
    with pytest.raises(Conflict):
        store.put("a/b", b"2", if_absent=True)
    store.put("a/b", b"3")
    assert (store.get("a/b"), names(tmp_path / "a")) == (b"3", ["b"])


def test_what_a_killed_one_left_beside_a_file_goes_with_the_next_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Directory(tmp_path)
    store.put("a/b", b"1")
    with monkeypatch.context() as stopped:
        stopped.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("stopped here")))
        with pytest.raises(Unavailable):
            store.put("a/b", b"2")
    assert len(names(tmp_path / "a")) == 2
    store.put("a/b", b"3")
    assert (store.get("a/b"), names(tmp_path / "a")) == (b"3", ["b"])


@pytest.mark.parametrize("key", ["a", "a/b/c"], ids=["a folder is there", "a file is on the way"])
def test_a_key_cannot_be_a_file_and_a_folder_at_once(tmp_path: Path, key: str) -> None:
    store = Directory(tmp_path)
    store.put("a/b", b"x")
    with pytest.raises(InputError, match="share that name"):
        store.put(key, b"y")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Unavailable, match="cannot write"):
        Directory(tmp_path).put("a", b"x")


def test_a_name_that_the_file_system_refuses_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot write"):
        Directory(tmp_path).put("n" * 300, b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_while_writing_leaves_the_old_object_and_nothing_else(tmp_path: Path) -> None:
    script = (
        "import resource, sys\n"
        "from driftline.errors import Unavailable\n"
        "from driftline.objects.directory import Directory\n"
        "store = Directory(sys.argv[1])\n"
        "store.put('a', b'old')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    store.put('a', b'x' * 5000)\n"
        "except Unavailable as why:\n"
        "    print(why)\n"
    )
    told = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "cannot write object 'a'" in told.stdout
    assert Directory(tmp_path).get("a") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
