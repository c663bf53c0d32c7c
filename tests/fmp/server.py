"""A raw HTTP server that does what a test tells it, also what no HTTP library would do."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from collector.fmp.client import FmpClient, Waits

BODIES = Path(__file__).parents[1] / "fixtures" / "fmp"
KEY = "CANARY9f3c1b7a5e2d4860canary0000"
QUICK = Waits(minute_s=60.0, outage_s=0.02, backoff_s=0.01, throttled_s=lambda: 0.02)


@dataclass(frozen=True)
class Seen:
    """A request as it arrived; ``number`` counts from 1 over all connections."""

    at: float
    number: int
    connection: int
    on_connection: int
    head: str

    @property
    def target(self) -> str:
        """Path and query."""
        return self.head.split(" ", 2)[1]


@dataclass
class Drop(Exception):
    """Tells the server to send ``first`` and abort the connection."""

    first: bytes = b""


Respond = Callable[[Seen], bytes | Awaitable[bytes]]


@dataclass
class Scripted:
    """The server. ``respond`` gives the bytes of each answer."""

    respond: Respond
    idle_s: float | None = None
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    open_now: int = 0
    nobody: asyncio.Event = field(default_factory=asyncio.Event)
    busy: int = 0
    busiest: int = 0

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Lend the base URL."""
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.nobody.set()
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/stable"
        finally:
            server.close()
            async with asyncio.timeout(10):
                await self.nobody.wait()  # each ends when its client has closed

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        self.nobody.clear()
        number = self.connections
        try:
            await self._requests(reader, writer, number)
        except Drop as drop:
            writer.write(drop.first)
            writer.transport.close() if drop.first else writer.transport.abort()
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self.open_now -= 1
            if self.open_now == 0:
                self.nobody.set()

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        served = 0
        while True:
            async with asyncio.timeout(self.idle_s):
                head = await reader.readuntil(b"\r\n\r\n")
            served += 1
            at = asyncio.get_running_loop().time()
            seen = Seen(at, len(self.seen) + 1, connection, served, head.decode())
            self.seen.append(seen)
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
            try:
                answer = self.respond(seen)
                writer.write(answer if isinstance(answer, bytes) else await answer)
                await writer.drain()
            finally:
                self.busy -= 1


def reply(body: bytes | str = b"[]", status: int = 200, **headers: str) -> bytes:
    """An answer with its length; ``Retry_After="3"`` becomes the header ``Retry-After``."""
    payload = body.encode() if isinstance(body, str) else body
    fields = {"Content-Type": "application/json", "Content-Length": str(len(payload))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}\r\n".encode() + payload


def zipped(body: bytes) -> bytes:
    """An answer compressed with gzip."""
    return reply(gzip.compress(body), Content_Encoding="gzip")


def recorded(name: str) -> bytes:
    """A body from `tests/fixtures/fmp`, as FMP sent it."""
    return (BODIES / name).read_bytes()


def rows(ticker: str, *days: str) -> bytes:
    """End-of-day rows of ``ticker`` for ``days``."""
    values = {"open": 2, "high": 3, "low": 1, "close": 2.5, "volume": 7}
    return json.dumps([{"symbol": ticker, "date": day, **values} for day in days]).encode()


@asynccontextmanager
async def asked(
    scripted: Scripted,
    **options: Any,  # noqa: ANN401 - those of FmpClient
) -> AsyncIterator[FmpClient]:
    """Lend a client of ``scripted``, without a quota and with quick waits unless told otherwise."""
    defaults: dict[str, Any] = {"requests_per_minute": None, "timeout_s": 3.0, "waits": QUICK}
    async with scripted.serve() as url, FmpClient(url, KEY, **(defaults | options)) as client:
        yield client
