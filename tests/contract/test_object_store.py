"""What every object store must do."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driftline.errors import Conflict, InputError, NotFound
from driftline.objects.places import store_at
from driftline.objects.remote import looked_at
from driftline.objects.store import ObjectStore
from driftline.objects.urls import is_url


@pytest.fixture(params=["directory", "s3", "azure"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "directory":
        return store_at(tmp_path / "objects")
    return store_at(request.getfixturevalue(request.param))


def keys(store: ObjectStore, prefix: str) -> list[str]:
    return [entry.key for entry in store.list(prefix)]


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"\x00\xff" * 500_000, os.urandom(20 << 20)],
    ids=["empty", "one byte", "a megabyte", "in parts"],
)
def test_what_was_put_is_what_is_got(store: ObjectStore, data: bytes) -> None:
    store.put("a/b.bin", data)
    assert store.get("a/b.bin") == data
    store.put("c", data, if_absent=True)
    assert store.get("c") == data
    with pytest.raises(Conflict, match="already there"):
        store.put("c", b"other" * len(data), if_absent=True)
    assert keys(store, "") == ["a/b.bin", "c"]


def test_the_last_put_wins(store: ObjectStore) -> None:
    store.put("a", b"first, and longer")
    store.put("a", b"second")
    assert store.get("a") == b"second"


def test_an_object_that_is_not_there_is_not_found(store: ObjectStore) -> None:
    store.put("a/b", b"x")
    for key in ("b", "a", "a/b/c", "a/c"):
        with pytest.raises(NotFound, match="no object"):
            store.get(key)


def test_a_put_if_absent_refuses_to_replace(store: ObjectStore) -> None:
    store.put("a", b"first", if_absent=True)
    with pytest.raises(Conflict, match="already there"):
        store.put("a", b"second", if_absent=True)
    assert store.get("a") == b"first"
    assert keys(store, "") == ["a"]


def test_only_one_of_many_puts_if_absent_succeeds(store: ObjectStore) -> None:
    def attempt(data: bytes) -> bool:
        try:
            store.put("race", data, if_absent=True)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(attempt, [b"%d" % i for i in range(16)]))
    assert sum(won) == 1
    assert store.get("race") == b"%d" % won.index(True)


def test_a_listing_holds_the_keys_with_the_prefix_in_byte_order(store: ObjectStore) -> None:
    written = ["a/b", "a-b", "a/bx", "ab", "a/c/d", "Z", "é/x", "b"]
    for key in written:
        store.put(key, b"")
    assert keys(store, "") == sorted(written, key=str.encode)
    assert keys(store, "a") == ["a-b", "a/b", "a/bx", "a/c/d", "ab"]
    assert keys(store, "a/") == ["a/b", "a/bx", "a/c/d"]
    assert keys(store, "a/b") == ["a/b", "a/bx"]
    assert keys(store, "nothing/here") == []


def test_folders_are_those_right_below_a_prefix_in_byte_order(store: ObjectStore) -> None:
    for key in ("a/b", "a/c/d", "a/c/e/f", "a/c-/g", "é/x", "Z/x", "ab"):
        store.put(key, b"")
    assert list(store.folders("")) == ["Z", "a", "é"]
    assert list(store.folders("a/")) == ["c", "c-"]
    assert list(store.folders("a/c/e/")) == []
    assert list(store.folders("nothing/here/")) == []


@pytest.mark.parametrize("where", ["directory", "s3"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.sets(st.text("ab-~", min_size=1, max_size=3), min_size=1, max_size=6), prefix=st.text("ab-~/", max_size=3)
)
def test_a_listing_is_sorted_and_complete(
    request: pytest.FixtureRequest,
    where: str,
    tmp_path_factory: pytest.TempPathFactory,
    names: set[str],
    prefix: str,
) -> None:
    folder = tmp_path_factory.mktemp("store")
    store = store_at(folder if where == "directory" else f"{request.getfixturevalue('s3')}/{folder.name}")
    written = {f"{name}/{name}" for name in names} | {f"{name}.x" for name in names}
    for key in written:
        store.put(key, b"")
    if prefix.startswith("/") or "//" in prefix:
        with pytest.raises(InputError):
            keys(store, prefix)
    else:
        expected = sorted((key for key in written if key.startswith(prefix)), key=str.encode)
        assert keys(store, prefix) == expected


def test_a_listing_tells_sizes_and_versions(store: ObjectStore) -> None:
    store.put("a", b"one")
    (first,) = store.list("a")
    (again,) = store.list("a")
    store.put("a", b"two")
    (second,) = store.list("a")
    assert (first.size, second.size) == (3, 3)
    assert first == again
    assert first.version != second.version


def test_deleting_removes_the_object_and_may_be_repeated(store: ObjectStore) -> None:
    store.put("a/b", b"x")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/was")
    assert keys(store, "") == []
    with pytest.raises(NotFound):
        store.get("a/b")


def test_a_reader_finds_the_object_at_its_location(store: ObjectStore) -> None:
    store.put("a/b", b"x")
    place = store.location("a/b")
    if is_url(place):
        assert looked_at(place).open().read() == b"x"
    else:
        assert Path(place).read_bytes() == b"x"


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".", "a/./b", ".hidden", "a/.b", "a\0b"])
def test_a_key_that_could_leave_the_root_is_refused(store: ObjectStore, key: str) -> None:
    for act in (lambda: store.put(key, b""), lambda: store.get(key), lambda: store.delete(key)):
        with pytest.raises(InputError, match="not allowed"):
            act()
