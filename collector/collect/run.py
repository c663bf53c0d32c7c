"""A run, whole: plan, fetch and store at once, publish, report. A backfill is one, too."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from time import monotonic
from typing import Any, TypeVar

import polars as pl

from collector.cache.publish import PIPELINE
from collector.clock import Clock
from collector.collect.answers import Asker, Work
from collector.collect.pipeline import Pipeline
from collector.collect.progress import Progress
from collector.collect.publishing import Publishing
from collector.collect.report import Item, Outcome, Report, Tally, summarise
from collector.collect.stopping import within
from collector.collect.storing import Storer
from collector.errors import CollectorError
from collector.fmp.client import ApiUsage, FmpClient
from collector.market import plan as planning
from collector.market.plan import Plan, Rules, TickerState
from collector.market.timeframe import Timeframe
from collector.store import runs, usage
from collector.store.lock import FetchLock
from collector.store.pool import Store
from collector.store.read import frame_of, last_bars, states

T = TypeVar("T")

log = logging.getLogger(__name__)

API_COUNTS = ("calls", "retries", "throttled", "bytes")
MOST_HOURS = 24  # hourly bars of a session, at most
REST_S = 5.0  # of ``as_stored``: a pipeline that is not full waits so long
CHUNK = 250  # tickers whose overlaps are read in one query

# What a stop leaves each of the steps. With the pipeline's it is 8 s: two remain for the clients.
STOP_BEGINNING_S = 0.5
STOP_CONCLUDING_S = 2.5
STOP_PUBLISHING_S = 1.0
STOP_REPORTING_S = 0.5  # for Redis, and again for PostgreSQL


@dataclass(frozen=True)
class Rooms:
    """What a run works with; built by the composition root."""

    store: Store
    lock: FetchLock
    client: FmpClient
    publishing: Publishing
    rules: Rules
    clock: Clock
    concurrency: int
    as_stored: bool = False


@dataclass(frozen=True)
class Order:
    """What is asked of a run. With ``since`` it is a backfill from there up to before ``until``."""

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
    _to_publish: dict[str, None] = field(default_factory=dict)
    _published_at: float = field(default_factory=monotonic)
    _began: float = field(default_factory=monotonic)
    _metered: ApiUsage = field(default_factory=ApiUsage)

    def __post_init__(self) -> None:
        self.started_at = self.rooms.clock()
        self.run = run_id(self.started_at, self.order.timeframe)
        self.tally = Tally(self.order.tickers)

    async def execute(self) -> Report:
        """Do the run and return its report, also when ``stop`` was set meanwhile.

        Raises `CollectorError` where it could not begin.
        """
        due = await self._unless_stopped(self._due(), STOP_BEGINNING_S) or []
        pipeline = self._pipeline()
        await pipeline.run(self._works(due))
        concluded = await self._unless_stopped(self._conclude(pipeline), STOP_CONCLUDING_S)
        if concluded:
            await self._unless_stopped(self._publish(), STOP_PUBLISHING_S)
        elif self.rooms.publishing.publisher.enabled:
            self._count_unpublished()
        return await self._report(pipeline, finish=bool(concluded))

    async def _due(self) -> list[Work]:
        await self._begin()
        return await self._plan()

    async def _begin(self) -> None:
        order = self.order
        recovered = await runs.begin(
            self.rooms.store, self.run, order.timeframe, order.tickers, self.started_at
        )
        for dead in recovered:
            log.warning("closed run %s, which had died, as interrupted", dead)
        await runs.prune(self.rooms.store, self.started_at)

    async def _plan(self) -> list[Work]:
        """Plan every ticker, and end those that have nothing to fetch."""
        timeframe = self.order.timeframe.fetched_as
        known = await states(self.rooms.store, self.order.tickers, timeframe)
        due = []
        for ticker in self.order.tickers:
            work = self._work(known.get(ticker) or TickerState(ticker, timeframe))
            if work.plan.windows or work.older.windows:
                due.append(work)
            else:
                self.tally.add(Item(ticker, Outcome.UNCHANGED))
        self.progress.start(len(due))
        log.info("%d of %d tickers to fetch", len(due), len(self.order.tickers))
        return due

    def _work(self, state: TickerState) -> Work:
        """Plan one ticker. A backfill brings what is stored up to date first, then goes back."""
        order, rules, at = self.order, self.rooms.rules, self.started_at
        nothing = Plan(state.ticker, state.timeframe)
        if order.since is None:
            return Work(state, planning.plan(state, rules, at), nothing)
        newer = planning.plan(state, rules, at) if state.last else nothing
        return Work(state, newer, planning.backfill(state, rules, at, order.since, order.until))

    def _pipeline(self) -> Pipeline:
        rooms = self.rooms
        asker = Asker(rooms.client, rooms.rules, self.started_at, rooms.clock)
        storer = Storer(
            rooms.store,
            rooms.lock,
            self.run,
            self.tally,
            self.progress,
            rooms.clock,
            rooms.rules.calendar.last_closed_week(self.started_at),
            self._stored,
        )
        return Pipeline(asker.answers, storer, rooms.concurrency, self.stop)

    async def _works(self, due: Sequence[Work]) -> AsyncIterator[Work]:
        """Yield the work chunk by chunk, with the stored bars that its answers will overlap."""
        for begin in range(0, len(due), CHUNK):
            chunk = due[begin : begin + CHUNK]
            stored = await self._overlaps(chunk)
            for work in chunk:
                yield replace(work, stored=stored.get(work.state.ticker))

    async def _overlaps(self, works: Sequence[Work]) -> dict[str, pl.DataFrame]:
        timeframe = self.order.timeframe.fetched_as
        tickers = [work.state.ticker for work in works if work.leaves_history]
        a_session = MOST_HOURS if timeframe is Timeframe.HOUR else 1
        count = (self.rooms.rules.overlap_sessions + 1) * a_session
        chunks = last_bars(self.rooms.store, tickers, timeframe, count)
        return {bars.ticker: frame_of(bars) async for chunk in chunks for bars in chunk}

    async def _stored(self, tickers: Sequence[str]) -> None:
        """A batch is in the table: note what its calls cost, and perhaps publish it now.

        Fast batches wait for one another, so that a pipeline is full; a smaller rest goes out
        `REST_S` after the pipeline before it.
        """
        await self._meter()
        if not self.rooms.as_stored:
            return
        self._to_publish.update(dict.fromkeys(tickers))
        values = len(self._to_publish) * len(self.order.timeframe.published)
        if values >= PIPELINE or (values and monotonic() - self._published_at >= REST_S):
            await self._publish_some(list(self._to_publish))
            self._to_publish.clear()
            self._published_at = monotonic()

    async def _meter(self) -> None:
        used, known = replace(self.rooms.client.usage), self._metered
        if used == known:
            return
        await usage.add(
            self.rooms.store,
            self.rooms.clock().date(),
            used.calls - known.calls,
            used.bytes - known.bytes,
            used.refused - known.refused,
        )
        self._metered = used

    async def _conclude(self, pipeline: Pipeline) -> bool:
        """Give every ticker that was not reached its item, and write the items still unwritten.

        Returns whether the database took them.
        """
        kind, message = pipeline.ended_by
        idle = [item for item in self.tally.items.values() if item.outcome is Outcome.UNCHANGED]
        for ticker in list(self.tally.missing()):
            pipeline.storer.note(Item(ticker, Outcome.NOT_ATTEMPTED, kind, message))
        await pipeline.storer.flush()
        if pipeline.storer.broken is not None:
            return False
        recording = runs.record(self.rooms.store, self.run, idle, self.rooms.clock())
        return await self._unless_down(recording) and await self._unless_down(self._meter())

    async def _publish(self) -> None:
        """Publish every ticker asked for, changed or not; of a stopped run those that it stored."""
        self.progress.phase("publishing")
        await self._unless_down(self._publish_some(self._unpublished()))

    def _unpublished(self) -> list[str]:
        """The tickers whose values are still to be written: those without bars have none."""
        tickers = [ticker for ticker in self.order.tickers if ticker not in self._published]
        if not self.stop.is_set():
            return tickers
        return [t for t in tickers if self.tally.items[t].outcome is Outcome.STORED]

    def _count_unpublished(self) -> None:
        """Count what cannot be read any more as not published."""
        good = [t for t in self._unpublished() if not self.tally.items[t].outcome.is_problem]
        counts = self.rooms.publishing.publisher.counts
        counts.failed += len(good) * len(self.order.timeframe.published)

    async def _publish_some(self, tickers: Sequence[str]) -> None:
        await self.rooms.publishing.publish(tickers, self.order.timeframe.published, self.run)
        self._published.update(tickers)

    async def _report(self, pipeline: Pipeline, *, finish: bool) -> Report:
        """Tell how the run ended. Without ``finish`` the next run closes it, and adds its items."""
        report, publisher = self._summary(pipeline), self.rooms.publishing.publisher
        told = publisher.publish_run(self.order.timeframe, report.as_json())
        await self._unless_stopped(told, STOP_REPORTING_S)
        report = self._summary(pipeline)
        if finish:
            written = runs.finish(
                self.rooms.store, self.run, report.status, report.finished_at, report.as_json()
            )
            await self._unless_stopped(self._unless_down(written), STOP_REPORTING_S)
        return report

    def _summary(self, pipeline: Pipeline) -> Report:
        status, tickers, rows, problems = summarise(self.tally, interrupted=self.stop.is_set())
        return Report(
            self.run,
            self.order.timeframe,
            status,
            self.started_at,
            self.rooms.clock(),
            round(monotonic() - self._began, 3),
            tickers,
            rows,
            {name: asdict(self.rooms.client.usage)[name] for name in API_COUNTS},
            asdict(self.rooms.publishing.publisher.counts),
            problems,
            pipeline.refusal.kind if pipeline.refusal else None,
            self.rooms.publishing.publisher.reason,
        )

    async def _unless_stopped(self, work: Coroutine[Any, Any, T], grace_s: float) -> T | None:
        """Await ``work``; None where a stop cut it short, which the run outlives."""
        try:
            return await within(work, self.stop, grace_s)
        except TimeoutError:
            log.info("stopped before all was written: the next run will make up for it")
            return None

    async def _unless_down(self, work: Awaitable[None]) -> bool:
        """Await ``work``; a database that is away by now is told, not raised: the run has ended."""
        try:
            await work
        except CollectorError as error:
            log.error("not written: %s", error)  # noqa: TRY400 - told, not a defect
            return False
        return True


def run_id(at: datetime, timeframe: Timeframe) -> str:
    """A name for a run that sorts by time: ``20261124T110004Z-1d-3f9a2c``."""
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{timeframe}-{secrets.token_hex(3)}"
