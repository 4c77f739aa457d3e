"""The hash of texts, and how they are spelled, in both kernels."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.kernels import numbers
from driftline.kernels.reference import Keys
from driftline.kernels.texts import hash_strings, spellings

NUMBER = re.compile(r"[-+]? ?[0-9]+(\.[0-9]+)?([Ee][-+]?[0-9]+)?")
INTEGRAL = re.compile(r"[-+]? ?[0-9]+")
LIKE_NUMBERS = st.text("0123456789+-.eE truefalsx", max_size=12)


def lying(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    raw = [text.encode() for text in texts]
    return np.frombuffer(b"".join(raw), np.uint8), np.cumsum([0, *map(len, raw)])


def spelling(text: str) -> int:
    if INTEGRAL.fullmatch(text):
        return 1
    return 2 if NUMBER.fullmatch(text) else 3 if text in ("true", "false") else 0


def hashes(texts: list[str]) -> Keys:
    return hash_strings(*lying(texts))


def test_the_hash_of_a_string_never_changes() -> None:
    assert [hex(h) for h in hashes(["", "a", "driftline", "ü" * 20]).tolist()] == [
        "0xe220a8397b1dcdaf",
        "0x5cef58234477ecd5",
        "0xc612bfc06fa69d32",
        "0xa146dc5d1f68f4e9",
    ]


@settings(deadline=None)
@given(st.lists(st.text(max_size=20), max_size=12))
def test_the_hash_depends_on_the_string_alone(texts: list[str]) -> None:
    assert hashes(texts).tolist() == [int(hashes([text])[0]) for text in texts]


@pytest.mark.parametrize(
    "texts",
    [
        [f"id-{i}" for i in range(50_000)],
        [f"{i:08d}{i % 7:08d}" for i in range(50_000)],
        ["x" * i for i in range(2_000)],
        [f"{a}aaaaaaa{b}aaaaaaa" for a in "abcdefghijklmnopqrst" for b in "abcdefghijklmnopqrst"],
        ["\0" * i for i in range(100)],
    ],
    ids=["numbered", "fixed width", "lengths", "words", "zero bytes"],
)
def test_similar_strings_get_unlike_hashes(texts: list[str]) -> None:
    h = hashes(texts)
    assert len(np.unique(h)) == len(texts)
    ones = np.mean((h[:, None] >> np.arange(56, 64, dtype=np.uint64)) & np.uint64(1), axis=0)
    assert np.abs(ones - 0.5).max() < 3 / np.sqrt(len(texts))


def test_a_long_text_is_hashed_beside_short_ones() -> None:
    texts = ["a", "b" * 1_000_003, "", "c"]
    assert hashes(texts).tolist() == [int(hashes([text])[0]) for text in texts]


@settings(deadline=None)
@given(st.lists(st.one_of(LIKE_NUMBERS, st.floats().map(str), st.integers().map(str), st.text(max_size=200))))
def test_both_kernels_read_texts_alike(texts: list[str]) -> None:
    expected = [spelling(text) for text in texts]
    assert spellings(*lying(texts)).tolist() == expected
    assert numbers.spellings(*lying(texts)).tolist() == expected
    assert numbers.hash_strings(*lying(texts)).tolist() == hash_strings(*lying(texts)).tolist()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("7" * 5_000, 1),
        ("- " + "7" * 63, 1),
        ("7" * 64 + ".", 0),
        ("1e" + "9" * 100, 2),
        ("1" * 63 + ".5", 2),
        ("true" * 20, 0),
        ("12\n", 0),
    ],
)
def test_long_texts_are_spelled_as_short_ones_are(text: str, kind: int) -> None:
    assert spellings(*lying([text])).tolist() == [kind]
    assert spellings(*lying(["1", "", text, "true", "x" * 70])).tolist() == [1, 0, kind, 3, 0]
    assert numbers.spellings(*lying([text])).tolist() == [kind]


def test_texts_that_begin_anywhere_in_a_buffer_are_the_same_texts() -> None:
    data, offsets = lying(["filler", "12.5", "a" * 300, "", "seventeen letters"])
    assert spellings(data, offsets[1:]).tolist() == [2, 0, 0, 0]
    assert hash_strings(data, offsets[1:]).tolist() == hashes(["12.5", "a" * 300, "", "seventeen letters"]).tolist()
