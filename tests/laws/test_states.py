"""The laws of states, for every summary there is: a new one joins by one line in SUMMARIES."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.errors import Corrupt
from driftline.kernels.numbers import in_numpy
from driftline.schema import PROBABILITY
from driftline.states.column import Column
from driftline.states.contingency import Contingency
from driftline.states.folding import folding
from driftline.states.frequent import FrequentState
from driftline.states.histogram import Histogram
from driftline.states.moments import Moments
from driftline.states.reading import column_of, read
from driftline.states.residuals import Residuals
from driftline.states.rows import Rows, weights_of
from driftline.states.scores import Scores
from driftline.states.state import Summary


@dataclass(frozen=True, slots=True)
class Texts:
    """The frequent values of a column, as a part of its state; more than the limit in nearly every batch."""

    column: str
    limit: int

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def empty(self) -> FrequentState:
        return FrequentState(limit=self.limit)

    def of(self, batch: pa.RecordBatch, /) -> FrequentState:
        texts = read(column_of(batch, self.column), weights_of(batch)).texts
        return self.empty() if texts is None else FrequentState.of_tally(texts.tally, self.limit)

    def decode(self, data: bytes, /) -> FrequentState:
        return FrequentState.decode(data)


SUMMARIES: Sequence[Summary[Any]] = (
    Rows(),
    Moments("x"),
    Moments("i"),
    Histogram("x"),
    Histogram("x", limit=3),
    Histogram("i", limit=16),
    Histogram("u", limit=2),
    Column("x"),
    Column("i"),
    Column("text"),
    Column("truth"),
    Column("when"),
    Column("category"),
    Texts("text", 1),
    Texts("text", 4),
    Texts("category", 2),
    Column("nothing"),
    Column("nested"),
    Contingency("label", "class"),
    Contingency("truth", None, score="score", threshold=0.25),
    Scores("score", "label"),
    Scores("x", "truth", limit=8),
    Residuals("x", "score"),
    Residuals("i", "x"),
)

EDGES = (0.0, -0.0, 1.0, 5e-324, -5e-324, 2.2e-308, 1e308, -1e308, 1.7976931348623157e308, float("nan"))
FLOATS = st.one_of(
    st.sampled_from((*EDGES, float("inf"), float("-inf"))),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(-10, 10),
    st.floats(1.7e12, 1.8e12),
)
INTEGERS = st.one_of(st.sampled_from((0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1)), st.integers(-(2**63), 2**63 - 1))
TEXTS = st.one_of(
    st.sampled_from(("1", "-3", "+ 4.5e3", "1e999", "true", "false", "", ".5", "NaN", "a")), st.text(max_size=3)
)
CLASSES = st.sampled_from(("0", "1", "1.0", " 1", "true", "dog", ""))
PROBABILITIES = st.one_of(st.just(1.0), st.sampled_from((0.1, 0.5, 1e-6)), st.floats(1e-6, 1.0))
KINDS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "x": (pa.float64(), FLOATS),
    "i": (pa.int64(), INTEGERS),
    "u": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "text": (pa.string(), TEXTS),
    "truth": (pa.bool_(), st.booleans()),
    "when": (pa.timestamp("ms", "UTC"), st.integers(0, 2**41)),
    "category": (pa.dictionary(pa.int8(), pa.string()), TEXTS),
    "nothing": (pa.null(), st.none()),
    "nested": (pa.list_(pa.int64()), st.lists(st.integers(0, 3), max_size=2)),
    "label": (pa.string(), CLASSES),
    "class": (pa.string(), CLASSES),
    "score": (pa.float64(), st.one_of(st.floats(0, 1), st.sampled_from((0.0, 0.25, 1.0, -1.0, 2.0, float("nan"))))),
}


def arrow(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode()
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64()).cast(kind)
    return pa.array(values, kind, from_pandas=False)


@st.composite
def tables(draw: st.DrawFn, summary: Summary[Any]) -> pa.RecordBatch:
    """A batch with the columns that the summary reads, weighted or not."""
    n = draw(st.integers(0, 24))
    few = draw(st.booleans())  # repeated values, as real columns have them
    columns: dict[str, pa.Array] = {}
    for name in sorted(set(summary.columns) or {"x"}):
        kind, values = KINDS[name]
        drawn = draw(st.lists(st.one_of(values, st.none()), min_size=n, max_size=n))
        columns[name] = arrow([drawn[i // 3 * 3] for i in range(n)] if few else drawn, kind)
    weighted = draw(st.sampled_from(("no", "one", "many")))
    if weighted == "one":
        columns[PROBABILITY] = pa.array([draw(PROBABILITIES)] * n, pa.float64())
    if weighted == "many":
        columns[PROBABILITY] = pa.array(draw(st.lists(PROBABILITIES, min_size=n, max_size=n)), pa.float64())
    return pa.record_batch(columns)


every_summary = pytest.mark.parametrize("summary", SUMMARIES, ids=str)
a_few = settings(max_examples=25, deadline=None)


@every_summary
@a_few
@given(data=st.data())
def test_parts_add_up_to_the_whole_in_any_order(summary: Summary[Any], data: st.DataObject) -> None:
    rows = data.draw(tables(summary))
    cuts = data.draw(st.lists(st.integers(0, rows.num_rows), max_size=4))
    edges = [0, *sorted(cuts), rows.num_rows]
    parts = [summary.of(rows.slice(a, b - a)) for a, b in pairwise(edges)]
    merged = summary.empty()
    for part in data.draw(st.permutations(parts)):
        merged = merged.merge(part)
    assert merged.encode() == summary.of(rows).encode()


@every_summary
@a_few
@given(data=st.data())
def test_the_order_of_rows_does_not_matter(summary: Summary[Any], data: st.DataObject) -> None:
    rows = data.draw(tables(summary))
    order = data.draw(st.permutations(range(rows.num_rows)))
    assert summary.of(rows.take(pa.array(order, pa.int64()))).encode() == summary.of(rows).encode()


@every_summary
@a_few
@given(data=st.data())
def test_every_kernel_gives_the_same_bits(summary: Summary[Any], data: st.DataObject) -> None:
    rows = data.draw(tables(summary))
    with in_numpy():
        expected = summary.of(rows).encode()
    assert summary.of(rows).encode() == expected


@every_summary
@a_few
@given(data=st.data())
def test_folding_batches_is_merging_their_states(summary: Summary[Any], data: st.DataObject) -> None:
    rows = data.draw(tables(summary))
    cut = data.draw(st.integers(0, rows.num_rows))
    together = folding(summary)
    for part in (rows.slice(0, cut), rows.slice(cut)):
        together.add(part)
    assert together.state().encode() == summary.of(rows).encode()


@every_summary
@a_few
@given(data=st.data())
def test_merge_is_commutative_and_associative(summary: Summary[Any], data: st.DataObject) -> None:
    one, two, three = (summary.of(data.draw(tables(summary))) for _ in range(3))
    before = one.encode()
    assert one.merge(two).encode() == two.merge(one).encode()
    assert one.merge(two).merge(three).encode() == one.merge(two.merge(three)).encode()
    assert one.encode() == before


@every_summary
@a_few
@given(data=st.data())
def test_the_empty_state_is_neutral_and_the_codec_a_round_trip(summary: Summary[Any], data: st.DataObject) -> None:
    state = summary.of(data.draw(tables(summary)))
    assert summary.empty().merge(state).encode() == state.encode()
    assert state.merge(summary.empty()).encode() == state.encode()
    decoded = summary.decode(state.encode())
    assert decoded.encode() == state.encode()
    assert decoded == state
    assert decoded.merge(state).encode() == state.merge(state).encode()


@every_summary
def test_the_state_of_an_empty_batch_is_the_empty_state(summary: Summary[Any]) -> None:
    nothing = pa.record_batch({name: arrow([], kind) for name, (kind, _) in KINDS.items()})
    merged = summary.of(nothing).merge(summary.empty())
    assert summary.decode(merged.encode()) == merged
    assert merged.merge(merged).encode() == merged.encode()


@every_summary
@given(garbage=st.binary(max_size=40), cut=st.integers(0, 200))
@settings(max_examples=30, deadline=None)
def test_garbage_is_corrupt(summary: Summary[Any], garbage: bytes, cut: int) -> None:
    with pytest.raises(Corrupt):
        summary.decode(garbage)
    whole = summary.empty().encode()
    if cut < len(whole):
        with pytest.raises(Corrupt):
            summary.decode(whole[:cut])


def test_the_bytes_of_another_version_or_state_are_refused() -> None:
    data = Moments("x").empty().encode()
    with pytest.raises(Corrupt, match="format version 9"):
        Moments("x").decode(b"\x09" + data[1:])
    with pytest.raises(Corrupt, match="'moments' state, not of a 'rows' state"):
        Rows().decode(data)


@pytest.mark.parametrize("weighted", [False, True], ids=["equal weights", "weighted"])
@pytest.mark.parametrize("limit", [64, 4096])
def test_a_long_column_is_the_same_in_any_split(limit: int, weighted: bool) -> None:
    r = np.random.default_rng(7)
    n = 60_000
    x = r.normal(size=n) * 10.0 ** r.integers(-300, 300, n) * (r.random(n) < 0.3) + r.normal(size=n)
    ids = [f"id-{i}" for i in r.integers(0, 30_000, n)]
    columns = {
        "x": pa.array(x),
        "t": pa.array((1.7e12 + r.integers(0, 10**9, n)).astype(np.int64)),
        "id": pa.array(ids),
    }
    if weighted:
        columns[PROBABILITY] = pa.array(r.choice([1.0, 0.5, 0.1, 0.37], n))
    rows = pa.record_batch(columns)
    cuts = [0, *np.sort(r.integers(0, n, 20)).tolist(), n]
    order = r.permutation(len(cuts) - 1).tolist()
    summaries: list[Summary[Any]] = [
        Histogram("x", limit),
        Histogram("t", limit),
        Column("x"),
        Column("t"),
        Column("id"),
    ]
    for summary in summaries:
        merged = summary.empty()
        for i in order:
            merged = merged.merge(summary.of(rows.slice(cuts[i], cuts[i + 1] - cuts[i])))
        assert merged.encode() == summary.of(rows).encode(), summary


def test_a_state_stays_readable() -> None:
    """Bytes of version 3, written down: a change here needs a new format version."""
    rows = pa.record_batch({"x": [1.0, 2.0, None]})
    fields = (3, 3 << 16, (3 << 32).to_bytes(5, "little"))
    assert Rows().of(rows).encode() == b"\x03" + msgspec.msgpack.encode(("rows", fields))
