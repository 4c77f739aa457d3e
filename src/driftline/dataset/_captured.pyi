from typing import Any

FORM: int

def parse(
    data: bytes | bytearray,
    length: int,
    output_kinds: bytes,
    input_kinds: bytes,
    needed: int,
    timed: bool,
    low: int,
    high: int,
    suspects: Any,
    powers: Any,
) -> tuple[Any, ...]: ...
def hash_of(text: str, /) -> int: ...
