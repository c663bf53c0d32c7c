"""A strict sliding window over the instants at which calls arrive."""

from __future__ import annotations

from collections import deque


class SlidingWindow:
    """Admits at most ``limit`` calls in any ``period_s`` seconds; a refused call does not count.

    A call leaves the window when exactly ``period_s`` have passed.
    """

    def __init__(self, limit: int, period_s: float) -> None:
        self._limit = limit
        self._period_s = period_s
        self._admitted: deque[float] = deque()

    def admit(self, at: float) -> bool:
        """Whether the call at ``at`` (monotonic seconds, never falling) is within the limit."""
        while self._admitted and self._admitted[0] <= at - self._period_s:
            self._admitted.popleft()
        if len(self._admitted) >= self._limit:
            return False
        self._admitted.append(at)
        return True
