"""One batch, one transaction: prices, weeks, states and run items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import asyncpg
import numpy as np
import polars as pl

from collector.errors import Kind, LockHeld
from collector.market.bars import bar_instant, schema
from collector.market.sessions import monday_of
from collector.market.timeframe import Timeframe
from collector.market.weekly import weeks
from collector.store.prices import PLANNER, Cause, Change, known_tickers, write_rows
from collector.store.state import StateRow, lock_states, save_items, save_states
from collector.store.weekly import bars_of_weeks

NO_CHANGE = Change()
STATUS = "SELECT status FROM runs WHERE run = $1"
Span = tuple[datetime, datetime]


@dataclass(frozen=True)
class TickerBars:
    """What an answer brought for a ticker: a bar frame, perhaps empty, and what was asked for.

    The vendor was asked for the days from ``asked_from``, could answer up to the bar
    ``asked_through``, and did so at ``asked_at``. ``split_factor`` is new price / old price where
    the vendor has rewritten the history. Where ``outcome`` is None it follows from what changes:
    ``stored``, ``unchanged``, or ``empty`` for an empty frame.
    """

    ticker: str
    timeframe: Timeframe
    frame: pl.DataFrame
    asked_from: date
    asked_through: datetime
    asked_at: datetime
    outcome: str | None = None
    kind: Kind | None = None
    message: str = ""
    split_factor: float | None = None


@dataclass(frozen=True)
class Stored:
    """What became of a ticker: its outcome, the rows that changed, and its ``rev`` afterwards.

    ``failed`` with kind ``db_rejected``: nothing of it is stored, and no run item is written.
    """

    ticker: str
    timeframe: Timeframe
    outcome: str
    kind: Kind | None = None
    message: str = ""
    inserted: int = 0
    revised: int = 0
    rev: int = 0


@dataclass(frozen=True)
class Batch:
    """The tickers of a batch, sorted."""

    timeframe: Timeframe
    items: Sequence[TickerBars]
    last_closed_week: date
    cause: Cause

    @property
    def tickers(self) -> list[str]:
        """The tickers, sorted."""
        return [item.ticker for item in self.items]


async def write_batch(
    connection: asyncpg.Connection, run: str, batch: Sequence[TickerBars], last_closed_week: date
) -> list[Stored]:
    """Write ``batch`` inside the caller's transaction. Returns one entry a ticker, sorted.

    Raises `LockHeld` where the next run has closed this one.
    """
    await connection.execute(PLANNER)
    timeframe = batch[0].timeframe
    items = sorted(batch, key=lambda item: item.ticker)
    await lock_states(connection, [item.ticker for item in items], timeframe)
    chosen = Batch(timeframe, items, last_closed_week, _cause(run, batch))
    changes = await _write_prices(connection, chosen)
    rows = [state_row(item, changes.get(item.ticker, NO_CHANGE)) for item in items]
    revs = await save_states(connection, timeframe, rows)
    stored = [_stored(i, changes.get(i.ticker, NO_CHANGE), revs[i.ticker]) for i in items]
    counts = [(one.inserted, one.revised) for one in stored]
    await save_items(connection, run, stored, chosen.cause.at, counts)
    await _refuse_closed(connection, run)
    return stored


async def _refuse_closed(connection: asyncpg.Connection, run: str) -> None:
    """Older never overwrites newer: who begins a run closes the one before, and only then plans.

    Asked last, right before the commit, and without a lock: a transaction that hangs in the server
    must not keep its own run's end from being written. Clocks have no say: they step.
    """
    status = await connection.fetchval(STATUS, run)
    if status is not None and status != "running":
        raise LockHeld(f"run {run} was closed by the next one: its late answers are not stored")


async def _write_prices(connection: asyncpg.Connection, batch: Batch) -> dict[str, Change]:
    frame = gathered(batch.items, batch.timeframe)
    known = await known_tickers(connection, batch.tickers, batch.timeframe)
    changes = await write_rows(connection, frame, batch.timeframe, known, batch.cause)
    if batch.timeframe is Timeframe.DAY:
        changed = any(ticker in known for ticker in changes)
        closed = batch.last_closed_week
        more = await bars_of_weeks(connection, sorted(known), closed, changed=changed)
        new = frame.filter(~pl.col("ticker").is_in(list(known)))
        await _write_weeks(connection, batch, weeks(pl.concat([new, more]), closed))
    return changes


async def _write_weeks(connection: asyncpg.Connection, batch: Batch, derived: pl.DataFrame) -> None:
    known = await known_tickers(connection, batch.tickers, Timeframe.WEEK)
    changes = await write_rows(connection, derived, Timeframe.WEEK, known, batch.cause)
    spans = spans_of(derived)
    rows = [
        StateRow(
            item.ticker,
            spans.get(item.ticker),
            item.asked_from,
            week_through(item.asked_through, batch.last_closed_week),
            item.ticker in changes,
            item.asked_at,
            _error(item),
        )
        for item in batch.items
    ]
    await save_states(connection, Timeframe.WEEK, rows)


def gathered(items: Sequence[TickerBars], timeframe: Timeframe) -> pl.DataFrame:
    """Return the items' bar frames as one, with a ``ticker`` column before them."""
    heights = [item.frame.height for item in items]
    tickers = pl.Series("ticker", [item.ticker for item in items], dtype=pl.String())
    frames = [pl.DataFrame(schema=schema(timeframe)), *(item.frame for item in items)]
    bars = pl.concat(frames).select(*schema(timeframe))
    repeated = tickers.gather(np.repeat(np.arange(len(items)), heights))
    return bars.insert_column(0, repeated)


def spans_of(weekly: pl.DataFrame) -> dict[str, Span]:
    """Return the first and last week of each ticker of ``weekly``."""
    spans = weekly.group_by("ticker").agg(
        pl.col("date").min().alias("first"), pl.col("date").max().alias("last")
    )
    rows: Iterable[tuple[str, date, date]] = spans.iter_rows()
    return {ticker: (bar_instant(first), bar_instant(last)) for ticker, first, last in rows}


def week_through(asked_through: datetime, last_closed_week: date) -> datetime:
    """Return the last weekly bar that an answer up to the daily bar ``asked_through`` can tell."""
    return bar_instant(min(monday_of(asked_through.date()), last_closed_week))


def state_row(item: TickerBars, change: Change) -> StateRow:
    """Return what ``item`` adds to its ticker's state."""
    return StateRow(
        item.ticker,
        _span(item.frame),
        item.asked_from,
        item.asked_through,
        change.any,
        item.asked_at,
        _error(item),
    )


def _span(frame: pl.DataFrame) -> Span | None:
    if frame.is_empty():
        return None
    first, last = frame.item(0, 0), frame.item(-1, 0)
    return (first, last) if isinstance(first, datetime) else (bar_instant(first), bar_instant(last))


def _error(item: TickerBars) -> str | None:
    return item.message if item.outcome in ("rejected", "failed") else None


def _cause(run: str, batch: Sequence[TickerBars]) -> Cause:
    splits: Mapping[str, float] = {
        item.ticker: item.split_factor for item in batch if item.split_factor is not None
    }
    return Cause(run, max(item.asked_at for item in batch), splits)


def _stored(item: TickerBars, change: Change, rev: int) -> Stored:
    what = "stored" if change.any else "empty" if item.frame.is_empty() else "unchanged"
    return Stored(
        item.ticker,
        item.timeframe,
        item.outcome or what,
        item.kind,
        item.message,
        change.inserted,
        change.revised,
        rev,
    )
