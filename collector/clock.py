"""The clock of this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]


def clock(starts_at: datetime | None = None) -> Clock:
    """A function that returns the instant in UTC; with ``starts_at`` it begins there and ticks on.

    A replay of old bars needs the clock of their day.
    """
    if starts_at is None:
        return _now
    began_s = time.monotonic()
    return lambda: starts_at.astimezone(UTC) + timedelta(seconds=time.monotonic() - began_s)


def _now() -> datetime:
    return datetime.now(UTC)
