"""A relay on a Unix socket that counts connections and round trips between client and Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class Tap:
    """A round trip begins with the first bytes of a client after an answer, or after nothing."""

    def __init__(self, target: Path, chunk_s: float = 0.0) -> None:
        self.target = target
        self.chunk_s = chunk_s  # what 64 KiB towards Redis take
        self.connections = 0
        self.round_trips = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection, both ways, until either side closes."""
        self.connections += 1
        answers, requests = await asyncio.open_unix_connection(self.target)
        asked = False

        async def back() -> None:
            nonlocal asked
            while chunk := await answers.read(65536):
                asked = False
                writer.write(chunk)

        returning = asyncio.create_task(back())
        while chunk := await reader.read(65536):
            await asyncio.sleep(self.chunk_s)
            # A pipeline's first answers come while its end is still being sent: what follows
            # within the burst begins with no command's head.
            self.round_trips += not asked and chunk.startswith(b"*")
            asked = True
            requests.write(chunk)
        requests.close()
        await returning
        writer.close()


@asynccontextmanager
async def tapped(target: Path, chunk_s: float = 0.0) -> AsyncIterator[tuple[Tap, str]]:
    """Lend a tap before the Redis at ``target``, and the URL that leads through it."""
    tap, path = Tap(target, chunk_s), target.with_name("tap.sock")
    server = await asyncio.start_unix_server(tap.serve, path)
    try:
        yield tap, f"unix://{path}"
    finally:
        server.close()
        await server.wait_closed()
        path.unlink(missing_ok=True)
