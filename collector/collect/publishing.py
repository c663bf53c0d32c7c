"""The last bars of many tickers, from the database to Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache

from collector.cache.codec import Value
from collector.cache.publish import PIPELINE, Publisher
from collector.errors import DatabaseUnavailable
from collector.market.bars import bar_instant
from collector.market.schedule import Schedule, fresh_until
from collector.market.sessions import Calendar
from collector.market.timeframe import Timeframe
from collector.store.pool import Store
from collector.store.read import LastBars, last_bars


@dataclass(frozen=True)
class Publishing:
    """Publishes from the database. Pipelines are filled across timeframes, to save round trips."""

    store: Store
    publisher: Publisher
    calendar: Calendar
    schedule: Schedule
    clock: Callable[[], datetime]

    async def publish(
        self, tickers: Sequence[str], timeframes: Sequence[Timeframe], run: str | None
    ) -> None:
        """Publish the last bars of ``tickers``. Those without bars have no value.

        Raises `DatabaseUnavailable`; a cache that fails is counted, not raised, and so is what was
        not reached: as failed.
        """
        if not self.publisher.enabled:
            return
        waiting: list[Value] = []
        asked, handed = len(tickers) * len(timeframes), 0
        try:
            async for bars in self._all(tickers, timeframes):
                waiting.append(self._value(bars, run))
                if len(waiting) == PIPELINE:
                    handed += PIPELINE
                    await self.publisher.publish(waiting)
                    waiting.clear()
        except (asyncio.CancelledError, DatabaseUnavailable):
            self.publisher.counts.failed += asked - handed
            raise
        await self.publisher.publish(waiting)

    async def _all(
        self, tickers: Sequence[str], timeframes: Sequence[Timeframe]
    ) -> AsyncIterator[LastBars]:
        for timeframe in timeframes:
            async for chunk in last_bars(self.store, tickers, timeframe, self.publisher.lookback):
                for bars in chunk:
                    yield bars

    def _value(self, bars: LastBars, run: str | None) -> Value:
        through = bars.columns[bars.timeframe.instant][-1]
        return Value(
            ticker=bars.ticker,
            timeframe=bars.timeframe,
            lookback=self.publisher.lookback,
            rev=bars.rev,
            run=run,
            published_at=self.clock(),
            through=through,
            fresh_until=_fresh_until(self.schedule, bars.timeframe, self.calendar, through),
            columns=bars.columns,
        )


@lru_cache(maxsize=1024)  # most tickers of a run share their last bar
def _fresh_until(
    schedule: Schedule, timeframe: Timeframe, calendar: Calendar, through: date | datetime
) -> datetime:
    instant = through.astimezone(UTC) if isinstance(through, datetime) else bar_instant(through)
    return fresh_until(schedule, timeframe, calendar, instant)
