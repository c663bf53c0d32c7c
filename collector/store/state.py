"""``ticker_state`` and ``run_items`` inside a batch's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

import asyncpg

from collector.market.plan import CLOCK_SLACK
from collector.market.timeframe import Timeframe

# Rows are made first, so that there is one to lock: two writers of a ticker then follow each other.
MAKE = """
INSERT INTO ticker_state (ticker, timeframe)
SELECT t.ticker, $2 FROM unnest($1::text[]) AS t (ticker) ORDER BY 1
ON CONFLICT DO NOTHING
"""
LOCK = """
SELECT FROM ticker_state
WHERE ticker = ANY ($1::text[]) AND timeframe = $2 ORDER BY ticker FOR NO KEY UPDATE
"""
# asked_from … asked_through says "every day between was asked for". An answer that touches or
# overlaps the span extends it; one that begins after a gap begins a new span; one that ends before
# a gap leaves it. Between two bars that follow each other lie seven days at most: no exchange has
# been closed for longer.
SAVE = """
INSERT INTO ticker_state AS s (
    ticker, timeframe, first_bar, last_bar, asked_from, asked_through, rev, last_success_at,
    last_error, last_error_at, failures
)
SELECT n.ticker, $1, n.first AT TIME ZONE 'UTC', n.last AT TIME ZONE 'UTC', n.asked_from,
       n.through AT TIME ZONE 'UTC', n.changed::int, n.at, n.error,
       CASE WHEN n.error IS NOT NULL THEN n.at END, (n.error IS NOT NULL)::int
FROM unnest($2::text[], $3::timestamptz[], $4::timestamptz[], $5::date[], $6::timestamptz[],
            $7::bool[], $8::timestamptz[], $9::text[])
     AS n (ticker, first, last, asked_from, through, changed, at, error)
ORDER BY n.ticker
ON CONFLICT (ticker, timeframe) DO UPDATE SET
    first_bar = least(s.first_bar, excluded.first_bar),
    last_bar = greatest(s.last_bar, excluded.last_bar),
    asked_from = CASE
        WHEN s.asked_from IS NULL OR excluded.asked_from > s.asked_through::date + $10::int
            THEN excluded.asked_from
        WHEN excluded.asked_through::date + $10::int < s.asked_from THEN s.asked_from
        ELSE least(s.asked_from, excluded.asked_from)
    END,
    asked_through = CASE
        WHEN s.last_success_at > excluded.last_success_at + $11::interval
            THEN excluded.asked_through
        ELSE greatest(s.asked_through, excluded.asked_through)
    END,
    rev = s.rev + excluded.rev,
    last_success_at = CASE
        WHEN s.last_success_at > excluded.last_success_at + $11::interval
            THEN excluded.last_success_at
        WHEN s.asked_through > excluded.asked_through THEN s.last_success_at
        ELSE greatest(s.last_success_at, excluded.last_success_at)
    END,
    last_error = excluded.last_error,
    last_error_at = excluded.last_error_at,
    failures = CASE WHEN excluded.last_error IS NULL THEN 0 ELSE s.failures + 1 END
RETURNING ticker, rev
"""
# Of several answers for one ticker (a backfill has one a window) the graver outcome stays.
SAVE_ITEMS = """
INSERT INTO run_items AS i (run, ticker, outcome, kind, message, inserted, revised, at)
SELECT $1, n.ticker, n.outcome, n.kind, n.message, n.inserted, n.revised, $2
FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::int[], $8::int[])
     AS n (ticker, outcome, kind, message, inserted, revised)
ORDER BY n.ticker
ON CONFLICT (run, ticker) DO UPDATE SET
    (outcome, kind, message) = (
        SELECT w.outcome, w.kind, w.message
        FROM (VALUES (i.outcome, i.kind, i.message, 0),
                     (excluded.outcome, excluded.kind, excluded.message, 1))
             AS w (outcome, kind, message, later)
        ORDER BY array_position(
            '{empty,unchanged,stored,not_attempted,rejected,failed}', w.outcome) DESC, later DESC
        LIMIT 1
    ),
    inserted = i.inserted + excluded.inserted,
    revised = i.revised + excluded.revised,
    at = excluded.at
"""
CLOSED_DAYS = {Timeframe.HOUR: 7, Timeframe.DAY: 7, Timeframe.WEEK: 14}


@dataclass(frozen=True)
class StateRow:
    """What a batch adds to a ticker's state; ``span`` is the oldest and newest bar written."""

    ticker: str
    span: tuple[datetime, datetime] | None
    asked_from: date
    asked_through: datetime
    changed: bool
    at: datetime
    error: str | None = None


class RunItem(Protocol):
    """A ticker's outcome in a run. A problem has a kind and a message."""

    @property
    def ticker(self) -> str:
        """The ticker."""

    @property
    def outcome(self) -> str:
        """One of the contract's six outcomes."""

    @property
    def kind(self) -> str | None:
        """One of `Kind`, for the last three outcomes."""

    @property
    def message(self) -> str:
        """What to tell a person."""


async def lock_states(
    connection: asyncpg.Connection, tickers: Sequence[str], timeframe: Timeframe
) -> None:
    """Lock the tickers' states until the transaction ends."""
    await connection.execute(MAKE, tickers, timeframe.value)
    await connection.execute(LOCK, tickers, timeframe.value)


async def save_states(
    connection: asyncpg.Connection, timeframe: Timeframe, states: Sequence[StateRow]
) -> dict[str, int]:
    """Write the states and return each ticker's ``rev``."""
    rows = await connection.fetch(
        SAVE,
        timeframe.value,
        [state.ticker for state in states],
        [state.span and state.span[0] for state in states],
        [state.span and state.span[1] for state in states],
        [state.asked_from for state in states],
        [state.asked_through for state in states],
        [state.changed for state in states],
        [state.at for state in states],
        [state.error and storable(state.error) for state in states],
        CLOSED_DAYS[timeframe],
        CLOCK_SLACK,
    )
    return {row["ticker"]: row["rev"] for row in rows}


async def save_items(
    connection: asyncpg.Connection,
    run: str,
    items: Sequence[RunItem],
    at: datetime,
    rows: Sequence[tuple[int, int]] = (),
) -> None:
    """Write run items; ``rows`` are the inserted and revised rows of each, none where left out."""
    counts = rows or [(0, 0)] * len(items)
    await connection.execute(
        SAVE_ITEMS,
        run,
        at,
        [item.ticker for item in items],
        [item.outcome for item in items],
        [item.kind for item in items],
        [storable(item.message) for item in items],
        [inserted for inserted, _ in counts],
        [revised for _, revised in counts],
    )


def storable(message: str) -> str:
    """Return ``message`` without what PostgreSQL's ``text`` cannot hold: NUL, lone surrogates."""
    return message.replace("\0", "").encode("utf-8", "replace").decode()
