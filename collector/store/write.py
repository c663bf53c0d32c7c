"""Store a batch of tickers: one transaction, and smaller ones where PostgreSQL refuses it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import asyncpg

from collector.errors import (
    CollectorError,
    DatabaseRejected,
    DatabaseUnavailable,
    Kind,
    SchemaMismatch,
)
from collector.store.batch import Stored, TickerBars, write_batch
from collector.store.classify import Remedy, remedy
from collector.store.pool import Store

__all__ = ["Stored", "TickerBars", "store_batch"]


async def store_batch(
    store: Store,
    run: str,
    batch: Sequence[TickerBars],
    *,
    last_closed_week: date,
    outage_s: float | None = None,
) -> list[Stored]:
    """Store tickers of one timeframe (``1d`` or ``1h``), each once, and all in one transaction.

    Daily bars bring the weeks up to ``last_closed_week``, a Monday, along. A batch that PostgreSQL
    refuses, or takes too long for, is halved until the culprit stands alone; it is returned as
    ``failed``. Raises `LockHeld` for a run that the next one has closed: older never overwrites
    newer. Raises `DatabaseUnavailable`.
    """
    if not batch:
        return []

    async def work(connection: asyncpg.Connection) -> list[Stored]:
        return await write_batch(connection, run, batch, last_closed_week)

    try:
        return await store.transact(work, outage_s=outage_s)
    except (DatabaseRejected, DatabaseUnavailable, SchemaMismatch) as error:
        if len(batch) == 1 or not _smaller_may_do(error):
            return _refused(batch, error)
    middle = len(batch) // 2
    stored = []
    for half in (batch[:middle], batch[middle:]):
        stored += await store_batch(
            store, run, half, last_closed_week=last_closed_week, outage_s=outage_s
        )
    return stored


def _smaller_may_do(error: CollectorError) -> bool:
    cause = remedy(error.__cause__ or error)
    return isinstance(error, DatabaseRejected) or cause is Remedy.HALVE


def _refused(batch: Sequence[TickerBars], error: CollectorError) -> list[Stored]:
    if isinstance(error, DatabaseUnavailable):
        raise error
    return [
        Stored(item.ticker, item.timeframe, "failed", Kind.DB_REJECTED, str(error))
        for item in batch
    ]
