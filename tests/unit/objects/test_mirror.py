"""Copies of objects: fetched once, as they were listed, and never taken for another version."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from driftline.errors import Unavailable
from driftline.objects.mirror import pruned
from driftline.objects.places import store_at
from driftline.objects.store import ObjectStore


@pytest.fixture
def store(s3: str) -> ObjectStore:
    store = store_at(s3)
    for number in range(20):
        store.put(f"a/2026/03/01/{number:02}/x.jsonl", b"%d" % number)
    return store


def test_copies_end_as_the_keys_do(store: ObjectStore, s3: str, tmp_path: Path) -> None:
    listed = list(store.list("a/"))
    paths = store.fetch(listed, tmp_path)
    assert paths == tuple(tmp_path / "s3" / s3.removeprefix("s3://") / entry.key for entry in listed)
    assert [path.read_bytes() for path in paths] == [b"%d" % number for number in range(20)]


def test_what_is_there_is_not_fetched_again(store: ObjectStore, tmp_path: Path) -> None:
    first, second = (store.fetch(list(store.list("a/")), tmp_path)[0].stat() for _ in range(2))
    assert (first.st_ino, first.st_mtime_ns) == (second.st_ino, second.st_mtime_ns)


def test_another_version_of_the_same_size_is_fetched_and_tells_itself_apart(store: ObjectStore, tmp_path: Path) -> None:
    (path, *_) = store.fetch(list(store.list("a/")), tmp_path)
    before = path.stat().st_mtime_ns
    store.put("a/2026/03/01/00/x.jsonl", b"9")
    store.fetch(list(store.list("a/")), tmp_path)
    assert path.read_bytes() == b"9"
    assert path.stat().st_mtime_ns != before


def test_a_copy_that_broke_off_is_fetched_again(store: ObjectStore, tmp_path: Path) -> None:
    (path, *_) = store.fetch(list(store.list("a/")), tmp_path)
    marked = path.stat().st_mtime_ns
    path.write_bytes(b"")
    os.utime(path, ns=(marked, marked))
    store.fetch(list(store.list("a/")), tmp_path)
    assert path.read_bytes() == b"0"


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_an_object_that_is_no_longer_what_was_listed_is_told(store: ObjectStore, tmp_path: Path, how: str) -> None:
    listed = list(store.list("a/"))
    if how == "deleted":
        store.delete(listed[3].key)
    else:
        store.put(listed[3].key, b"7")
    with pytest.raises(Unavailable, match=r"03/x\.jsonl.*(deleted after it was listed|changed while it was read)"):
        store.fetch(listed, tmp_path)
    assert not list(tmp_path.rglob(".*")), "nothing half-written stays"


def test_copies_that_nobody_uses_go_with_their_folders(store: ObjectStore, tmp_path: Path) -> None:
    paths = store.fetch(list(store.list("a/")), tmp_path)
    now = paths[0].stat().st_atime
    for path in paths[1:]:
        os.utime(path, (now - 7200, path.stat().st_mtime))
    assert pruned(tmp_path, now, timedelta(hours=1)) == 19
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [paths[0]]
    assert not paths[1].parent.exists()


def test_a_disk_that_cannot_take_a_copy_is_named(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "s3").write_text("in the way")
    with pytest.raises(Unavailable, match="cannot be kept at"):
        store.fetch(list(store.list("a/")), tmp_path)
