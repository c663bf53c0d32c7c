"""What the simulator's tests share: recorded bodies, a frozen instant, and a raw HTTP exchange."""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

FIXTURES = Path(__file__).parent.parent / "fixtures"
SLICE = FIXTURES / "sp500_slice.parquet"
EVENING = datetime(2025, 3, 4, 23, 0, tzinfo=UTC)  # a Tuesday, after the close
NOON = datetime(2025, 3, 4, 17, 0, 20, tzinfo=UTC)  # the same day, at 12:00:20 in New York
DEADLINE_S = 10.0


def recorded(name: str) -> bytes:
    """Return a body that FMP once sent."""
    return (FIXTURES / "fmp" / name).read_bytes()


@dataclass(frozen=True)
class Received:
    """An HTTP answer as it came: headers as spelt, the body as sent, unchunked."""

    status: int
    headers: dict[str, str]
    sent: bytes

    @property
    def body(self) -> bytes:
        """The body, inflated where it is in gzip."""
        zipped = self.headers.get("Content-Encoding") == "gzip"
        return zlib.decompress(self.sent, 31) if zipped else self.sent


async def get(base_url: str, target: str, **headers: str) -> Received:
    """GET ``target`` below the base URL, on a connection of its own that stays open as FMP's do."""
    url = urlsplit(base_url)
    lines = [f"GET {url.path}{target} HTTP/1.1", f"Host: {url.netloc}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        try:
            return await _received(reader)
        finally:
            writer.close()
            await writer.wait_closed()


async def _received(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    if headers.get("Transfer-Encoding") == "chunked":
        sent = await _unchunked(reader)
    else:
        sent = await reader.readexactly(int(headers["Content-Length"]))
    return Received(int(head[0].split()[1]), headers, sent)


async def _unchunked(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        assert await reader.readline() == b"\r\n"
    return body
