"""The bytes of states: one format version, the kind of state, then MessagePack of integers, arrays and strings.

Equal states give equal bytes: arrays are little-endian in the narrowest width that holds them, big integers in the
fewest bytes, and whoever packs a mapping sorts it.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from driftline.errors import Corrupt
from driftline.kernels.distinct import SIZE

FORMAT: Final = 3
"""The version of the bytes; a state of another version is refused."""

T = TypeVar("T")
PackedArray: TypeAlias = tuple[int, bytes]  # bytes per number, and the numbers

_WIDTHS: Final = (1, 2, 4, 8)


def packed(kind: str, fields: tuple[Any, ...]) -> bytes:
    """The bytes of a state of this kind."""
    return bytes((FORMAT,)) + msgspec.msgpack.encode((kind, fields))


def unpacked(kind: str, data: bytes, fields: type[T]) -> T:
    """The fields that `packed` was given, checked against their types. Raises Corrupt."""
    if data[:1] != bytes((FORMAT,)):
        what = "nothing" if not data else f"format version {data[0]}"
        raise Corrupt(f"not the bytes of a {kind} state: {what} where format version {FORMAT} should stand")
    try:
        name, rest = msgspec.msgpack.decode(data[1:], type=tuple[str, msgspec.Raw])
        if name != kind:
            raise Corrupt(f"these are the bytes of a {name!r} state, not of a {kind!r} state")
        return msgspec.msgpack.decode(rest, type=fields)
    except msgspec.DecodeError as why:
        raise Corrupt(f"not the bytes of a {kind} state ({len(data)} bytes): {why}") from why


def pack_integer(number: int) -> bytes:
    """An integer of any size."""
    return number.to_bytes((number.bit_length() + 8) // 8, "little", signed=True)


def unpack_integer(data: bytes) -> int:
    """The integer that `pack_integer` was given."""
    return int.from_bytes(data, "little", signed=True)


def pack_integers(*numbers: int) -> list[bytes]:
    """Integers of any size."""
    return [pack_integer(number) for number in numbers]


def unpack_integers(data: list[bytes], expected: int) -> list[int]:
    """The integers that `pack_integers` was given. Raises Corrupt when there are not as many as expected."""
    if len(data) != expected:
        raise Corrupt(f"{len(data)} sums where there should be {expected}")
    return [unpack_integer(each) for each in data]


def pack_array(numbers: npt.NDArray[np.integer[Any]]) -> PackedArray:
    """Integers that are not negative."""
    top = int(numbers.max(initial=0))
    width = next(width for width in _WIDTHS if top < 1 << (8 * width))
    return width, numbers.astype(f"<u{width}").tobytes()


def unpack_array(data: PackedArray) -> npt.NDArray[np.uint64]:
    """The integers that `pack_array` was given. Raises Corrupt."""
    width, numbers = data
    if width not in _WIDTHS or len(numbers) % width:
        raise Corrupt(f"an array of {len(numbers)} bytes does not hold numbers of {width} bytes")
    return np.frombuffer(numbers, dtype=f"<u{width}").astype(np.uint64)


def checked_registers(registers: bytes | None, needed: bool) -> bytes | None:
    """The registers as they were packed. Raises Corrupt when they are not there and needed, or not of their size."""
    if needed != (registers is not None) or (registers is not None and len(registers) != SIZE):
        raise Corrupt(
            f"{'no' if registers is None else len(registers)} registers where {SIZE if needed else 'none'} are"
        )
    return registers
