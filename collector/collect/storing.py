"""Batches of answers into the database, and their tickers' outcomes into the tally."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date

from collector.clock import Clock
from collector.collect.answers import Fetched
from collector.collect.progress import Progress
from collector.collect.report import Item, Outcome, Tally
from collector.errors import CollectorError, Kind
from collector.store.lock import FetchLock
from collector.store.pool import Store
from collector.store.runs import record
from collector.store.write import Stored, TickerBars, store_batch

log = logging.getLogger(__name__)
per_ticker = logging.getLogger("collector.per_ticker")  # `log.per_ticker` turns it off

MOST_TICKERS = 250  # few large batches are cheaper than many small ones,
MOST_ROWS = 100_000  # and this many rows are 5 MB


@dataclass
class Storer:
    """Collects answers and stores them by batches. ``broken`` says why it gave up, if it did."""

    store: Store
    lock: FetchLock
    run: str
    tally: Tally
    progress: Progress
    clock: Clock
    last_closed_week: date
    on_stored: Callable[[Sequence[str]], Awaitable[None]]
    broken: CollectorError | None = None
    _batch: dict[str, Fetched] = field(default_factory=dict)
    _notes: list[Item] = field(default_factory=list)
    _since: float = 0.0

    @property
    def waiting(self) -> int:
        """How many tickers have no outcome yet."""
        return len(self.tally.asked) - len(self.tally.items)

    def patience_s(self, limit_s: float) -> float:
        """How long the batch may still wait for more."""
        return max(0.0, self._since + limit_s - time.monotonic()) if self._batch else limit_s

    def note(self, item: Item) -> None:
        """Note an outcome that stores nothing; it is written with the next batch."""
        self._notes.append(self._end(item))

    async def add(self, fetched: Fetched) -> None:
        """Take an answer; store the batch when it is large enough."""
        self.tally.rows.update(fetched=fetched.rows, rejected=fetched.checked.rows_rejected)
        verdict = fetched.verdict()
        if verdict is not None and verdict.outcome is Outcome.FAILED:
            log.warning("%s: Failed: %s", fetched.ticker, verdict.message)
            self.note(verdict)
            return
        if complaint := fetched.complaint():
            log.warning("%s: %s", fetched.ticker, complaint)
        if fetched.ticker in self._batch:  # a backfill's next window
            await self.flush()
        self._since = self._since if self._batch else time.monotonic()
        self._batch[fetched.ticker] = fetched
        if len(self._batch) >= MOST_TICKERS or self._rows() >= MOST_ROWS:
            await self.flush()

    async def flush(self) -> None:
        """Store what is there. A database that stays away breaks the storer for good."""
        batch, self._batch = self._batch, {}
        try:
            if self.broken is None:
                await self._write(batch)
        except CollectorError as error:
            self.broken = error
            log.error("giving up on the database: %s", error)  # noqa: TRY400 - told, not a defect
        if self.broken is not None:
            for ticker in batch:  # what is left of it
                self._end(Item(ticker, Outcome.FAILED, Kind.DB_UNAVAILABLE, str(self.broken)))

    async def _write(self, batch: dict[str, Fetched]) -> None:
        if batch or self._notes:
            await self.lock.ensure(self.store.outage_s)
        tickers = list(batch)
        await self._store(batch)
        notes = len(self._notes)  # more may come while these are written
        await record(self.store, self.run, self._notes[:notes], self.clock())
        del self._notes[:notes]
        await self.on_stored(tickers)

    async def _store(self, batch: dict[str, Fetched]) -> None:
        """Store ``batch`` and take out of it what is stored."""
        if not batch:
            return
        rows = [_bars(fetched) for fetched in batch.values()]
        results = await store_batch(
            self.store, self.run, rows, last_closed_week=self.last_closed_week
        )
        for result in results:
            self._stored(batch.pop(result.ticker), result)

    def _stored(self, fetched: Fetched, result: Stored) -> None:
        self.tally.rows.update(inserted=result.inserted, revised=result.revised)
        count = result.inserted + result.revised
        if count:
            adjective = fetched.timeframe.adjective
            per_ticker.info("%s: Stored %d %s records", fetched.ticker, count, adjective)
        item = Item(result.ticker, Outcome(result.outcome), result.kind, result.message)
        if item.outcome is Outcome.FAILED:  # the database refused it: nothing of it was written
            self.note(item)
        else:
            self._end(item)

    def _end(self, item: Item) -> Item:
        is_first = item.ticker not in self.tally.items  # a backfill ends a ticker once a window
        standing = self.tally.add(item)
        if is_first:
            self.progress.ended(standing)
        return standing

    def _rows(self) -> int:
        return sum(fetched.checked.frame.height for fetched in self._batch.values())


def _bars(fetched: Fetched) -> TickerBars:
    verdict = fetched.verdict()
    return TickerBars(
        fetched.ticker,
        fetched.timeframe,
        fetched.checked.frame,
        fetched.asked_from,
        fetched.asked_through,
        fetched.asked_at,
        outcome=verdict.outcome if verdict else None,
        kind=verdict.kind if verdict else None,
        message=verdict.message if verdict else fetched.complaint() or fetched.note,
        split_factor=fetched.factor,
    )
