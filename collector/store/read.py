"""The last bars of many tickers in few queries, and the planner's states."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from collector.market.bars import VALUES, schema
from collector.market.plan import TickerState
from collector.market.timeframe import Timeframe
from collector.store.pool import Store
from collector.store.prices import statement

CHUNK = 250  # tickers a query: 10,000 × 500 bars in one took 1.5 GB, in chunks 121 MiB, as fast

# Newest first: an index scan backwards that stops after $3 rows; turned round on arrival. One
# statement, hence one snapshot: rev belongs to these bars.
LAST_BARS = """
SELECT t.ticker, coalesce(s.rev, 0) AS rev, s.last_success_at, b.*
FROM unnest($1::text[]) WITH ORDINALITY AS t (ticker, place)
CROSS JOIN LATERAL (
    SELECT array_agg(n.{instant}) AS {instant}, array_agg(n.open) AS open,
           array_agg(n.high) AS high, array_agg(n.low) AS low, array_agg(n.close) AS close,
           array_agg(n.volume) AS volume
    FROM (
        SELECT p.{instant}, p.open, p.high, p.low, p.close, p.volume FROM {prices} AS p
        WHERE p.ticker = t.ticker ORDER BY p.{instant} DESC LIMIT $3
    ) AS n
) AS b
LEFT JOIN ticker_state AS s ON s.ticker = t.ticker AND s.timeframe = $2
WHERE b.open IS NOT NULL
ORDER BY t.place
"""
# First and last bar come from the prices themselves: who deletes a ticker's rows by hand gets them
# again by the next run.
STATES = """
SELECT t.ticker, first.bar AS first, last.bar AS last, s.asked_from,
       s.asked_through AT TIME ZONE 'UTC' AS asked_through, s.last_success_at,
       coalesce(s.rev, 0) AS rev
FROM unnest($1::text[]) AS t (ticker)
LEFT JOIN ticker_state AS s ON s.ticker = t.ticker AND s.timeframe = $2
LEFT JOIN LATERAL (
    SELECT p.{instant}::timestamp AT TIME ZONE 'UTC' AS bar FROM {prices} AS p
    WHERE p.ticker = t.ticker ORDER BY p.{instant} LIMIT 1
) AS first ON true
LEFT JOIN LATERAL (
    SELECT p.{instant}::timestamp AT TIME ZONE 'UTC' AS bar FROM {prices} AS p
    WHERE p.ticker = t.ticker ORDER BY p.{instant} DESC LIMIT 1
) AS last ON true
WHERE s.ticker IS NOT NULL OR last.bar IS NOT NULL
"""


@dataclass(frozen=True)
class LastBars:
    """A ticker's newest stored bars as columns of equal length, oldest first, never empty.

    ``columns`` are those of the bar frame: ``date`` (`date`) or ``ts`` (aware UTC `datetime`), then
    floats. ``rev`` is the history's that they belong to; ``asked_at`` the vendor's last good
    answer.
    """

    ticker: str
    timeframe: Timeframe
    rev: int
    columns: dict[str, list[Any]]
    asked_at: datetime | None


async def last_bars(
    store: Store, tickers: Sequence[str], timeframe: Timeframe, n: int
) -> AsyncIterator[list[LastBars]]:
    """Yield the last ``n`` bars of ``tickers``, in their order, in lists of at most 250 tickers.

    One query a list. Tickers without a bar are left out; no connection is held between lists.
    """
    sql = statement(LAST_BARS, timeframe)
    for begin in range(0, len(tickers), CHUNK):
        chunk = list(tickers[begin : begin + CHUNK])
        rows = await store.fetch(sql, chunk, timeframe.value, n)
        yield [
            LastBars(
                row["ticker"],
                timeframe,
                row["rev"],
                {name: row[name][::-1] for name in (timeframe.instant, *VALUES)},
                row["last_success_at"],
            )
            for row in rows
        ]


async def states(
    store: Store, tickers: Sequence[str], timeframe: Timeframe
) -> dict[str, TickerState]:
    """Return the states of those ``tickers`` that have one, or that have bars."""
    rows = await store.fetch(statement(STATES, timeframe), list(tickers), timeframe.value)
    return {
        row["ticker"]: TickerState(
            row["ticker"],
            timeframe,
            row["first"],
            row["last"],
            row["asked_from"],
            row["asked_through"],
            row["last_success_at"],
            row["rev"],
        )
        for row in rows
    }


def frame_of(bars: LastBars) -> pl.DataFrame:
    """Return ``bars`` as a bar frame."""
    return pl.DataFrame(bars.columns, schema=schema(bars.timeframe))
