"""Kernel locks on files, and work that a cancellation does not tear."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
STEP_S = 0.02


@asynccontextmanager
async def locked(path: Path, deadline_s: float) -> AsyncIterator[None]:
    """Hold a file's lock alone; ``TimeoutError`` if it is not to be had within the deadline."""
    descriptor = opened(path)
    try:
        give_up_at = time.monotonic() + deadline_s
        while not try_lock(descriptor):
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"{path} is held for more than {deadline_s:g} s")
            await asyncio.sleep(STEP_S)
        yield
    finally:
        os.close(descriptor)


def opened(path: Path) -> int:
    """Open a lock file; the caller closes the descriptor, and with it goes the lock."""
    # Python opens with O_CLOEXEC: no server inherits the lock.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def try_lock(descriptor: int) -> bool:
    """Take the lock alone if nobody has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def unhurried(work: Coroutine[Any, Any, T]) -> T:
    """Finish ``work`` though cancelled, and be cancelled then. ``work`` must be bounded itself."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # seen: nobody else will ask
        raise cancelled
    return task.result()
