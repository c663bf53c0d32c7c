"""A run from inside: real database, real Redis, the simulator, and the faults that need a hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from time import monotonic
from zoneinfo import ZoneInfo

import orjson
import pytest
from redis.asyncio import Redis

from collector.cache.breaker import Breaker
from collector.cache.client import build_client, close_client
from collector.cache.publish import Publisher
from collector.collect.progress import Silent
from collector.collect.publishing import Publishing
from collector.collect.report import Outcome, Report, Status
from collector.collect.run import Order, Rooms, Run, run_id
from collector.errors import Kind
from collector.fmp.client import FmpClient
from collector.market.plan import Rules
from collector.market.schedule import Schedule
from collector.market.sessions import calendar
from collector.market.timeframe import Timeframe
from collector.simulator.app import Simulator, SimulatorConfig
from collector.simulator.plan import Plan as FmpPlan
from collector.simulator.script import Rule
from collector.store.lock import FetchLock
from collector.store.migrate import migrate
from collector.store.pool import open_store
from collector.store.runs import last_runs

AT = datetime(2026, 11, 24, 11, 0, tzinfo=UTC)
TTL_S = {Timeframe.HOUR: 300, Timeframe.DAY: 3600, Timeframe.WEEK: 7200}


@asynccontextmanager
async def opened(
    dsn: str, redis_url: str, simulator: Simulator, *, as_stored: bool = False
) -> AsyncIterator[Rooms]:
    """Lend everything that a run works with, at `AT`; two years of history."""
    rules = Rules(calendar("XNYS", AT), Schedule(ZoneInfo("America/New_York")), history_years=2)
    client = build_client(redis_url)
    async with (
        simulator.serve() as base_url,
        open_store(dsn, outage_s=5.0) as store,
        FetchLock(dsn) as lock,
        FmpClient(base_url, "key", requests_per_minute=None, concurrency=4) as fmp,
    ):
        await migrate(store)
        await lock.acquire()
        publisher = Publisher(client, "scanner:", 500, TTL_S, True, Breaker(), monotonic)
        publishing = Publishing(store, publisher, rules.calendar, rules.schedule, lambda: AT)
        yield Rooms(store, lock, fmp, publishing, rules, lambda: AT, 4, as_stored)
        await close_client(client)


def simulator(**options: object) -> Simulator:
    """Return a simulator whose clock stands at `AT`."""
    return Simulator(replace(SimulatorConfig(clock=lambda: AT), **options))  # type: ignore[arg-type]


async def ran(rooms: Rooms, *tickers: str, stop: asyncio.Event | None = None) -> Report:
    """Do a daily run over ``tickers``."""
    order = Order(Timeframe.DAY, tickers)
    return await Run(rooms, order, stop or asyncio.Event(), Silent()).execute()


async def eventually(condition: Callable[[], bool], deadline_s: float) -> None:
    """Return as soon as ``condition()`` holds."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - what another task counts has no event
            await asyncio.sleep(0.01)


def outcomes(report: Report) -> dict[str, Kind | None]:
    """Return the kind of every problem by ticker."""
    return {item.ticker: item.kind for item in report.problems}


async def test_a_run_stores_publishes_and_reports(pg_dsn: str, redis_url: str) -> None:
    async with opened(pg_dsn, redis_url, simulator()) as rooms:
        report = await ran(rooms, "AAPL", "MSFT", "ZZZZ9")
        (run,) = await last_runs(rooms.store, 5)
        items = await rooms.store.fetch("SELECT ticker, outcome FROM run_items ORDER BY ticker")
        spent = await rooms.store.fetch("SELECT calls, bytes FROM api_usage")
    assert report.status is Status.PARTIAL
    assert report.tickers["stored"] == 2
    assert outcomes(report) == {"ZZZZ9": Kind.NOT_FOUND}
    assert report.rows["inserted"] == report.rows["fetched"] > 900
    assert report.cache["published"] == 4
    assert report.cache["round_trips"] == 2
    assert run.report == report.as_json()
    assert [tuple(item) for item in items] == [
        ("AAPL", "stored"), ("MSFT", "stored"), ("ZZZZ9", "failed"),
    ]  # fmt: skip
    assert [tuple(row) for row in spent] == [(3, report.api["bytes"])]


async def test_a_second_run_calls_nobody_and_publishes_again(pg_dsn: str, redis_url: str) -> None:
    fmp = simulator()
    async with opened(pg_dsn, redis_url, fmp) as rooms:
        await ran(rooms, "AAPL")
        calls = len(fmp.log)
        report = await ran(rooms, "AAPL")
    assert len(fmp.log) == calls
    assert report.status is Status.OK
    assert report.tickers["unchanged"] == 1
    assert report.cache["published"] == 4, "the publisher of these rooms counted both runs"


async def test_refused_calls_end_the_run_and_name_every_ticker(pg_dsn: str, redis_url: str) -> None:
    fmp = simulator(keys=frozenset({"another"}))
    tickers = [f"T{n}" for n in range(30)]
    async with opened(pg_dsn, redis_url, fmp) as rooms:
        report = await ran(rooms, *tickers)
    assert report.refused is Kind.AUTH
    assert set(outcomes(report)) == set(tickers)
    assert set(outcomes(report).values()) == {Kind.AUTH}
    assert report.tickers["failed"] == len(fmp.log) <= 3 + 4
    assert report.tickers["not_attempted"] == 30 - len(fmp.log)


async def test_a_ticker_outside_the_plan_fails_alone(pg_dsn: str, redis_url: str) -> None:
    fmp = simulator(plan=FmpPlan(refused_symbols=frozenset({"GME"})))
    async with opened(pg_dsn, redis_url, fmp) as rooms:
        report = await ran(rooms, "AAPL", "GME", "MSFT")
    assert outcomes(report) == {"GME": Kind.PLAN}
    assert report.tickers["stored"] == 2


async def test_a_stop_ends_the_run_cleanly_and_publishes_what_was_stored(
    pg_dsn: str, redis_url: str
) -> None:
    stop, fmp = asyncio.Event(), simulator(latency_s=0.05)
    tickers = [f"T{n}" for n in range(200)]
    async with opened(pg_dsn, redis_url, fmp) as rooms:
        running = asyncio.create_task(ran(rooms, *tickers, stop=stop))
        await eventually(lambda: len(fmp.log) >= 20, deadline_s=20)
        stop.set()
        report = await running
        items = await rooms.store.fetch("SELECT count(*) FROM run_items")
    assert report.status is Status.INTERRUPTED
    assert report.tickers["stored"] >= 16
    assert report.tickers["stored"] + report.tickers["not_attempted"] == 200 == items[0][0]
    assert report.cache["published"] == 2 * report.tickers["stored"]
    assert set(outcomes(report).values()) == {Kind.CANCELLED}


async def test_as_stored_publishes_batch_by_batch_and_each_ticker_once(
    pg_dsn: str, redis_url: str
) -> None:
    fmp = simulator()
    fmp.script(Rule(symbol="B", delay_s=7.0))  # longer than a batch waits
    redis = Redis.from_url(redis_url)
    async with opened(pg_dsn, redis_url, fmp, as_stored=True) as rooms:
        running = asyncio.create_task(ran(rooms, "A", "B"))
        async with asyncio.timeout(6.5):
            while not await redis.exists("scanner:price:A:1wk:500"):
                pass
        assert not running.done(), "A is readable while B is still being fetched"
        report = await running
    await redis.aclose()
    assert report.cache["published"] == 4


async def test_the_published_value_is_what_the_database_holds(pg_dsn: str, redis_url: str) -> None:
    redis = Redis.from_url(redis_url)
    async with opened(pg_dsn, redis_url, simulator()) as rooms:
        report = await ran(rooms, "AAPL")
        rows = await rooms.store.fetch(
            "SELECT date, close FROM daily_prices ORDER BY date DESC LIMIT 500"
        )
    value = orjson.loads(await redis.get("scanner:price:AAPL:1d:500") or b"")
    run = orjson.loads(await redis.get("scanner:run:1d") or b"")
    await redis.aclose()
    expected = [(str(row["date"]), row["close"]) for row in reversed(rows)]
    found: Sequence[tuple[str, float]] = list(
        zip(value["bars"]["date"], value["bars"]["close"], strict=True)
    )
    assert found == expected
    assert value["run"] == run["run"] == report.run
    assert value["through"] == "2026-11-23"
    assert value["fresh_until"] == "2026-11-25T11:30:00Z"


async def test_a_backfill_brings_old_and_new_bars(pg_dsn: str, redis_url: str) -> None:
    order = Order(Timeframe.DAY, ("AAPL",), date(2010, 1, 4))
    async with opened(pg_dsn, redis_url, simulator()) as rooms:
        await ran(rooms, "AAPL")
        report = await Run(rooms, order, asyncio.Event(), Silent()).execute()
        again = await Run(rooms, order, asyncio.Event(), Silent()).execute()
        (row,) = await rooms.store.fetch("SELECT min(date), max(date), count(*) FROM daily_prices")
    assert report.tickers["stored"] == 1
    assert again.tickers["unchanged"] == 1
    assert (row["min"], row["max"]) == (date(2010, 1, 4), date(2026, 11, 23))
    assert row["count"] == len(rooms.rules.calendar.between(row["min"], row["max"]))


def test_run_ids_sort_by_time_and_differ() -> None:
    one, other = run_id(AT, Timeframe.DAY), run_id(AT, Timeframe.DAY)
    assert one.startswith("20261124T110000Z-1d-")
    assert one != other


@pytest.mark.parametrize("answer", ["<html>down</html>", "[{", '{"Error Message": "no"}'])
async def test_one_bad_answer_fails_its_ticker_and_no_other(
    pg_dsn: str, redis_url: str, answer: str
) -> None:
    fmp = simulator()
    fmp.script(Rule(symbol="BAD", status=200, body=answer))
    async with opened(pg_dsn, redis_url, fmp) as rooms:
        report = await ran(rooms, "AAPL", "BAD", "MSFT")
    assert set(outcomes(report)) == {"BAD"}
    assert report.tickers["stored"] == 2
    assert report.tickers["failed"] == 1
    assert [item.outcome for item in report.problems] == [Outcome.FAILED]
