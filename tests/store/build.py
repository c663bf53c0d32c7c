"""Batches of bars to store, and what a test asks the tables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import polars as pl

from collector.errors import Kind
from collector.market.bars import schema
from collector.market.timeframe import Timeframe
from collector.store.pool import Store
from collector.store.write import Stored, TickerBars, store_batch
from tests.servers import wait_until

AT = datetime(2026, 11, 20, 22, tzinfo=UTC)
THROUGH = datetime(2026, 11, 20, tzinfo=UTC)
WEEK = date(2026, 11, 16)
FIRST = date(2026, 11, 9)  # a Monday
HOUR = datetime(2026, 11, 9, 14, 30, tzinfo=UTC)
VALUE_COLUMNS = "open, high, low, close, volume"


def values(price: float, rows: int) -> dict[str, list[float]]:
    """Return the value columns of ``rows`` bars that open and close at ``price``."""
    one = {"open": price, "high": price + 1, "low": price - 1, "close": price, "volume": 7.0}
    return {name: [value] * rows for name, value in one.items()}


def bars(ticker: str, price: float = 10.0, *, days: int = 5, factor: float | None = None,
         at: datetime = AT, first: date = FIRST) -> TickerBars:  # fmt: skip
    """Return ``days`` daily bars from ``first`` on, all alike."""
    dates = [first + timedelta(days=n) for n in range(days)]
    frame = pl.DataFrame({"date": dates} | values(price, days), schema=schema(Timeframe.DAY))
    return TickerBars(ticker, Timeframe.DAY, frame, first, THROUGH, at, split_factor=factor)


def hours(ticker: str, price: float = 10.0, *, count: int = 7, at: datetime = AT) -> TickerBars:
    """Return ``count`` hourly bars of one session, all alike."""
    opens = [HOUR + timedelta(hours=n) for n in range(count)]
    frame = pl.DataFrame({"ts": opens} | values(price, count), schema=schema(Timeframe.HOUR))
    return TickerBars(ticker, Timeframe.HOUR, frame, FIRST, HOUR + timedelta(hours=6), at)


def answer(ticker: str, outcome: str, kind: Kind | None, message: str = "why") -> TickerBars:
    """Return an answer without a good bar, whose outcome is known."""
    nothing = bars(ticker, days=0)
    return replace(nothing, outcome=outcome, kind=kind, message=message)


async def put(
    store: Store, *batch: TickerBars, run: str = "r1", week: date = WEEK
) -> dict[str, Stored]:
    """Store a batch and return what became of each ticker."""
    stored = await store_batch(store, run, batch, last_closed_week=week)
    return {one.ticker: one for one in stored}


async def table(store: Store, sql: str, *arguments: object) -> list[tuple[object, ...]]:
    """Return the rows of a query as tuples."""
    return [tuple(row) for row in await store.fetch(sql, *arguments)]


async def execute(store: Store, *statements: str) -> None:
    """Run statements beside the code under test, as a person with psql would."""
    async with store.connection() as connection:
        for statement in statements:
            await connection.execute(statement)


async def until(condition: Callable[[], bool], deadline_s: float = 10.0) -> None:
    """Return as soon as ``condition()`` holds, while the loop goes on."""
    await asyncio.to_thread(wait_until, condition, "what the test waits for", deadline_s)


async def items_of(store: Store, run: str) -> Sequence[tuple[object, ...]]:
    """Return ticker, outcome, kind and message of a run's items."""
    sql = "SELECT ticker, outcome, kind, message FROM run_items WHERE run = $1 ORDER BY ticker"
    return await table(store, sql, run)
