"""Reading a body within bounds, compressed or not."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

from collector.errors import Failed, Kind, Transient

GZIP = 16 + zlib.MAX_WBITS


class Inflater:
    """Collects a body and undoes its gzip, up to ``limit`` bytes on either side of it. Pure.

    Unlike aiohttp's own decompression it holds no more than the limit, and tells a gzip that was
    cut off from one that ended.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        if encoding not in ("", "identity", "gzip"):
            raise Transient(Kind.BAD_BODY, f"unknown content encoding {encoding[:20]!a}")
        self._gzip = zlib.decompressobj(GZIP) if encoding == "gzip" else None
        self._limit = limit
        self._received = 0
        self._body = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Raises `Failed` (``too_large``) or `Transient` (``bad_body``)."""
        self._received += len(chunk)
        self._body += self._inflate(chunk)
        if max(self._received, len(self._body)) > self._limit:
            raise Failed(Kind.TOO_LARGE, f"the body is larger than {self._limit} bytes")

    def finish(self) -> bytes:
        """The whole body. Raises `Transient` (``bad_body``) for a gzip that was cut off."""
        if self._gzip is not None and self._received and not self._gzip.eof:
            raise Transient(Kind.BAD_BODY, "the compressed body is cut off")
        return bytes(self._body)

    def _inflate(self, chunk: bytes) -> bytes:
        if self._gzip is None:
            return chunk
        room = self._limit - len(self._body) + 1
        broken = False
        try:
            inflated = self._gzip.decompress(chunk, room)
        except zlib.error:
            broken = True
        if broken or self._gzip.unused_data:
            raise Transient(Kind.BAD_BODY, "the compressed body is broken")
        return inflated


async def read(chunks: AsyncIterator[bytes], encoding: str, limit: int) -> bytes:
    """Read all of ``chunks``; raises as `Inflater` does as soon as they are too many."""
    inflater = Inflater(encoding.strip().lower(), limit)
    async for chunk in chunks:
        inflater.feed(chunk)
    return inflater.finish()
