"""Frequent values among many: the same state whatever the split, and what can be read out of it."""

from __future__ import annotations

from collections import Counter
from functools import reduce
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.errors import Corrupt
from driftline.kernels import heavy
from driftline.kernels.numbers import in_numpy, table_of_counts
from driftline.schema import PROBABILITY
from driftline.states.column import Column, ColumnFolding
from driftline.states.frequent import LIMIT, Counted, Frequent, FrequentState
from driftline.states.heavy import ERROR, LEAST, HeavyState
from driftline.states.packing import PackedArray, pack_array, packed, unpack_array, unpacked
from driftline.states.reading import Tally
from driftline.states.rows import Count

COLUMN = Column("c")


def batch(values: npt.NDArray[np.str_] | list[str], **more: pa.Array) -> pa.RecordBatch:
    return pa.record_batch({"c": pa.array(values, pa.string()), **more})


def of(values: npt.NDArray[np.str_] | list[str], size: int = 1 << 15) -> FrequentState:
    folding = ColumnFolding("c")
    for start in range(0, len(values), size):
        folding.add(batch(values[start : start + size]))
    state = folding.state().values
    assert state is not None
    return state


def mixed_up(shares: list[float], tail: int, rows: int, seed: int, name: str = "v") -> npt.NDArray[np.str_]:
    """Values with these shares, the rest spread over so many others."""
    rng = np.random.default_rng(seed)
    of_each = [round(share * rows) for share in shares]
    codes = np.repeat(np.arange(len(shares)), of_each)
    rest = len(shares) + rng.integers(0, tail, rows - len(codes))
    return np.array([f"{name}{code}" for code in rng.permutation(np.concatenate([codes, rest]))])


def recovered(values: npt.NDArray[np.str_], share: float = LEAST) -> tuple[int, int]:
    """How many values have that share, and how many of them are found; every one that is found is checked."""
    counts, rows = Counter(values.tolist()), len(values)
    expected = {value for value, n in counts.items() if n >= share * rows}
    found = of(values).frequent(share)
    for each in found:
        assert each.whole
        assert counts[each.value] <= each.count <= counts[each.value] + max(each.error, 0.01 * rows)
    return len(expected), len(expected & {each.value for each in found})


# -- the state --------------------------------------------------------------------------------------------------------

few_limits = settings(max_examples=60, deadline=None)
texts = st.lists(st.one_of(st.sampled_from(["a", "b", "é" * 9, "x" * 40, "", "\0"]), st.text(max_size=20)), max_size=40)


def state_of(values: list[str], limit: int) -> FrequentState:
    counts = {value: Count(n, n * 2) for value, n in Counter(values).items()}
    return FrequentState.of_tally(Counted.of(counts).tally, limit)


@few_limits
@given(values=texts, cuts=st.lists(st.integers(0, 40), max_size=4), limit=st.integers(1, 12), data=st.data())
def test_the_split_and_the_order_do_not_matter(
    values: list[str], cuts: list[int], limit: int, data: st.DataObject
) -> None:
    whole = state_of(values, limit)
    shuffled = data.draw(st.permutations(values))
    edges = [0, *sorted(cuts), len(values)]
    parts = data.draw(st.permutations([state_of(shuffled[a:b], limit) for a, b in pairwise(edges)]))
    merged = reduce(FrequentState.merge, parts)
    assert merged.encode() == whole.encode()
    assert merged == FrequentState.decode(whole.encode()) or merged.frequent(0) == whole.frequent(0)
    assert (whole.heavy is None) == whole.exact


@few_limits
@given(values=texts, more=texts, limit=st.integers(1, 12))
def test_the_table_is_that_of_all_rows(values: list[str], more: list[str], limit: int) -> None:
    merged = state_of(values, limit).merge(state_of(more, limit))
    if merged.heavy is not None:
        alone = state_of(values + more, 1)
        expected = alone.heavy if alone.heavy is not None else pytest.fail("more than one value was there")
        assert merged.heavy == expected
        assert merged.heavy.rows == len(values + more)


@pytest.mark.parametrize("weighted", ["no", "one", "many"])
def test_batches_of_a_scan_give_the_bits_of_one_batch(weighted: str) -> None:
    rng = np.random.default_rng(5)
    values = [f"user-{n}" * (1 + n % 3) for n in np.minimum(rng.zipf(1.3, 30_000), 20_000)]
    values += [f"id{n}" for n in range(LIMIT + 5)]
    one = {"no": None, "one": [0.5] * len(values), "many": rng.choice([0.5, 0.25], len(values))}[weighted]
    rows = batch(values, **({} if one is None else {PROBABILITY: pa.array(one, pa.float64())}))
    states = []
    for size in (1_000, 7_000, 50_000):
        folding = COLUMN.folding()
        for start in range(0, rows.num_rows, size):
            folding.add(rows.slice(start, size))
        states.append(folding.state().encode())
        with in_numpy():
            states.append(COLUMN.of(rows).encode())
    order = pa.array(rng.permutation(rows.num_rows))
    states.append(COLUMN.of(rows.take(order)).encode())
    dictionary = {**{name: rows[name] for name in rows.schema.names}, "c": rows["c"].dictionary_encode()}
    states.append(COLUMN.of(pa.record_batch(dictionary)).encode())
    assert len(set(states)) == 1
    values_ = COLUMN.decode(states[0]).values
    assert values_ is not None
    assert values_.heavy is not None
    assert values_.heavy.rows == len(values)


def test_counts_are_taken_in_as_rows_are() -> None:
    rng = np.random.default_rng(1)
    words = rng.integers(0, 2**32, (3, 3_000)).astype(np.uint64)
    counts = rng.choice([0, 1, 2, 15, 16, 40], 3_000)
    rows = heavy.empty()
    heavy.take_in(rows, np.repeat(words, counts, axis=1))
    assert heavy.of_counts(words, counts).tolist() == rows.tolist()
    assert table_of_counts(words, counts).tolist() == rows.tolist()


def test_few_values_cost_no_table() -> None:
    state = of([f"v{n % 100}" for n in range(1_000)])
    assert state.heavy is None
    assert state.frequent(0.01) == sorted((Frequent(f"v{n}", True, 10, 0.0) for n in range(100)), key=lambda f: f.value)
    assert state.frequent(0.011) == []
    assert FrequentState().frequent(0) == []


# -- what is read out of it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [1.05, 1.2, 1.5, 2.0])
@pytest.mark.parametrize("name", ["v", "customer-number-", "u"])
def test_frequent_values_of_zipf_like_columns_are_found(exponent: float, name: str) -> None:
    weights = np.arange(1, 50_001) ** -exponent
    shares, missed = weights / weights.sum(), 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        codes = rng.choice(len(shares), 60_000, p=shares)
        # A name of 16 bytes or more comes back by its prefix and its hash only: see below.
        values = np.array([f"{name[:10]}{code}" for code in codes])
        expected, found = recovered(values)
        missed += expected - found
    assert missed == 0


@pytest.mark.parametrize(
    ("shares", "least"),
    [([0.0205] * 48, 0.98), ([0.02] * 30, 0.98), ([0.3, *[0.02] * 20], 0.98), ([0.021] * 20 + [0.009] * 60, 0.95)],
    ids=["fifty alike", "thirty alike", "one above all", "others nearly as frequent"],
)
def test_values_that_make_it_hard_are_nearly_all_found(shares: list[float], least: float) -> None:
    rates = [recovered(mixed_up(shares, 20_000, 60_000, seed, f"k{seed}-")) for seed in range(10)]
    expected, found = (sum(column) for column in zip(*rates, strict=True))
    assert expected >= 200
    assert found >= least * expected


def test_counts_are_too_high_by_no_more_than_is_said() -> None:
    values = mixed_up([0.03] * 15, 40_000, 100_000, 3)
    counts = Counter(values.tolist())
    found = [each for each in of(values).frequent() if each.error]
    over = [each.count - counts[each.value] for each in found]
    assert min(over) >= 0
    assert np.mean(np.array(over) <= ERROR * len(values)) >= 0.95
    assert {each.error for each in found} == {ERROR * len(values)}


def test_a_frequent_value_of_the_sample_has_its_exact_count() -> None:
    values = mixed_up([0.05] * 10, 10_000, 40_000, 4)
    state = of(values)
    found = {each.value: each for each in state.frequent()}
    kept = [f"v{n}" for n in range(10) if f"v{n}" in state.values]
    assert kept
    assert all(found[value] == Frequent(value, True, 2_000, 0.0) for value in kept)


def test_a_long_value_is_known_by_how_it_begins() -> None:
    long = ["https://example.org/a/very/long/path", "https://example.org/another/long/path", "ä" * 30]
    values = [*(long * 1_000), *(f"{n}" for n in range(20_000))]
    state = of(values)
    found = state.frequent()
    assert sorted(each.count for each in found) >= [1_000] * 3
    for each in found:
        assert any(text.startswith(each.value) for text in long)
        assert each.whole == (each.value in state.values)
    assert {each.value for each in found if not each.whole} <= {"https://example.", "ä" * 8}


@pytest.mark.parametrize("value", ["", "a", "0123456789abcdef", "naïve", "a\0", "\0\0", "日本語"])
def test_a_short_value_comes_back_whole(value: str) -> None:
    values = [*([value] * 2_000), *(f"{n}" for n in range(20_000))]
    found = of(values).frequent()
    assert [(each.value, each.whole) for each in found] == [(value, True)]
    assert 2_000 <= found[0].count <= 2_000 + ERROR * len(values)


def test_no_value_is_frequent_where_all_are_rare() -> None:
    assert of([f"{n}" for n in range(50_000)]).frequent(0.005) == []


# -- the codec --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fields() -> tuple[int, int, list[str], PackedArray, PackedArray, bytes | None, PackedArray | None]:
    data = of([f"{n}" for n in range(LIMIT + 10)]).encode()
    return unpacked(
        "frequent", data, tuple[int, int, list[str], PackedArray, PackedArray, bytes | None, PackedArray | None]
    )


@pytest.mark.parametrize("damage", ["none", "short", "rows", "bit", "sketch"])
def test_a_damaged_table_is_corrupt(
    damage: str, fields: tuple[int, int, list[str], PackedArray, PackedArray, bytes | None, PackedArray | None]
) -> None:
    assert fields[-1] is not None
    table = unpack_array(fields[-1]).astype(np.int64)
    told = {"none": "no table", "short": "where 44288 are"}.get(damage, "contradict each other")
    if damage == "short":
        table = table[:-1]
    if damage == "rows":
        heavy.cells(table)[0, 0, 0] += 1
    if damage == "bit":
        heavy.cells(table)[1, 3, 7] = heavy.cells(table)[1, 3, 0] + 1
    if damage == "sketch":
        heavy.sketch(table)[2, 9] += 1
    damaged = None if damage == "none" else pack_array(table)
    with pytest.raises(Corrupt, match=told):
        FrequentState.decode(packed("frequent", (*fields[:-1], damaged)))


def test_a_table_beside_all_values_is_corrupt() -> None:
    table = HeavyState.of_table(heavy.empty()).packed
    nothing: list[str] = []
    whole = (0, LIMIT, nothing, (1, b""), (1, b""), None, table)
    with pytest.raises(Corrupt, match="a table of frequent values beside a sample of level 0"):
        FrequentState.decode(packed("frequent", whole))


def test_states_of_an_earlier_version_are_refused_with_both_versions() -> None:
    data = FrequentState().encode()
    with pytest.raises(Corrupt, match="format version 2 where format version 3 should stand"):
        FrequentState.decode(b"\x02" + data[1:])


def test_tallies_without_rows_have_no_table() -> None:
    tally = Tally(pa.array([f"{n}" for n in range(50)]), np.zeros(50, np.int64), np.zeros(50, np.int64))
    assert FrequentState.of_tally(tally, 3) == FrequentState(limit=3) or FrequentState.of_tally(tally, 3).exact
