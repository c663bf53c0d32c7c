"""Work that a stop cuts short."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def within(work: Coroutine[Any, Any, T], stop: asyncio.Event, grace_s: float) -> T:
    """Await ``work``; once ``stop`` is set it has ``grace_s`` seconds more, then it is cancelled.

    Raises `TimeoutError` where it was.
    """
    async with asyncio.timeout(None) as deadline:
        watching = asyncio.create_task(_expire(deadline, stop, grace_s), name="deadline")
        try:
            return await work
        finally:
            watching.cancel()


async def _expire(deadline: asyncio.Timeout, stop: asyncio.Event, grace_s: float) -> None:
    await stop.wait()
    deadline.reschedule(asyncio.get_running_loop().time() + grace_s)
