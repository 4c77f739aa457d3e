"""Both kernels keep the same bits of every sort of column, whatever the split; and they keep the truth."""

from __future__ import annotations

import shutil
import sysconfig
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from driftline.kernels import heavy, numbers, texts
from driftline.kernels.distinct import ERROR, SIZE, estimate, registers_of
from driftline.kernels.in_numpy import InNumPy, Kept
from driftline.kernels.numbers import Accumulator, Compiled
from driftline.kernels.reference import UNIT, hash_keys
from driftline.states.reading import lying_strings, lying_texts

N = 40_000
R = np.random.default_rng(3)
SIGNS = R.choice([-1.0, 1.0], N)
COLUMNS = {
    "normal": R.normal(size=N),
    "few": R.integers(-500, 3000, N).astype(np.float64),
    "prices": np.round(R.gamma(2, 400, N), 2),
    "mostly zero": np.where(R.random(N) < 0.7, SIGNS * 0.0, R.normal(size=N)),
    "wide": np.exp2(R.uniform(-1070, 1023, N)) * SIGNS,
    "all bits": R.integers(0, 2**64, N, dtype=np.uint64).view(np.float64),
    "subnormal": R.integers(0, 2**52, N, dtype=np.uint64).view(np.float64),
    "epoch": 1.7e12 + R.integers(0, 3 * 10**9, N),
    "constant": np.full(N, -3.5),
    "holes": np.where(R.random(N) < 0.3, np.nan, R.normal(size=N)),
    "infinite": np.where(R.random(N) < 0.1, SIGNS * np.inf, R.normal(size=N)),
    "int8": R.integers(-128, 128, N).astype(np.int8),
    "uint8": R.integers(0, 256, N).astype(np.uint8),
    "int16": R.integers(-(2**15), 2**15, N).astype(np.int16),
    "uint16": R.integers(0, 2**16, N).astype(np.uint16),
    "int32": R.integers(-(2**31), 2**31, N).astype(np.int32),
    "uint32": R.integers(0, 2**32, N).astype(np.uint32),
    "int64": R.integers(-(2**63), 2**63 - 1, N),
    "uint64": R.integers(0, 2**64 - 1, N, dtype=np.uint64),
    "float32": R.normal(size=N).astype(np.float32),
}

needs_compiled = pytest.mark.skipif(not numbers.compiled(), reason="the package was built without a compiler")
every_column = pytest.mark.parametrize("name", COLUMNS)


def test_the_kernel_was_compiled_where_a_compiler_is() -> None:
    headers = Path(sysconfig.get_path("include"), "Python.h").exists()
    if not (shutil.which("gcc") or shutil.which("cc")) or not headers:
        pytest.skip("no compiler here")
    assert numbers.compiled()


def sort_of(values: np.ndarray) -> str:
    return {"l": "q", "L": "Q"}.get(values.dtype.char, values.dtype.char)


def take_in(accumulator: Accumulator, values: np.ndarray, validity: bytes | None = None, parts: int = 3) -> Kept:
    edges = [len(values) * i // parts for i in range(parts + 1)]
    for start, end in pairwise(edges):
        accumulator.add(sort_of(values), values, validity, start, end - start)
    return accumulator.kept()


def same(one: Kept, two: Kept) -> bool:
    assert one._replace(buckets=two.buckets, registers=two.registers) == two
    assert one.buckets.shift == two.buckets.shift
    np.testing.assert_array_equal(one.buckets.keys, two.buckets.keys)
    np.testing.assert_array_equal(one.buckets.counts, two.buckets.counts)
    assert (one.registers is None) == (two.registers is None)
    if one.registers is not None and two.registers is not None:
        np.testing.assert_array_equal(one.registers, two.registers)
    return True


@needs_compiled
@every_column
@pytest.mark.parametrize("limit", [2, 3, 16, 4096])
def test_both_kernels_keep_the_same(name: str, limit: int) -> None:
    values = COLUMNS[name]
    assert same(take_in(Compiled(limit), values, parts=1), take_in(InNumPy(limit), values))


@needs_compiled
@every_column
def test_both_kernels_pass_over_the_same_nulls(name: str) -> None:
    values = COLUMNS[name]
    validity = np.packbits(R.random(N) < 0.6, bitorder="little").tobytes()
    assert same(take_in(Compiled(4096), values, validity), take_in(InNumPy(4096), values, validity, parts=7))


@pytest.mark.parametrize("kernel", [pytest.param(Compiled, marks=needs_compiled), InNumPy])
def test_what_was_kept_may_be_asked_for_and_more_added(kernel: type[Compiled] | type[InNumPy]) -> None:
    for name in ("normal", "few", "prices"):
        values = COLUMNS[name]
        accumulator = kernel(4096)
        take_in(accumulator, values[:9000])
        accumulator.kept()
        take_in(accumulator, values[9000:])
        assert same(accumulator.kept(), take_in(kernel(4096), values))


@every_column
def test_many_small_batches_are_one_large_one(name: str) -> None:
    values = COLUMNS[name]
    assert same(take_in(InNumPy(16), values, parts=200), take_in(InNumPy(16), values, parts=1))


@every_column
def test_sums_are_exact(name: str) -> None:
    values = COLUMNS[name]
    kept = take_in(numbers.accumulator(4096), values)
    finite = [Fraction(float(value)) for value in values if np.isfinite(float(value))]
    assert Fraction(kept.sum, 2**UNIT) == sum(finite)
    assert Fraction(kept.squares, 4**UNIT) == sum(value * value for value in finite)


@needs_compiled
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("x", b"12345678", None, 0, 1), "unknown sort"),
        (("d", b"1234567", None, 0, 1), "too short"),
        (("d", b"12345678", None, 1, 1), "too short"),
        (("d", b"12345678", None, -1, 1), "too short"),
        (("b", b"1" * 9, b"1", 0, 9), "validity"),
    ],
)
def test_a_buffer_is_never_read_beyond_its_end(arguments: tuple[str, bytes, bytes | None, int, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Compiled(16).add(*arguments)


@pytest.mark.parametrize("distinct", [1, 10, 1_000, 20_000, 200_000, 2_000_000])
def test_registers_estimate_the_number_of_distinct_values(distinct: int) -> None:
    registers = registers_of(hash_keys(np.arange(distinct, dtype=np.uint64)))
    assert abs(estimate(registers) / distinct - 1) < 4 * ERROR


def test_the_error_of_estimates_is_the_stated_one() -> None:
    n, repeats = 200_000, 100
    errors = []
    for start in range(0, n * repeats, n):
        registers = registers_of(hash_keys(np.arange(start, start + n, dtype=np.uint64)))
        errors.append(estimate(registers) / n - 1)
    spread = float(np.sqrt(np.mean(np.square(errors))))
    assert 0.75 * ERROR < spread < 1.25 * ERROR
    assert abs(float(np.mean(errors))) < 4 * ERROR / np.sqrt(repeats)


def test_no_values_are_no_values() -> None:
    assert estimate(np.zeros(SIZE, np.uint8)) == 0.0


TEXTS = [
    None,
    "",
    "7",
    "-7.5",
    "+ 3",
    "1e5",
    "true",
    "false",
    "True",
    "e",
    "E5",
    "12a",
    "ab",
    "naïve",
    "\u0661",
    "1.",
    "-",
    "0" * 40,
]
TEXTS += [f"user-{i}" for i in range(500)] + [str(i) for i in range(300)] + ["x" * n for n in range(70)]


@needs_compiled
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
@pytest.mark.parametrize("cut", [slice(None), slice(3, 700), slice(0, 0)], ids=["whole", "a slice", "nothing"])
def test_texts_looked_at_once_are_what_they_are_looked_at_one_by_one(kind: pa.DataType, cut: slice) -> None:
    column = pa.array(TEXTS, kind)[cut]
    registers, table, level = bytearray(SIZE), heavy.empty(), 3
    where, lying = lying_texts(column)
    found = numbers.sample_strings(where, level, lying, registers, table)
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    data, offsets = lying_strings(column.drop_null())
    hashes, told = texts.hash_strings(data, offsets), texts.spellings(data, offsets)
    assert found.rows.tolist() == rows[hashes < 2 ** (64 - level)].tolist()
    assert found.numerals.tolist() == rows[(told == 1) | (told == 2)].tolist()
    assert found.kinds == tuple(np.bincount(told, minlength=4))
    assert registers == registers_of(hashes).tobytes()
    expected = heavy.empty()
    heavy.take_in(expected, heavy.words_of(data, offsets, hashes))
    assert table.tolist() == expected.tolist()


@needs_compiled
@pytest.mark.parametrize("offsets", [[0, 5], [-1, 2], [2, 1], [0, 2**31 - 1]], ids=str)
def test_texts_are_never_read_beyond_their_bytes(offsets: list[int]) -> None:
    lying = ("i", np.array(offsets, np.int32), None, 0, 1)
    with pytest.raises(ValueError, match="do not fit the bytes"):
        numbers.sample_strings(lying, 1, b"text", bytearray(SIZE), heavy.empty())


@needs_compiled
def test_keys_that_do_not_fit_their_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="not three words of so many keys"):
        numbers.table_of_counts(np.zeros((3, 2), np.uint64), np.zeros(3, np.int64))


@needs_compiled
def test_a_table_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="all registers and a table"):
        numbers.sample_strings(
            ("i", np.array([0, 4], np.int32), None, 0, 1), 1, b"text", bytearray(SIZE), heavy.empty()[:-1]
        )


@needs_compiled
@pytest.mark.parametrize(
    ("sort", "offset", "length", "level", "size"),
    [("d", 0, 1, 1, SIZE), ("i", 0, 2, 1, SIZE), ("i", 2, 0, 1, SIZE), ("i", 0, 1, 0, SIZE), ("i", 0, 1, 1, 5)],
)
def test_what_does_not_describe_texts_is_refused(sort: str, offset: int, length: int, level: int, size: int) -> None:
    with pytest.raises(ValueError, match="not the offsets of so many texts"):
        numbers.sample_strings(
            (sort, np.array([0, 4], np.int32), None, offset, length), level, b"text", bytearray(size), heavy.empty()
        )
