"""The tables ``runs`` and ``run_items``: no ticker of a run is left without an outcome."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import orjson

from collector.market.timeframe import Timeframe
from collector.store.pool import Store
from collector.store.state import RunItem, save_items, storable

KEEP_ITEMS = timedelta(days=30)

# The caller holds the fetcher's lock, so a run that is still "running" has no process any more.
ABANDONED_ITEMS = """
INSERT INTO run_items (run, ticker, outcome, kind, message, at)
SELECT r.run, t.ticker, 'not_attempted', 'cancelled', 'the process died before this ticker', $1
FROM runs AS r CROSS JOIN LATERAL (SELECT DISTINCT unnest(r.asked) AS ticker) AS t
WHERE r.status = 'running' AND r.run <> $2
ON CONFLICT DO NOTHING
"""
CLOSE_DEAD = """
UPDATE runs SET status = 'interrupted', finished_at = $1 WHERE status = 'running' AND run <> $2
RETURNING run
"""
BEGIN = """
INSERT INTO runs (run, timeframe, status, started_at, asked, host, pid)
VALUES ($1, $2, 'running', $3, $4, $5, $6)
"""
FINISH = "UPDATE runs SET status = $2, finished_at = $3, report = $4::jsonb WHERE run = $1"
FAILED_STATES = """
INSERT INTO ticker_state AS s (ticker, timeframe, last_error, last_error_at, failures)
SELECT n.ticker, CASE r.timeframe WHEN '1wk' THEN '1d' ELSE r.timeframe END, n.message, $2, 1
FROM unnest($3::text[], $4::text[]) AS n (ticker, message) JOIN runs AS r ON r.run = $1
ORDER BY n.ticker
ON CONFLICT (ticker, timeframe) DO UPDATE SET
    last_error = excluded.last_error,
    last_error_at = excluded.last_error_at,
    failures = s.failures + 1
"""
PRUNE_ITEMS = """
DELETE FROM run_items AS i USING runs AS r WHERE r.run = i.run AND r.started_at < $1
"""
PRUNE_COMMITS = "DELETE FROM collector_commits WHERE at < now() - interval '1 day'"
LAST = """
SELECT run, timeframe, status, started_at, finished_at, report FROM runs
WHERE $2::text IS NULL OR timeframe = $2 ORDER BY started_at DESC, run DESC LIMIT $1
"""


@dataclass(frozen=True)
class Run:
    """A run as the database knows it; ``report`` is the one that ``--json`` printed."""

    run: str
    timeframe: Timeframe
    status: str
    started_at: datetime
    finished_at: datetime | None
    report: Mapping[str, Any] | None


async def begin(
    store: Store, run: str, timeframe: Timeframe, asked: Sequence[str], started_at: datetime
) -> list[str]:
    """Note a run that begins, and close those whose process died; return their names.

    The caller holds the fetcher's lock. Tickers that a dead run left without an outcome become
    ``not_attempted`` there.
    """
    row = (run, timeframe.value, started_at, list(asked), socket.gethostname(), os.getpid())

    async def work(connection: asyncpg.Connection) -> list[str]:
        await connection.execute(ABANDONED_ITEMS, started_at, run)
        dead = await connection.fetch(CLOSE_DEAD, started_at, run)
        await connection.execute(BEGIN, *row)
        return sorted(found["run"] for found in dead)

    return await store.transact(work)


async def record(store: Store, run: str, items: Sequence[RunItem], at: datetime) -> None:
    """Note tickers that `store_batch` did not; failed and rejected ones count in their state.

    Of several items for one ticker (a backfill has one a window) the last counts.
    """
    if not items:
        return
    items = list({item.ticker: item for item in items}.values())
    bad = [item for item in items if item.outcome in ("failed", "rejected")]

    async def work(connection: asyncpg.Connection) -> None:
        await save_items(connection, run, items, at)
        tickers, messages = [item.ticker for item in bad], [storable(item.message) for item in bad]
        await connection.execute(FAILED_STATES, run, at, tickers, messages)

    await store.transact(work)


async def finish(
    store: Store, run: str, status: str, finished_at: datetime, report: Mapping[str, Any]
) -> None:
    """Note how a run ended, with its report."""
    text = orjson.dumps(report).decode()

    async def work(connection: asyncpg.Connection) -> None:
        await connection.execute(FINISH, run, status, finished_at, text)

    await store.transact(work)


async def prune(store: Store, at: datetime) -> None:
    """Forget the items of runs that began more than 30 days before ``at``; the runs stay."""

    async def work(connection: asyncpg.Connection) -> None:
        await connection.execute(PRUNE_ITEMS, at - KEEP_ITEMS)
        await connection.execute(PRUNE_COMMITS)

    await store.transact(work)


async def last_runs(store: Store, limit: int, timeframe: Timeframe | None = None) -> list[Run]:
    """Return the newest runs, of one timeframe or of all, the newest first."""
    rows = await store.fetch(LAST, limit, timeframe and timeframe.value)
    return [
        Run(
            row["run"],
            Timeframe(row["timeframe"]),
            row["status"],
            row["started_at"],
            row["finished_at"],
            row["report"] and orjson.loads(row["report"]),
        )
        for row in rows
    ]
