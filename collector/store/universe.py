"""The table ``tickers``: what a scheduled run covers, and its only truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from collector.market.timeframe import Timeframe
from collector.store.pool import Store, Work

SEED = """
INSERT INTO tickers (ticker, added_at) SELECT t.ticker, $2 FROM unnest($1::text[]) AS t (ticker)
ORDER BY 1 ON CONFLICT DO NOTHING RETURNING ticker
"""
ADD = """
INSERT INTO tickers AS t (ticker, added_at)
SELECT n.ticker, $2 FROM unnest($1::text[]) AS n (ticker) ORDER BY 1
ON CONFLICT (ticker) DO UPDATE SET active = true, added_at = excluded.added_at, removed_at = NULL
WHERE NOT t.active
RETURNING ticker
"""
REMOVE = """
UPDATE tickers SET active = false, removed_at = $2
WHERE ticker = ANY ($1::text[]) AND active RETURNING ticker
"""
ACTIVE = "SELECT ticker FROM tickers WHERE active AND $1 = ANY (timeframes) ORDER BY ticker"
LISTED = "SELECT ticker, active, added_at, removed_at, timeframes FROM tickers ORDER BY ticker"


@dataclass(frozen=True)
class Listed:
    """A ticker of the universe, or one that was removed from it."""

    ticker: str
    active: bool
    added_at: datetime
    removed_at: datetime | None
    timeframes: tuple[Timeframe, ...]


async def seed(store: Store, tickers: Iterable[str], at: datetime) -> list[str]:
    """Add the ``tickers`` that the table never held; return them. A removed one stays removed."""
    return await store.transact(_change(SEED, tickers, at))


async def add(store: Store, tickers: Iterable[str], at: datetime) -> list[str]:
    """Add ``tickers``, also removed ones; return those that were not active before."""
    return await store.transact(_change(ADD, tickers, at))


async def remove(store: Store, tickers: Iterable[str], at: datetime) -> list[str]:
    """Mark ``tickers`` inactive; return those that were active. Their prices stay."""
    return await store.transact(_change(REMOVE, tickers, at))


async def active(store: Store, timeframe: Timeframe) -> list[str]:
    """Return the active tickers that a run of ``timeframe`` covers, sorted."""
    return [row["ticker"] for row in await store.fetch(ACTIVE, timeframe.fetched_as.value)]


async def listed(store: Store) -> list[Listed]:
    """Return every ticker that the table holds, sorted."""
    return [
        Listed(
            row["ticker"],
            row["active"],
            row["added_at"],
            row["removed_at"],
            tuple(Timeframe(name) for name in row["timeframes"]),
        )
        for row in await store.fetch(LISTED)
    ]


def _change(sql: str, tickers: Iterable[str], at: datetime) -> Work[list[str]]:
    names: Sequence[str] = sorted(set(tickers))

    async def work(connection: asyncpg.Connection) -> list[str]:
        return sorted(row["ticker"] for row in await connection.fetch(sql, names, at))

    return work
