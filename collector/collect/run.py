"""A run, whole: plan, fetch and store at once, publish, report. A backfill is a run of another order."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from collector.collect.answers import Asker, Fetched, Work
from collector.collect.pipeline import Pipeline
from collector.collect.progress import Progress
from collector.collect.publishing import Publishing
from collector.collect.report import (
    ApiCounts,
    CacheCounts,
    Item,
    Outcome,
    Report,
    Tally,
    summarise,
)
from collector.collect.storing import Storer
from collector.errors import CollectorError
from collector.fmp.client import FmpClient
from collector.market import plan as planning
from collector.market.bars import empty
from collector.market.plan import Plan, Rules, TickerState
from collector.market.timeframe import Timeframe
from collector.store import runs, usage
from collector.store.lock import FetchLock
from collector.store.pool import Store
from collector.store.read import frame_of, last_bars, states

log = logging.getLogger(__name__)

CHUNK = 250  # tickers whose overlaps are read in one query
STOP_PUBLISHING_S = 2.5  # what a stop leaves for publishing what was stored


@dataclass(frozen=True)
class Rooms:
    """What a run works with; built by the composition root."""

    store: Store
    lock: FetchLock
    client: FmpClient
    publishing: Publishing
    rules: Rules
    clock: Callable[[], datetime]
    concurrency: int
    as_stored: bool = False


@dataclass(frozen=True)
class Order:
    """What is asked of a run. With ``since`` it is a backfill of the days from there to ``until``."""

    timeframe: Timeframe
    tickers: tuple[str, ...]
    since: date | None = None
    until: date | None = None


@dataclass
class Run:
    """One run in progress."""

    rooms: Rooms
    order: Order
    stop: asyncio.Event
    progress: Progress
    started_at: datetime = field(init=False)
    run: str = field(init=False)
    tally: Tally = field(init=False)
    _published: set[str] = field(default_factory=set)
    _metered: ApiCounts = field(default_factory=ApiCounts)

    def __post_init__(self) -> None:
        self.started_at = self.rooms.clock()
        self.run = run_id(self.started_at, self.order.timeframe)
        self.tally = Tally(self.order.tickers)

    async def execute(self) -> Report:
        """Do the run and return its report, also when ``stop`` was set meanwhile.

        Raises `CollectorError` where it could not begin.
        """
        await self._begin()
        plans = await self._plan()
        pipeline = self._pipeline()
        await pipeline.run(self._works(plans))
        await self._conclude(pipeline)
        await self._publish()
        return await self._report(pipeline)

    async def _begin(self) -> None:
        order = self.order
        recovered = await runs.begin(
            self.rooms.store, self.run, order.timeframe, order.tickers, self.started_at
        )
        for dead in recovered:
            log.warning("closed run %s, which had died, as interrupted", dead)
        self.progress.start(len(order.tickers))

    async def _plan(self) -> list[tuple[TickerState, Plan]]:
        """Plan every ticker, and end those that have nothing to fetch."""
        timeframe = self.order.timeframe.fetched_as
        known = await states(self.rooms.store, self.order.tickers, timeframe)
        due = []
        for ticker in self.order.tickers:
            state = known.get(ticker) or TickerState(ticker, timeframe)
            plan = self._plan_of(state)
            if plan.windows:
                due.append((state, plan))
            else:
                self.progress.ended(self.tally.add(Item(ticker, Outcome.UNCHANGED)))
        log.info("%d of %d tickers to fetch", len(due), len(self.order.tickers))
        return due

    def _plan_of(self, state: TickerState) -> Plan:
        order, rules = self.order, self.rooms.rules
        if order.since is None:
            return planning.plan(state, rules, self.started_at)
        return planning.backfill(state, rules, self.started_at, order.since, order.until)

    def _pipeline(self) -> Pipeline:
        rooms = self.rooms
        asker = Asker(rooms.client, rooms.rules, self.started_at, rooms.clock)
        storer = Storer(
            rooms.store,
            rooms.lock,
            self.run,
            self.tally,
            self.progress,
            rooms.rules.calendar.last_closed_week(self.started_at),
            self._stored,
        )
        answers = asker.answer if self.order.since is None else asker.history
        return Pipeline(answers, storer, rooms.concurrency, self.stop)

    async def _works(self, due: Sequence[tuple[TickerState, Plan]]) -> AsyncIterator[Work]:
        """Yield the work chunk by chunk, with the stored bars that its answers will overlap."""
        for begin in range(0, len(due), CHUNK):
            chunk = due[begin : begin + CHUNK]
            stored = await self._overlaps([plan for _, plan in chunk])
            for state, plan in chunk:
                yield Work(state, plan, stored.get(plan.ticker, empty(plan.timeframe)))

    async def _overlaps(self, plans: Sequence[Plan]) -> dict[str, pl.DataFrame]:
        tickers = [plan.ticker for plan in plans if not plan.whole]
        bars = OVERLAP_BARS[self.order.timeframe.fetched_as]
        chunks = last_bars(self.rooms.store, tickers, self.order.timeframe.fetched_as, bars)
        return {bars.ticker: frame_of(bars) async for chunk in chunks for bars in chunk}

    async def _stored(self, tickers: Sequence[str]) -> None:
        """A batch is in the table: note what its calls cost, and publish it where that is asked for."""
        await self._meter()
        if self.rooms.as_stored:
            await self._publish_some(tickers)

    async def _meter(self) -> None:
        used, known = self.rooms.client.usage, self._metered
        self._metered = replace(used)
        await usage.add(
            self.rooms.store,
            self.rooms.clock().date(),
            used.calls - known.calls,
            used.bytes - known.bytes,
            used.refused - known.refused,
        )

    async def _conclude(self, pipeline: Pipeline) -> None:
        """Give every ticker that was not reached its item, and write the items still unwritten."""
        kind, message = pipeline.ended_by
        idle = [item for item in self.tally.items.values() if item.outcome is Outcome.UNCHANGED]
        for ticker in list(self.tally.missing()):
            pipeline.storer.note(Item(ticker, Outcome.NOT_ATTEMPTED, kind, message))
        await pipeline.storer.flush()
        if pipeline.storer.broken is None:
            await self._unless_down(runs.record(self.rooms.store, self.run, idle))
            await self._unless_down(self._meter())

    async def _publish(self) -> None:
        """Publish every ticker asked for, changed or not; of a stopped run those that it stored."""
        self.progress.phase("publishing")
        tickers = [ticker for ticker in self.order.tickers if ticker not in self._published]
        if not self.stop.is_set():
            await self._unless_down(self._publish_some(tickers))
            return
        stored = [t for t in tickers if self.tally.items[t].outcome is Outcome.STORED]
        try:
            async with asyncio.timeout(STOP_PUBLISHING_S):
                await self._unless_down(self._publish_some(stored))
        except TimeoutError:
            log.info("stopped before all was published; the next run or `collector warm` will do it")

    async def _publish_some(self, tickers: Sequence[str]) -> None:
        await self.rooms.publishing.publish(tickers, self.order.timeframe.published, self.run)
        self._published.update(tickers)

    async def _report(self, pipeline: Pipeline) -> Report:
        report = self._summary(pipeline)
        await self.rooms.publishing.publisher.publish_run(self.order.timeframe, report.as_json())
        report = self._summary(pipeline)
        await self._unless_down(
            runs.finish(self.rooms.store, self.run, report.status, report.finished_at, report.as_json())
        )
        return report

    def _summary(self, pipeline: Pipeline) -> Report:
        status, tickers, rows, problems = summarise(self.tally, interrupted=self.stop.is_set())
        return Report(
            self.run,
            self.order.timeframe,
            status,
            self.started_at,
            self.rooms.clock(),
            tickers,
            rows,
            self.rooms.client.usage,
            self.rooms.publishing.publisher.counts,
            problems,
            pipeline.refusal.kind if pipeline.refusal else None,
        )

    async def _unless_down(self, work: Awaitable[None]) -> None:
        """Await ``work``; a database that is away by now is told, not raised: the run has ended."""
        try:
            await work
        except DatabaseUnavailable as error:
            log.error("not written: %s", error)


def run_id(at: datetime, timeframe: Timeframe) -> str:
    """A name for a run that sorts by time: ``20261124T110004Z-1d-3f9a2c``."""
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{timeframe}-{secrets.token_hex(3)}"
