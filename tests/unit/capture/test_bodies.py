from __future__ import annotations

import gzip
import zlib

import pytest

from driftline.capture.bodies import Kept, Packed


def kept(*chunks: bytes | bytearray | memoryview, most: int = 100, encoding: str | None = None) -> Kept:
    made = Kept(most, encoding)
    for chunk in chunks:
        made.add(chunk)
    made.whole = True
    return made


@pytest.mark.parametrize(
    ("chunks", "body", "cut"),
    [
        ((), b"", False),
        ((b"abcd",), b"abcd", False),
        ((b"ab", b"", b"cd"), b"abcd", False),
        ((b"ab", b"c", b"de"), b"abcd", True),
        ((b"abcde",), b"abcd", True),
        ((bytearray(b"ab"), memoryview(b"cd")), b"abcd", False),
    ],
    ids=["nothing", "just enough", "in pieces", "more than there is room for", "one piece too long", "other bytes"],
)
def test_the_beginning_is_kept(chunks: tuple[bytes | bytearray | memoryview, ...], body: bytes, cut: bool) -> None:
    made = kept(*chunks, most=4)
    assert type(made.body()) is bytes
    assert (made.body(), made.truncated) == (body, cut)


def test_a_body_without_its_end_is_cut() -> None:
    made = Kept(10, None)
    made.add(b"ab")
    assert made.truncated


def test_what_is_kept_does_not_change_with_what_was_given() -> None:
    given = bytearray(b"ab")
    made = kept(given)
    given[0] = 0
    assert made.body() == b"ab"


_RAW = zlib.compressobj(wbits=-15)


@pytest.mark.parametrize(
    ("packed", "encoding"),
    [
        (gzip.compress(b"1,2", mtime=0), "gzip"),
        (gzip.compress(b"1,2", mtime=0), " X-GZIP "),
        (zlib.compress(b"1,2"), "deflate"),
        (_RAW.compress(b"1,2") + _RAW.flush(), "deflate"),
        (gzip.compress(b"1,", mtime=0) + gzip.compress(b"2", mtime=0) + b"\0\0", "gzip"),
        (b"1,2", "gzip"),
        (b"1,2", "deflate"),
    ],
    ids=["gzip", "an old name", "deflate", "raw deflate", "in members", "not gzip at all", "not deflate at all"],
)
def test_a_packed_body_is_unpacked(packed: bytes, encoding: str) -> None:
    body = kept(packed, encoding=encoding).body()
    assert isinstance(body, Packed)
    assert len(body) == len(packed)
    assert body.unpacked() == (b"1,2", False)


@pytest.mark.parametrize("encoding", ["br", "identity", "gzip, gzip", None])
def test_a_body_in_another_encoding_stays_as_it_is(encoding: str | None) -> None:
    assert kept(b"1,2", encoding=encoding).body() == b"1,2"


def test_a_small_body_that_unpacks_to_a_large_one_is_cut() -> None:
    body = kept(gzip.compress(b"0" * 1_000_000, mtime=0), most=2000, encoding="gzip").body()
    assert isinstance(body, Packed)
    assert body.unpacked() == (b"0" * 2000, True)


def test_a_packed_body_that_broke_off_is_cut() -> None:
    body = kept(gzip.compress(bytes(range(256)), mtime=0)[:100], most=2000, encoding="gzip").body()
    assert isinstance(body, Packed)
    text, cut = body.unpacked()
    assert bytes(range(256)).startswith(text)
    assert cut
