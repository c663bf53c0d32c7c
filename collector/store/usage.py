"""What the calls to FMP have cost, by day: its bandwidth is metered over a trailing 30 days."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import asyncpg

from collector.store.pool import Store

ADD = """
INSERT INTO api_usage AS u (day, calls, bytes, refusals) VALUES ($1, $2, $3, $4)
ON CONFLICT (day) DO UPDATE SET
    calls = u.calls + excluded.calls,
    bytes = u.bytes + excluded.bytes,
    refusals = u.refusals + excluded.refusals
"""
TRAILING = "SELECT coalesce(sum(bytes), 0)::bigint FROM api_usage WHERE day > $1 AND day <= $2"


async def add(store: Store, day: date, calls: int, bytes: int, refusals: int) -> None:  # noqa: A002
    """Add to the sums of ``day`` (UTC), exactly once also where an acknowledgement was lost."""

    async def work(connection: asyncpg.Connection) -> None:
        await connection.execute(ADD, day, calls, bytes, refusals)

    await store.transact(work)


async def trailing_bytes(store: Store, at: datetime, days: int = 30) -> int:
    """Return the bytes received on the ``days`` days that end with the one of ``at``."""
    today = at.date()
    (row,) = await store.fetch(TRAILING, today - timedelta(days=days), today)
    return int(row[0])
