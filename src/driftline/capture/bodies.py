"""Bodies as taps keep them: their beginnings, packed as they came. It is the writer's thread that unpacks them."""

from __future__ import annotations

import zlib
from typing import Final

_UNPACKED_HERE = frozenset({"gzip", "x-gzip", "deflate"})


class Kept:
    """The beginning of a body, and whether that was all of it."""

    __slots__ = ("_encoding", "_first", "_more", "_most", "_room", "overran", "whole")

    def __init__(self, most: int, encoding: str | None) -> None:
        self._first = b""
        self._more: bytearray | None = None
        self._most = self._room = most
        self._encoding = encoding
        self.overran = False
        """Whether more was sent than there is room for: what comes now changes nothing."""
        self.whole = False
        """Whether the body has come to its end."""

    def add(self, chunk: bytes | bytearray | memoryview) -> None:
        """Keep of the chunk what there is room for."""
        if len(chunk) > self._room:
            self.overran = True
            chunk = chunk[: self._room]
        if not chunk:
            return
        self._room -= len(chunk)
        if self._more is not None:
            self._more += chunk
        elif self._first:
            self._more = bytearray(self._first)  # not a list: millions of small chunks would take 20 times their bytes
            self._more += chunk
        else:
            self._first = bytes(chunk)

    def body(self) -> bytes | Packed:
        """What was kept."""
        content = self._first if self._more is None else bytes(self._more)
        if self._encoding is None or not content:
            return content
        encoding = self._encoding.strip().lower()
        return Packed(content, self._most, raw=encoding == "deflate") if encoding in _UNPACKED_HERE else content

    @property
    def truncated(self) -> bool:
        """Whether more was sent than was kept, or the body broke off."""
        return self.overran or not self.whole


NOTHING_YET: Final = Kept(0, None)
"""A body of which nothing has come. One for all: what comes goes into a `Kept` of its own."""


def text_of(value: bytes | bytearray) -> str:
    """The value of a header."""
    try:
        return value.decode().strip()
    except UnicodeDecodeError:
        return value.decode("latin-1").strip()


class Packed:
    """A body that its sender packed with gzip or deflate, as it came."""

    __slots__ = ("_content", "_most", "_raw")

    def __init__(self, content: bytes, most: int, *, raw: bool) -> None:
        self._content = content
        self._most = most
        self._raw = raw

    def __len__(self) -> int:
        return len(self._content)

    def unpacked(self) -> tuple[bytes, bool]:
        """The body as its content type describes it, as far as there is room, and whether that is only its beginning.

        A body that is not packed as its sender says stays as it was sent.
        """
        found = self._by(zlib.MAX_WBITS | 32)  # gzip or zlib, by their first bytes
        if found is None and self._raw:
            found = self._by(-zlib.MAX_WBITS)  # some send it without its head; then only its end shows that it is one
            if found is not None and found[1] and len(found[0]) < self._most:
                found = None
        return found or (self._content, False)

    def _by(self, bits: int) -> tuple[bytes, bool] | None:
        text, rest = b"", self._content
        while rest and len(text) <= self._most:
            packed = zlib.decompressobj(bits)
            try:
                text += packed.decompress(rest, self._most + 1 - len(text))
            except zlib.error:
                # After a whole one: something that the sender put behind it.
                return (text, False) if rest is not self._content else None
            if not packed.eof:
                return (text[: self._most], True) if text else None
            rest = packed.unused_data
        return text[: self._most], len(text) > self._most
