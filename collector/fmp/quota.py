"""How many calls may be sent: never more than the quota in any rolling minute, at the server.

Two nets, one behind the other. Spacing (aiolimiter) keeps the calls apart, so that there is no
burst, also not after a restart. The `LastMinute` makes the promise strict whatever the network
does: it counts a call until a minute after its *answer*, because the call reached the server at
some instant between the two.
"""

from __future__ import annotations

import asyncio
from collections import deque

from aiolimiter import AsyncLimiter

MINUTE_S = 60.0
HEAD_ROOM = 1.01  # absorbs 0.6 s of jitter in a minute, so that the last minute is rarely full
LATENESS = 0.25  # of a spacing, at least: a timer that fires late by less than this,
LATENESS_S = 0.05  # or than this, delays its own call only


class LastMinute:
    """The calls that may have reached the server within the last ``period_s`` seconds. Pure.

    Let the last-sent of the calls that reach the server in some window have been sent at ``t``.
    Each other one was answered after the window began, so not before ``t - period_s``, and was
    counted at ``t``. So the window holds at most ``limit`` calls.
    """

    def __init__(self, limit: int, period_s: float = MINUTE_S) -> None:
        self._limit = limit
        self._period_s = period_s
        self._unanswered = 0
        self._answered_at: deque[float] = deque()

    def room_at(self, at: float) -> float | None:
        """When one more call may be sent, not before ``at``; None: when a call is answered."""
        self._forget(at)
        free = self._limit - self._unanswered
        if free <= 0:
            return None
        surplus = len(self._answered_at) - free
        return at if surplus < 0 else self._answered_at[surplus] + self._period_s

    def sent(self) -> None:
        """A call is being sent."""
        self._unanswered += 1

    def answered(self, at: float) -> None:
        """A call has ended, in whatever way."""
        self._unanswered -= 1
        self._answered_at.append(at)

    def _forget(self, at: float) -> None:
        while self._answered_at and self._answered_at[0] + self._period_s < at:
            self._answered_at.popleft()


class Quota:
    """``requests_per_minute`` calls a minute, evenly spaced; None is no limit.

    One caller at a time awaits `next`. ``period_s`` is the minute, which tests shorten.
    """

    def __init__(self, requests_per_minute: int | None, period_s: float = MINUTE_S) -> None:
        self._limiter: AsyncLimiter | None = None
        self._last_minute: LastMinute | None = None
        self._answer = asyncio.Event()
        self._filled = False
        if requests_per_minute is not None:
            spacing_s = period_s / requests_per_minute * HEAD_ROOM
            burst = 1 + max(LATENESS, LATENESS_S / spacing_s)
            self._limiter = AsyncLimiter(burst, burst * spacing_s)
            self._last_minute = LastMinute(requests_per_minute, period_s)

    async def next(self) -> None:
        """Wait until one more call may be sent. It ends: each call has its own deadline."""
        if self._limiter is None:
            return
        if not self._filled:  # as if calls had just been sent: a process before us may have
            self._filled = True
            await self._limiter.acquire(self._limiter.max_rate)
        await self._limiter.acquire()
        await self._room()

    def sent(self) -> None:
        """The call that `next` let through is being sent."""
        if self._last_minute is not None:
            self._last_minute.sent()

    def answered(self) -> None:
        """That call has ended, in whatever way."""
        if self._last_minute is not None:
            self._last_minute.answered(asyncio.get_running_loop().time())
            self._answer.set()

    async def _room(self) -> None:
        loop = asyncio.get_running_loop()
        while self._last_minute is not None:
            self._answer.clear()
            room_at = self._last_minute.room_at(loop.time())
            if room_at is None:
                await self._answer.wait()
            elif room_at > loop.time():
                await asyncio.sleep(room_at - loop.time())
            else:
                return
