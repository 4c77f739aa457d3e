"""Bodies that were kept as bytes, or whose type is wrong: what can be read of them as CSV or JSON after all.

Model Monitor leaves BASE64 to a preprocess script. Here such a body is read where its content type, gzip's mark, its
first character or the endpoint's declaration says what it is; what is left has its reason in place of an encoding.
"""

from __future__ import annotations

import re
import zlib
from binascii import Error as Base64Error
from binascii import a2b_base64
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from driftline.dataset.lines import LONGEST
from driftline.dataset.shapes import BINARY
from driftline.schema import Shape

REASON: Final = "? "
"""How a reason begins that stands in place of an encoding."""
CUT: Final = "TRUNCATED"
"""In place of the encoding of a body of which only the beginning was captured."""
_CSV: Final = frozenset({"text/csv", "application/csv"})
_JSON: Final = frozenset(
    f"application/{kind}" for kind in ("json", "jsonl", "jsonlines", "ndjson", "x-json", "x-jsonlines", "x-ndjson")
)
_NAMELESS: Final = frozenset(
    {"", "application/octet-stream", "application/x-www-form-urlencoded", "text/plain", "text/html"}
)
"""Types that clients and frameworks send by default, whatever the body is."""
_CHARSET: Final = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9._:-]+)", re.IGNORECASE)
_GZIP: Final = b"\x1f\x8b"


class _Unreadable(Exception):  # noqa: N818  it is the reason of a dead letter
    pass


def read_bodies(
    data: pa.Array, encoding: pa.Array, content_type: pa.Array, shape: Shape | None
) -> tuple[pa.Array, pa.Array]:
    """`data` and `encoding` with texts in place of bytes, and the reason where a body cannot be read.

    Args:
        content_type: of the bodies in BASE64.
        shape: what is declared of the side; then its texts are CSV, or JSON, whatever their type says.
    """
    if shape is not None:
        text = pc.is_in(encoding, pa.array(["CSV", "JSON"]))
        encoding = pc.if_else(pc.fill_null(text, False), pa.scalar("CSV" if shape == "csv" else "JSON"), encoding)
    cut = pc.fill_null(pc.equal(encoding, CUT), False)
    if pc.any(cut).as_py():
        encoding = pc.if_else(cut, pa.scalar(f"{REASON}only the beginning of the body was captured"), encoding)
    packed: npt.NDArray[np.bool_] = pc.fill_null(pc.equal(encoding, "BASE64"), False).to_numpy(zero_copy_only=False)
    if not packed.any():
        return data, encoding
    texts, kinds = data.to_pylist(), encoding.to_pylist()
    for at in np.flatnonzero(packed).tolist():
        if texts[at] is None:
            continue
        try:
            texts[at], kinds[at] = _read(texts[at], content_type[at].as_py() or "", shape)
        except _Unreadable as why:
            kinds[at] = f"{REASON}{why}"
    return pa.array(texts, pa.string()), pa.array(kinds, pa.string())


def _read(data: str, content_type: str, shape: Shape | None) -> tuple[str, str]:
    """The text of a body, and its encoding."""
    try:
        body = a2b_base64(data.encode(), strict_mode=True)
    except (Base64Error, UnicodeError) as why:
        raise _Unreadable("the data is not BASE64, though its encoding says so") from why
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith("multipart/"):
        raise _Unreadable(f"{kind[:100]}; a preprocess script must decode it")
    text = _text(_unzipped(body), content_type, kind)
    if shape is not None:
        return text, "CSV" if shape == "csv" else "JSON"
    if kind in _CSV:
        return text, "CSV"
    if kind in _JSON or kind.endswith("+json") or (kind in _NAMELESS and text.lstrip().startswith(("{", "["))):
        return text, "JSON"
    raise _Unreadable(_strange(kind))


def _unzipped(body: bytes) -> bytes:
    if not body.startswith(_GZIP):
        return body
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(body, LONGEST)
    except zlib.error as why:
        raise _Unreadable("the gzip'd body is broken") from why
    if unpacker.unconsumed_tail:
        raise _Unreadable(f"the gzip'd body holds more than {LONGEST >> 20} MB")
    if not unpacker.eof:
        raise _Unreadable("the gzip'd body is broken off")
    return unpacked


def _text(body: bytes, content_type: str, kind: str) -> str:
    named = _CHARSET.search(content_type)
    try:
        return body.decode(named.group(1) if named else "utf-8-sig")
    except (UnicodeError, LookupError) as why:
        if b'"binary_data' in body:
            raise _Unreadable(BINARY) from why
        if kind in _CSV or kind in _JSON or kind.startswith("text/"):
            raise _Unreadable(f"the body is not {'text of its charset' if named else 'UTF-8'}") from why
        raise _Unreadable(_strange(kind)) from why


def _strange(kind: str) -> str:
    of = f" of type {kind[:100]}" if kind else ""
    return f"BASE64 data{of}; a preprocess script must decode it"
