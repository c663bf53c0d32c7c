"""From a plan to checked bars: one ticker's calls, and what their rows say."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

import polars as pl

from collector.clock import Clock
from collector.collect.report import Item, Outcome
from collector.errors import Kind
from collector.fmp.client import FmpClient
from collector.fmp.fetch import fetch
from collector.market import plan as planning
from collector.market.bars import Checked, bar_instant, check, newest_closed
from collector.market.overlap import Verdict, compare
from collector.market.plan import Plan, Rules, TickerState, Window
from collector.market.timeframe import Timeframe

log = logging.getLogger(__name__)

LONGEST = 500  # characters of a message

# A backfill goes back window by window until the vendor has nothing: a window of daily bars is
# thirteen years, one of hourly bars eighty days, which a halted ticker can miss.
EMPTY_WINDOWS = {Timeframe.DAY: 1, Timeframe.HOUR: 2}


@dataclass(frozen=True)
class Work:
    """A ticker to fetch: its state, what to ask, and the stored bars that the answer overlaps.

    ``older`` is a backfill's part: asked for window by window, the newest first.
    """

    state: TickerState
    plan: Plan
    older: Plan
    stored: pl.DataFrame | None = None

    @property
    def leaves_history(self) -> bool:
        """Whether older stored bars stay as they are: then a split must be seen."""
        first, windows = self.state.first, self.plan.windows
        return bool(windows) and (
            not self.plan.whole or (first is not None and first.date() < windows[0].start)
        )


@dataclass(frozen=True)
class Fetched:
    """One checked answer, with what the state has to remember of it."""

    ticker: str
    timeframe: Timeframe
    checked: Checked
    rows: int
    asked_from: date
    asked_through: datetime
    asked_at: datetime
    had_history: bool
    note: str = ""
    factor: float | None = None

    def verdict(self) -> Item | None:
        """The ticker's outcome as far as the answer decides it; None where the table decides."""
        if self.checked.untrustworthy:
            return self._item(Outcome.FAILED, Kind.SCHEMA, self.complaint())
        if self.checked.frame.height:
            return None
        if self.checked.rejected:
            return self._item(Outcome.REJECTED, Kind.BAD_ROWS, self.complaint())
        if self.rows == 0 and not self.had_history:
            return self._item(Outcome.FAILED, Kind.NOT_FOUND, "FMP knows no bars of this ticker")
        return self._item(Outcome.EMPTY, None, "the answer held no closed bar")

    def complaint(self) -> str:
        """The rejected rows in words: counts by reason, and the first of them. Empty if none."""
        if not self.checked.rejected:
            return ""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.checked.rejected.items())
        counts = f"{self.checked.rows_rejected} of {self.rows} rows rejected ({reasons})"
        return f"{counts}: {self.checked.excerpt}"[:LONGEST]

    def _item(self, outcome: Outcome, kind: Kind | None, message: str) -> Item:
        return Item(self.ticker, outcome, kind, message)


@dataclass(frozen=True)
class Asker:
    """Asks FMP and checks what comes. ``at`` is the run's instant: a bar closed after it waits."""

    client: FmpClient
    rules: Rules
    at: datetime
    clock: Clock
    told: set[str] = field(default_factory=set)

    async def answers(self, work: Work) -> AsyncGenerator[Fetched]:
        """Yield the ticker's answers: one of a run, then one a window of a backfill.

        Raises `FetchError`.
        """
        if work.plan.windows:
            yield await self._newest(work)
        async for fetched in self._older(work):
            yield fetched

    async def _newest(self, work: Work) -> Fetched:
        """Ask for the plan's windows; of a ticker that was split, for its whole history."""
        fetched = await self._ask(work.state, work.plan)
        if work.stored is None:
            return fetched
        factor = split_factor(work.stored, fetched.checked.frame, work.state.timeframe)
        if factor is None:
            return fetched
        log.info("%s: rescaled by the vendor (a split, factor %.6g): fetching its history again",
                 work.state.ticker, factor)  # fmt: skip
        whole = planning.refetch(work.state, self.rules, self.at)
        return replace(await self._ask(work.state, whole), factor=factor)

    async def _older(self, work: Work) -> AsyncIterator[Fetched]:
        """Go back window by window, until the vendor has nothing older.

        A window without a bar is held back until it is known whether older ones follow.
        """
        silent: list[Fetched] = []
        had_history = work.state.last is not None
        for window in reversed(work.older.windows):
            fetched = await self._ask(work.state, replace(work.older, windows=(window,)))
            if not _has_bars(fetched, window):
                silent.append(replace(fetched, had_history=had_history))
                if len(silent) == EMPTY_WINDOWS[work.state.timeframe]:
                    yield replace(silent[0], asked_from=work.older.windows[0].start)
                    return
                continue
            through = silent[0].asked_through if silent else fetched.asked_through
            yield replace(fetched, had_history=had_history, asked_through=through)
            silent, had_history = [], True
        if silent:
            yield replace(silent[0], asked_from=silent[-1].asked_from)

    async def _ask(self, state: TickerState, plan: Plan) -> Fetched:
        answer = await fetch(
            self.client, state.ticker, state.timeframe, plan.windows, self.rules.calendar.zone
        )
        if answer.note and answer.note not in self.told:  # of a thousand tickers, once
            self.told.add(answer.note)
            log.warning("%s: %s", state.ticker, answer.note)
        return Fetched(
            state.ticker,
            state.timeframe,
            check(answer.frame, state.timeframe, self.rules.calendar, self.at),
            answer.frame.height,
            answer.asked_from,
            self._through(state.timeframe, plan.windows[-1]),
            self.clock(),
            state.last is not None,
            answer.note,
        )

    def _through(self, timeframe: Timeframe, window: Window) -> datetime:
        """The last closed bar that an answer for ``window`` could have held."""
        newest = newest_closed(timeframe, self.rules.calendar, self.at)
        zone = UTC if timeframe is Timeframe.DAY else self.rules.calendar.zone
        last_day = window.end - timedelta(days=1)
        return newest if last_day >= newest.astimezone(zone).date() else bar_instant(last_day)


def _has_bars(fetched: Fetched, window: Window) -> bool:
    """Whether the answer holds a good bar of ``window``: a server may send others, too."""
    days = fetched.checked.frame[fetched.timeframe.instant].cast(pl.Date)
    return bool(days.is_between(window.start, window.end, closed="left").any()) or (
        fetched.rows > 0 and fetched.checked.frame.is_empty()  # all of it is bad: no end of history
    )


def split_factor(stored: pl.DataFrame, fetched: pl.DataFrame, timeframe: Timeframe) -> float | None:
    """The factor by which the vendor has rescaled the bars that both frames hold, if it has."""
    if stored.is_empty() or _same_closes(stored, fetched, timeframe.instant):
        return None
    overlap = compare(stored, fetched, timeframe.instant)
    return overlap.factor if overlap.verdict is Verdict.SPLIT else None


def _same_closes(stored: pl.DataFrame, fetched: pl.DataFrame, instant: str) -> bool:
    """Whether no close differs: the common case, at a tenth of the price of a join."""
    known = dict(zip(stored[instant].to_list(), stored["close"].to_list(), strict=True))
    pairs = zip(fetched[instant].to_list(), fetched["close"].to_list(), strict=True)
    return all(known.get(day, close) == close for day, close in pairs)
