"""The tables keep out what is not a bar, whoever writes it."""

from __future__ import annotations

import math
from dataclasses import replace

import asyncpg
import polars as pl
import pytest

from collector.errors import Kind
from collector.market.timeframe import Timeframe
from collector.store.pool import Store
from collector.store.prices import statement
from collector.store.write import TickerBars
from tests.store.build import bars, items_of, put, table

GOOD = {"open": 10.0, "high": 11.0, "low": 9.0, "close": 10.5, "volume": 0.0}
BAD: dict[str, dict[str, float]] = {
    "NaN open": {"open": math.nan},
    "NaN high": {"high": math.nan},
    "NaN low": {"low": math.nan},
    "NaN close": {"close": math.nan},
    "NaN volume": {"volume": math.nan},
    "infinite high": {"high": math.inf},
    "infinite open": {"open": math.inf, "high": math.inf},
    "infinite low": {"low": -math.inf},
    "infinite volume": {"volume": math.inf},
    "zero price": dict.fromkeys(("open", "high", "low", "close"), 0.0),
    "zero low": {"low": 0.0},
    "negative low": {"low": -1.0},
    "low over open": {"open": 8.0},
    "low over close": {"close": 8.0},
    "high under open": {"open": 12.0},
    "high under close": {"close": 12.0},
    "negative volume": {"volume": -0.5},
}
INSERT = "INSERT INTO {prices} VALUES ('A', $1::text::{type}, $2, $3, $4, $5, $6)"
INSTANTS = {
    Timeframe.DAY: ("date", "2026-11-09", ["1899-12-31", "infinity", "-infinity"]),
    Timeframe.WEEK: ("date", "2026-11-09", ["1899-12-18", "infinity", "2026-11-10"]),
    Timeframe.HOUR: ("timestamptz", "2026-11-09 14:30Z", ["1899-12-31 23:59Z", "infinity"]),
}
OTHERS = {
    "a bad ticker": "INSERT INTO tickers (ticker) VALUES ('a b')",
    "a bad timeframe": "INSERT INTO tickers (ticker, timeframes) VALUES ('A', '{1wk}')",
    "a state of no timeframe": "INSERT INTO ticker_state (ticker, timeframe) VALUES ('A', '1m')",
    "a request of no ticker": "INSERT INTO requests (ticker) VALUES ('')",
    "a request of no status": "INSERT INTO requests (ticker, status) VALUES ('A', 'odd')",
    "a run of no status":
        "INSERT INTO runs (run, timeframe, status, started_at) VALUES ('r', '1d', 'odd', now())",
    "an item of no outcome":
        "INSERT INTO run_items (run, ticker, outcome, at) VALUES ('r', 'A', 'odd', now())",
    "a problem without a kind":
        "INSERT INTO run_items (run, ticker, outcome, at) VALUES ('r', 'A', 'failed', now())",
}  # fmt: skip


@pytest.mark.parametrize("timeframe", list(Timeframe))
async def test_every_price_table_takes_a_bar_and_refuses_what_is_none(
    store: Store, timeframe: Timeframe
) -> None:
    kind, good, bad_instants = INSTANTS[timeframe]
    insert = statement(INSERT, timeframe).replace("{type}", kind)
    async with store.connection() as connection:
        for change in BAD.values():
            with pytest.raises(asyncpg.CheckViolationError):
                await connection.execute(insert, good, *(GOOD | change).values())
        for instant in bad_instants:
            with pytest.raises(asyncpg.CheckViolationError):
                await connection.execute(insert, instant, *GOOD.values())
        await connection.execute(insert, good, *GOOD.values())
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(insert, good, *GOOD.values())
        with pytest.raises(asyncpg.NotNullViolationError):
            await connection.execute(insert, good, *(GOOD | {"open": None}).values())


@pytest.mark.parametrize("sql", OTHERS.values(), ids=OTHERS)
async def test_the_other_tables_refuse_what_makes_no_sense(store_18: Store, sql: str) -> None:
    async with store_18.connection() as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(sql)


@pytest.mark.parametrize("known", [False, True], ids=["copied", "merged"])
@pytest.mark.parametrize("what", ["NaN close", "zero price", "high under close"])
async def test_a_bad_row_fails_its_ticker_alone_and_whole(
    store_18: Store, what: str, *, known: bool
) -> None:
    if known:
        await put(store_18, bars("BAD", days=2))
    before = await table(store_18, "SELECT * FROM daily_prices")
    culprit = bars("BAD", 20)
    last = pl.int_range(pl.len()) == 4
    for name, value in BAD[what].items():
        changed = pl.when(last).then(value).otherwise(pl.col(name)).alias(name)
        culprit = bars_with(culprit, changed)
    stored = await put(store_18, bars("A"), culprit, bars("C"), run="r2")
    assert (stored["BAD"].outcome, stored["BAD"].kind) == ("failed", Kind.DB_REJECTED)
    assert "daily_prices_bar" in stored["BAD"].message
    rows = await table(store_18, "SELECT * FROM daily_prices WHERE ticker = 'BAD'")
    assert rows == before
    assert [row[:2] for row in await items_of(store_18, "r2")] == [("A", "stored"), ("C", "stored")]


def bars_with(item: TickerBars, column: pl.Expr) -> TickerBars:
    return replace(item, frame=item.frame.with_columns(column))
