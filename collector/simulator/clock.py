"""What time it is for the simulator."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]


def real_time() -> datetime:
    """The instant now, in UTC."""
    return datetime.now(UTC)


def ticking_from(start_at: datetime) -> Clock:
    """A clock that shows ``start_at`` (aware) now, and goes on from there."""
    begun = time.monotonic()
    return lambda: start_at + timedelta(seconds=time.monotonic() - begun)
