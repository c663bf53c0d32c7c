"""Closed weeks against pandas, whatever the batches: first, highest, lowest, last and sum."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import date, datetime, timedelta

import pandas as pd
import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.market.bars import schema
from collector.market.timeframe import Timeframe
from collector.store.pool import Store
from collector.store.write import TickerBars
from tests.store.build import AT, FIRST, bars, execute, put, table

Day = int  # counted from a Monday
Prices = tuple[int, int]  # eighths of a dollar, and volume
Answer = dict[Day, Prices]

DAYS = 33
RULES = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
WEEKS = """
SELECT date, open, high, low, close, volume FROM weekly_prices WHERE ticker = $1 ORDER BY date
"""
fresh = itertools.count()


def day_of(number: Day) -> date:
    return FIRST + timedelta(days=number)


def last_closed_week(now: Day) -> date:
    """Return the Monday of the last week whose Friday is over on day ``now``."""
    return day_of((now - 4) // 7 * 7)


def row(number: Day, prices: Prices) -> tuple[date, float, float, float, float, float]:
    middle, volume = 100 + prices[0] / 8, float(prices[1])
    return day_of(number), middle, middle + 1, middle - 1, middle + 0.5, volume


def answer(ticker: str, found: Answer, turn: int) -> TickerBars:
    rows = [row(number, found[number]) for number in sorted(found)]
    frame = pl.DataFrame(rows, schema=schema(Timeframe.DAY), orient="row")
    at = AT + timedelta(days=turn)
    return TickerBars(ticker, Timeframe.DAY, frame, FIRST, at, at)


def resampled(known: Answer, closed: date) -> Sequence[tuple[object, ...]]:
    """Derive the closed weeks of all days ``known`` with pandas."""
    if not known:
        return []
    rows = pd.DataFrame([row(*one) for one in sorted(known.items())], columns=["date", *RULES])
    daily = rows.set_index(pd.to_datetime(rows.pop("date")))
    weekly = daily.resample("W-MON", label="left", closed="left").agg(RULES).dropna()
    return [
        (week.date(), *values)
        for week, *values in weekly.itertuples(name=None)
        if week.date() <= closed
    ]


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Day, Answer]]:
    """Draw answers of a ticker as time goes on: no day after now, gaps and revisions allowed."""
    nows = sorted(draw(st.lists(st.integers(0, DAYS), min_size=1, max_size=6)))
    prices = st.tuples(st.integers(0, 80), st.integers(0, 1000))
    session = st.integers(0, DAYS).filter(lambda number: number % 7 < 5)
    answers = st.dictionaries(session, prices, max_size=12)
    return [(now, {d: p for d, p in draw(answers).items() if d <= now}) for now in nows]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories())
async def test_after_every_batch_the_closed_weeks_are_those_of_all_days_stored(
    store_18: Store, history: list[tuple[Day, Answer]]
) -> None:
    ticker, known = f"T{next(fresh)}", Answer()
    for turn, (now, found) in enumerate(history):
        known |= found
        await put(store_18, answer(ticker, found, turn), week=last_closed_week(now))
        assert await table(store_18, WEEKS, ticker) == resampled(known, last_closed_week(now))


async def test_a_week_that_ended_in_a_halt_is_derived_when_trading_goes_on(store: Store) -> None:
    early = FIRST - timedelta(days=7)
    await put(store, bars("A", days=2), week=early)  # Monday and Tuesday, then a halt
    after = bars("A", 12, days=1, first=FIRST + timedelta(days=7), at=AT + timedelta(days=1))
    await put(store, after, week=FIRST, run="r2")
    assert await table(store, WEEKS, "A") == [(FIRST, 10.0, 11.0, 9.0, 10.0, 14.0)]


async def test_weeks_deleted_by_hand_come_back_with_the_next_batch(store: Store) -> None:
    await put(store, bars("A", days=12))
    before = await table(store, WEEKS, "A")
    assert len(before) == 2
    await execute(store, "DELETE FROM weekly_prices")
    await put(store, bars("A", days=0, at=AT + timedelta(days=1)), run="r2")
    assert await table(store, WEEKS, "A") == before


async def test_a_backfill_derives_the_weeks_before_those_that_are_stored(store: Store) -> None:
    await put(store, bars("A"))
    older = bars("A", 8, first=FIRST - timedelta(days=14), at=AT + timedelta(seconds=1))
    await put(store, older, run="r2")
    weeks = [row[:2] for row in await table(store, WEEKS, "A")]
    assert weeks == [(FIRST - timedelta(days=14), 8.0), (FIRST, 10.0)]
    revs = "SELECT timeframe, rev FROM ticker_state ORDER BY 1"
    assert await table(store, revs) == [("1d", 2), ("1wk", 2)]


async def test_a_split_rescales_the_weeks_and_is_noted_once_for_each_timeframe(
    store: Store,
) -> None:
    await put(store, bars("A", 10, days=12))
    await put(store, bars("A", 5, days=12, factor=0.5, at=AT + timedelta(days=1)), run="r2")
    sql = "SELECT timeframe, bar, old_close, new_close, reason, factor, run FROM price_revisions"
    newest = [datetime(2026, 11, 20), datetime(2026, 11, 16)]  # noqa: DTZ001 (no zone there)
    assert sorted(await table(store, sql), key=str) == [
        ("1d", newest[0], 10.0, 5.0, "split", 0.5, "r2"),
        ("1wk", newest[1], 10.0, 5.0, "split", 0.5, "r2"),
    ]
    assert [row[1] for row in await table(store, WEEKS, "A")] == [5.0, 5.0]
