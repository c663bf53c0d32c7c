"""The daily bars of the weeks that a batch concerns, read back inside its transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import asyncpg
import polars as pl

from collector.market.bars import VALUES, schema
from collector.market.timeframe import Timeframe

# A week also concerns us when it has closed without a change of its own: a ticker may stop trading
# in the middle of one, and go on in the next. Hence every closed week after the last derived one.
LEFT_OPEN = """
SELECT DISTINCT t.ticker, p.date - (extract(isodow FROM p.date)::int - 1) AS monday
FROM unnest($1::text[]) AS t (ticker)
CROSS JOIN LATERAL (
    SELECT coalesce(max(w.date) + 7, '-infinity') AS monday
    FROM weekly_prices AS w WHERE w.ticker = t.ticker
) AS next
JOIN daily_prices AS p
ON p.ticker = t.ticker AND p.date >= next.monday AND p.date < $2::date + 7
"""
BARS = """
SELECT b.ticker, array_agg(b.date) AS date, array_agg(b.open) AS open, array_agg(b.high) AS high,
       array_agg(b.low) AS low, array_agg(b.close) AS close, array_agg(b.volume) AS volume
FROM (
    SELECT p.ticker, p.date, p.open, p.high, p.low, p.close, p.volume
    FROM (
        SELECT ticker, monday FROM unnest($1::text[], $2::date[]) AS w (ticker, monday) {changed}
    ) AS w
    JOIN daily_prices AS p
    ON p.ticker = w.ticker AND p.date >= w.monday AND p.date < w.monday + 7
    ORDER BY p.ticker, p.date
) AS b
GROUP BY b.ticker
"""
CHANGED = """
UNION SELECT ticker, date - (extract(isodow FROM date)::int - 1) FROM changed_daily_prices
"""
SCHEMA: dict[str, pl.DataType] = {"ticker": pl.String()} | schema(Timeframe.DAY)
LISTS: dict[str, pl.DataType] = {"ticker": pl.String()} | {
    name: pl.List(dtype) for name, dtype in schema(Timeframe.DAY).items()
}


async def bars_of_weeks(
    connection: asyncpg.Connection,
    tickers: Sequence[str],
    last_closed_week: date,
    *,
    changed: bool,
) -> pl.DataFrame:
    """Return the daily bars of whole weeks, with a ``ticker`` column before them.

    The weeks are those with a bar in ``changed_daily_prices``, where ``changed`` says that there is
    such a table, and those of ``tickers`` that have closed since their last weekly bar.
    """
    left_open = await connection.fetch(LEFT_OPEN, tickers, last_closed_week)
    if not (changed or left_open):
        return pl.DataFrame(schema=SCHEMA)
    rows = await connection.fetch(
        BARS.replace("{changed}", CHANGED if changed else ""),
        [row["ticker"] for row in left_open],
        [row["monday"] for row in left_open],
    )
    nested = pl.DataFrame(
        {name: [row[name] for row in rows] for name in SCHEMA},
        schema=LISTS,
    )
    return nested.explode(["date", *VALUES])
