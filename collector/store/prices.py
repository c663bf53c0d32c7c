"""Rows into a price table: COPY for tickers new to it, COPY and one MERGE for the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import polars as pl

from collector.market.timeframe import Timeframe
from collector.store.copy import columns, encode

# The staging tables are small beside the price table, and unknown to the planner: without this it
# would hash or sort the whole price table. With it, it looks every staged row up in the index.
PLANNER = """
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
"""
KNOWN = """
SELECT t.ticker FROM unnest($1::text[]) AS t (ticker)
WHERE EXISTS (SELECT FROM {prices} AS p WHERE p.ticker = t.ticker)
"""
STAGE = "CREATE TEMP TABLE staged_{prices} (LIKE {prices}) ON COMMIT DROP"

# Only what differs goes on from here: an unchanged bar costs one look at the index and no write.
COMPARE = """
CREATE TEMP TABLE changed_{prices} ON COMMIT DROP AS
SELECT s.ticker, s.{instant}, s.open, s.high, s.low, s.close, s.volume,
       p.open AS old_open, p.high AS old_high, p.low AS old_low, p.close AS old_close,
       p.volume AS old_volume
FROM staged_{prices} AS s
LEFT JOIN {prices} AS p ON p.ticker = s.ticker AND p.{instant} = s.{instant}
WHERE (p.open, p.high, p.low, p.close, p.volume)
      IS DISTINCT FROM (s.open, s.high, s.low, s.close, s.volume)
"""
COUNT = """
SELECT ticker, count(*) FILTER (WHERE old_open IS NULL) AS inserted, count(old_open) AS revised
FROM changed_{prices} GROUP BY ticker
"""
MERGE = """
MERGE INTO {prices} AS p
USING (SELECT * FROM changed_{prices} ORDER BY ticker, {instant}) AS c
ON p.ticker = c.ticker AND p.{instant} = c.{instant}
WHEN MATCHED AND (p.open, p.high, p.low, p.close, p.volume)
                 IS DISTINCT FROM (c.open, c.high, c.low, c.close, c.volume) THEN
    UPDATE SET open = c.open, high = c.high, low = c.low, close = c.close, volume = c.volume
WHEN NOT MATCHED THEN
    INSERT (ticker, {instant}, open, high, low, close, volume)
    VALUES (c.ticker, c.{instant}, c.open, c.high, c.low, c.close, c.volume)
"""
# $3 and $4 are the split tickers and their factors: of those only the newest bar is noted. No price
# table takes part, so these small ones may be hashed.
HASH = "SET LOCAL enable_hashjoin = on"
NO_HASH = "SET LOCAL enable_hashjoin = off"
REVISIONS = """
INSERT INTO price_revisions (
    ticker, timeframe, bar, old_open, old_high, old_low, old_close, old_volume,
    new_open, new_high, new_low, new_close, new_volume, reason, factor, run, at
)
SELECT c.ticker, $1, c.{instant}::timestamp, c.old_open, c.old_high, c.old_low, c.old_close,
       c.old_volume, c.open, c.high, c.low, c.close, c.volume,
       CASE WHEN s.ticker IS NULL THEN 'revised' ELSE 'split' END, s.factor, $2, $5
FROM changed_{prices} AS c
JOIN (
    SELECT ticker, max({instant}) AS newest FROM changed_{prices}
    WHERE old_open IS NOT NULL GROUP BY ticker
) AS n ON n.ticker = c.ticker
LEFT JOIN unnest($3::text[], $4::float8[]) AS s (ticker, factor) ON s.ticker = c.ticker
WHERE c.old_open IS NOT NULL AND (s.ticker IS NULL OR c.{instant} = n.newest)
ORDER BY c.ticker, c.{instant}
"""


@dataclass(frozen=True)
class Cause:
    """Why rows are written: the run, the instant, and the factor of each ticker that was split."""

    run: str
    at: datetime
    splits: Mapping[str, float]


@dataclass(frozen=True)
class Change:
    """How many rows of a ticker were inserted and revised."""

    inserted: int = 0
    revised: int = 0

    @property
    def any(self) -> bool:
        """Whether the stored history is another than before."""
        return self.inserted + self.revised > 0


def statement(text: str, timeframe: Timeframe) -> str:
    """Fill in the table and the column that names a bar: constants, never a user's words."""
    table = f"{timeframe.adjective}_prices"
    return text.replace("{prices}", table).replace("{instant}", timeframe.instant)


async def known_tickers(
    connection: asyncpg.Connection, tickers: Sequence[str], timeframe: Timeframe
) -> set[str]:
    """Return those of ``tickers`` that have a row in the table of ``timeframe``."""
    rows = await connection.fetch(statement(KNOWN, timeframe), tickers)
    return {row["ticker"] for row in rows}


async def write_rows(
    connection: asyncpg.Connection,
    frame: pl.DataFrame,
    timeframe: Timeframe,
    known: set[str],
    cause: Cause,
) -> dict[str, Change]:
    """Write a bar frame with a ``ticker`` column, sorted by key, inside the caller's transaction.

    ``known`` are the tickers with rows in the table. Returns what changed, by ticker; a ticker
    without a change is not in it. Every changed bar is noted in ``price_revisions``.
    """
    is_known = pl.col("ticker").is_in(list(known))
    new, more = frame.filter(~is_known), frame.filter(is_known)
    changes = {ticker: Change(count) for ticker, count in _heights(new)}
    if new.height:
        await _copy(connection, new, timeframe, statement("{prices}", timeframe))
    if more.height:
        changes |= await _merge(connection, more, timeframe, cause)
    return changes


async def _merge(
    connection: asyncpg.Connection, frame: pl.DataFrame, timeframe: Timeframe, cause: Cause
) -> dict[str, Change]:
    await connection.execute(statement(STAGE, timeframe))
    await _copy(connection, frame, timeframe, statement("staged_{prices}", timeframe))
    await connection.execute(statement(COMPARE, timeframe))
    rows = await connection.fetch(statement(COUNT, timeframe))
    changes = {row["ticker"]: Change(row["inserted"], row["revised"]) for row in rows}
    if any(change.revised for change in changes.values()):
        splits = [list(cause.splits), list(cause.splits.values())]
        await connection.execute(HASH)
        await connection.execute(
            statement(REVISIONS, timeframe), timeframe.value, cause.run, *splits, cause.at
        )
        await connection.execute(NO_HASH)
    if changes:
        await connection.execute(statement(MERGE, timeframe))
    return changes


async def _copy(
    connection: asyncpg.Connection, frame: pl.DataFrame, timeframe: Timeframe, table: str
) -> None:
    # Given whole: asyncpg feeds a stream behind a wait that neither a lost connection nor any
    # deadline ends (`Protocol.copy_in` of 0.32), so a server that dies meanwhile would hang us.
    rows = memoryview(encode(frame, timeframe))  # asyncpg takes bytes for a path
    await connection.copy_to_table(table, source=rows, columns=columns(timeframe), format="binary")


def _heights(frame: pl.DataFrame) -> list[tuple[str, int]]:
    return frame.group_by("ticker").len().rows()
