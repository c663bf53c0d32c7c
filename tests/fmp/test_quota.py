"""The promise: never more calls than configured in any rolling minute, at the server."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.fmp.bandwidth import Bandwidth
from collector.fmp.client import Waits
from collector.fmp.quota import LastMinute, Quota
from tests.fmp.server import Drop, Scripted, Seen, asked, reply
from tests.fmp.test_client import BOTH_LOOPS, REQUEST


def densest(instants: list[float], window_s: float) -> int:
    """The most instants in any half-open window of that length."""
    ordered = sorted(instants)
    return max(
        sum(1 for at in ordered[n:] if at < first + window_s) for n, first in enumerate(ordered)
    )


class VirtualTime(asyncio.SelectorEventLoop):
    """A loop that never waits: where it would sleep, its clock jumps."""

    def __init__(self) -> None:
        super().__init__(_Jumping(self))
        self.now = 1000.0
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Virtual seconds."""
        return self.now


class _Jumping(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTime) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.now += max(timeout or 0.0, 1e-6)  # a clock that stood still would spin timers
        return super().select(0)


def virtually(work: Callable[[], Awaitable[list[float]]]) -> list[float]:
    """Run ``work`` on a virtual clock."""
    loop = VirtualTime()
    try:
        return loop.run_until_complete(work())
    finally:
        loop.close()


async def sent(quota: Quota, calls: int, answer_s: Callable[[int], float]) -> list[float]:
    """When each of so many calls was sent, where the n-th takes ``answer_s(n)`` seconds."""
    loop = asyncio.get_running_loop()
    at: list[float] = []
    async with asyncio.TaskGroup() as group:
        for number in range(calls):
            await quota.next()
            quota.sent()
            at.append(loop.time())
            group.create_task(_answer(quota, answer_s(number)))
    return at


async def _answer(quota: Quota, seconds: float) -> None:
    await asyncio.sleep(seconds)
    quota.answered()


@pytest.mark.parametrize("rate", [1, 5, 300, 3000])
def test_calls_are_spaced_and_the_first_waits_too(rate: int) -> None:
    """A restart cannot burst: a process before us may just have sent its last."""
    begun_at = 1000.0
    calls = min(rate * 3, 1500)
    at = virtually(lambda: sent(Quota(rate), calls, lambda _: 0.0))
    assert at[0] - begun_at >= 60 / rate
    assert min((b - a for a, b in pairwise(at)), default=60) >= 0.7 * 60 / rate
    assert densest(at, 60) <= rate
    assert at[-1] - begun_at <= 1.02 * calls * 60 / rate + 1


def test_an_idle_time_earns_no_burst() -> None:
    """After an hour without a call the next ones are spaced as ever."""

    async def work() -> list[float]:
        quota = Quota(60)
        before = await sent(quota, 3, lambda _: 0.0)
        await asyncio.sleep(3600)
        return before + await sent(quota, 90, lambda _: 0.0)

    at = virtually(work)
    assert densest(at, 60) <= 60
    assert densest(at, 1.0) <= 2


@pytest.mark.parametrize("late_s", [0.0, 5.0, 30.0])
def test_no_delay_on_the_way_can_crowd_the_server(late_s: float) -> None:
    """The network holds back every call of some seconds and then delivers them all at once."""
    loop_start = 1000.0

    def arrives_after(sent_at: float) -> float:
        held = 90 <= sent_at - loop_start < 90 + late_s
        return max(0.0, loop_start + 90 + late_s - sent_at) if held else 0.01

    arrivals: list[float] = []

    async def work() -> list[float]:
        quota, loop = Quota(120), asyncio.get_running_loop()

        def answer_s(_: int) -> float:
            arrivals.append(loop.time() + arrives_after(loop.time()))
            return arrives_after(loop.time()) + 0.01

        return await sent(quota, 500, answer_s)

    virtually(work)
    assert densest(arrivals, 60) <= 120


def test_no_limit_is_no_wait() -> None:
    """`none`, which only a loopback server allows."""
    at = virtually(lambda: sent(Quota(None), 1000, lambda _: 0.0))
    assert len(at) == 1000
    assert at[-1] - 1000.0 < 0.01


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.floats(0, 3), st.floats(0, 30), st.floats(0, 1)), max_size=60),
)
def test_the_last_minute_is_never_overfull(
    limit: int, calls: list[tuple[float, float, float]]
) -> None:
    """Whenever calls are wanted, however long they take, wherever between they reach the server."""
    ledger, now = LastMinute(limit, 10.0), 0.0
    under_way: list[float] = []
    arrivals: list[float] = []

    def settle(until: float) -> None:
        for ended_at in sorted(under_way):
            if ended_at <= until:
                ledger.answered(ended_at)
                under_way.remove(ended_at)

    for gap, takes, where in calls:
        now += gap
        settle(now)
        while (room_at := ledger.room_at(now)) is None or room_at > now:
            now = min(under_way) if room_at is None else room_at
            settle(now)
        ledger.sent()
        under_way.append(now + takes)
        arrivals.append(now + takes * where)
    assert not arrivals or densest(arrivals, 9.999) <= limit


@BOTH_LOOPS
async def test_the_promise_at_a_real_server() -> None:
    """600 a minute for three seconds, from 16 callers, to a server that is slow at times."""

    async def at_times_slow(seen: Seen) -> bytes:
        await asyncio.sleep(0.05 if seen.number % 7 == 0 else 0)
        return reply()

    server = Scripted(at_times_slow)
    loop = asyncio.get_running_loop()
    async with asked(server, requests_per_minute=600, concurrency=16) as client:
        started_at = loop.time()
        await asyncio.gather(*(client.get(REQUEST) for _ in range(30)))
    arrivals = [seen.at for seen in server.seen]
    assert len(arrivals) == client.usage.calls == 30
    assert arrivals[0] - started_at >= 0.1
    for window_s in (0.5, 1.0, 2.0):
        assert densest(arrivals, window_s) <= 600 * window_s / 60 + 1
    assert arrivals[-1] - started_at <= 30 * 0.1 * 1.03 + 0.5


@BOTH_LOOPS
async def test_retries_are_within_the_promise() -> None:
    """A scaled minute of 0.4 s: connections die, answers fail, and no window holds too many."""

    def flaky(seen: Seen) -> bytes:
        if seen.on_connection == 2:
            raise Drop
        return reply(b"", 503) if seen.number % 9 == 0 else reply()

    server = Scripted(flaky)
    waits = Waits(minute_s=0.4, outage_s=0.01, backoff_s=0.001)
    async with asked(server, requests_per_minute=20, concurrency=8, waits=waits) as client:
        await asyncio.gather(*(client.get(REQUEST) for _ in range(40)), return_exceptions=True)
    arrivals = [seen.at for seen in server.seen]
    assert client.usage.retries > 5
    assert len(arrivals) == client.usage.calls
    assert densest(arrivals, 0.4) <= 20


def test_bandwidth_sets_aside_what_calls_under_way_may_bring() -> None:
    """So the limit is kept, not just noticed."""
    bandwidth = Bandwidth(250)
    bandwidth.sent()
    bandwidth.received(100)
    bandwidth.answered()
    assert bandwidth.has_room()
    bandwidth.sent()
    assert not bandwidth.has_room()
    bandwidth.answered()
    assert bandwidth.has_room()


def test_no_bandwidth_limit_always_has_room() -> None:
    """The default."""
    bandwidth = Bandwidth(None)
    bandwidth.received(10**15)
    assert bandwidth.has_room()
