"""Fetching and storing at once: workers, a bounded queue, and one storer behind it.

Memory is bounded by ``concurrency`` answers in flight, as many in the queue, and one batch: it
does not grow with the number of tickers. While the database is away the queue fills, and fetching
waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from collector.collect.answers import Fetched, Work
from collector.collect.report import Item, Outcome
from collector.collect.storing import Storer
from collector.errors import CollectorError, FetchError, Kind, Refused

log = logging.getLogger(__name__)

STOP_FETCHING_S = 2.0  # what a stop leaves the calls in flight
STOP_STORING_S = 2.0  # what it leaves the batches behind them
FLUSH_AFTER_S = 5.0  # so long a batch waits for more

Answers = Callable[[Work], AsyncGenerator[Fetched]]


@dataclass
class Pipeline:
    """One run's fetching and storing. Setting ``stop`` ends it early and cleanly."""

    answers: Answers
    storer: Storer
    concurrency: int
    stop: asyncio.Event
    refusal: Refused | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, works: AsyncIterator[Work]) -> None:
        """Fetch and store all of ``works``; a ticker that was not reached has no item then."""
        fetched: asyncio.Queue[Fetched | None] = asyncio.Queue(maxsize=self.concurrency)
        async with asyncio.TaskGroup() as group:
            workers = [
                group.create_task(self._fetch_all(works, fetched), name=f"fetch-{n}")
                for n in range(self.concurrency)
            ]
            storing = group.create_task(self._store_all(fetched), name="store")
            watching = group.create_task(self._watch(workers, storing), name="stop")
            await asyncio.wait(workers)
            await _put_unless_done(fetched, storing)
            await asyncio.wait([storing])
            watching.cancel()

    @property
    def ended_by(self) -> tuple[Kind, str]:
        """Why tickers were not attempted."""
        if self.refusal is not None:
            return self.refusal.kind, str(self.refusal)
        if self.storer.broken is not None:
            return Kind.DB_UNAVAILABLE, str(self.storer.broken)
        return Kind.CANCELLED, "the run was stopped before this ticker's turn"

    @property
    def _open(self) -> bool:
        return not (self.stop.is_set() or self.refusal or self.storer.broken)

    async def _fetch_all(
        self, works: AsyncIterator[Work], fetched: asyncio.Queue[Fetched | None]
    ) -> None:
        while self._open and (work := await self._next(works)) is not None:
            await self._fetch(work, fetched)

    async def _next(self, works: AsyncIterator[Work]) -> Work | None:
        async with self._turn:
            try:
                return await anext(works, None)
            except CollectorError as error:
                self.storer.broken = error
                return None

    async def _fetch(self, work: Work, fetched: asyncio.Queue[Fetched | None]) -> None:
        ticker = work.state.ticker
        try:
            async with aclosing(self.answers(work)) as answers:
                async for answer in answers:
                    await fetched.put(answer)
                    if self.stop.is_set() or self.storer.broken:
                        break  # a backfill goes on from here another time
        except Refused as refusal:
            self._refuse(ticker, refusal)
        except FetchError as error:
            log.warning("%s: Failed to fetch: %s", ticker, error)
            self.storer.note(Item(ticker, Outcome.FAILED, error.kind, str(error)))

    def _refuse(self, ticker: str, refusal: Refused) -> None:
        """Stop all calls: key, plan or quota would refuse the next ones too."""
        if self.refusal is None:
            self.refusal = refusal
            log.error("FMP refuses further calls: %s", refusal)
        outcome = Outcome.FAILED if refusal.called else Outcome.NOT_ATTEMPTED
        self.storer.note(Item(ticker, outcome, refusal.kind, str(refusal)))

    async def _store_all(self, fetched: asyncio.Queue[Fetched | None]) -> None:
        more = True
        while more:
            try:
                async with asyncio.timeout(self.storer.patience_s(FLUSH_AFTER_S)):
                    answer = await fetched.get()
            except TimeoutError:
                await self.storer.flush()
                continue
            more = answer is not None
            if answer is not None:
                await self.storer.add(answer)
        await self.storer.flush()

    async def _watch(
        self, workers: Sequence[asyncio.Task[None]], storing: asyncio.Task[None]
    ) -> None:
        await self.stop.wait()
        log.info("stopping: %d tickers without an outcome", self.storer.waiting)
        await asyncio.wait(workers, timeout=STOP_FETCHING_S)
        for worker in workers:
            worker.cancel()
        await asyncio.wait([storing], timeout=STOP_STORING_S)
        storing.cancel()


async def _put_unless_done(
    fetched: asyncio.Queue[Fetched | None], storing: asyncio.Task[None]
) -> None:
    """Tell the storer that nothing more comes; it may be gone already."""
    putting = asyncio.ensure_future(fetched.put(None))
    await asyncio.wait([putting, storing], return_when=asyncio.FIRST_COMPLETED)
    putting.cancel()
