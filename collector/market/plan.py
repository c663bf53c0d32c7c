"""What to ask the vendor for: from state, calendar and instant to windows of days."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from math import ceil

from collector.market.bars import bar_close, newest_closed
from collector.market.schedule import Schedule
from collector.market.sessions import DAY, Calendar, monday_of
from collector.market.sessions import EARLIEST as EARLIEST
from collector.market.timeframe import Timeframe

CLOCK_SLACK = timedelta(minutes=15)  # clocks differ; an answer later than that is of a wrong one
ASK_AGAIN = timedelta(hours=1)  # after an answer that lacked the newest closed bar
SETTLES = timedelta(hours=8)  # vendors revise a bar for some hours after its close
FIRST_HOURS = 500  # hourly bars that a first run brings at least
SPARE_SESSIONS = 3  # beyond them, for hours without a trade

# The widest window that one call answers whole (FMP.md sections 3 and 4: 5,000 rows, also of a
# market that trades every day; 90 days back from the end).
WIDEST = {Timeframe.DAY: timedelta(days=4_900), Timeframe.HOUR: timedelta(days=80)}


@dataclass(frozen=True)
class Window:
    """Days to ask for, half-open: ``start <= day < end``, in the exchange's dates."""

    start: date
    end: date


@dataclass(frozen=True)
class TickerState:
    """What is stored of a ticker and timeframe, and what was asked for.

    ``first`` and ``last`` are the oldest and newest stored bar (``last`` is the watermark), None
    where nothing is stored. The vendor was asked for every day from ``asked_from`` on, and its
    last good answer came at ``asked_at`` and could have held bars up to ``asked_through``. Daily
    bars are named by midnight UTC. ``rev`` grows with every change of the stored history.
    """

    ticker: str
    timeframe: Timeframe
    first: datetime | None = None
    last: datetime | None = None
    asked_from: date | None = None
    asked_through: datetime | None = None
    asked_at: datetime | None = None
    rev: int = 0


@dataclass(frozen=True)
class Rules:
    """What the planner goes by beside a ticker's state."""

    calendar: Calendar
    schedule: Schedule
    history_years: int = 11
    overlap_sessions: int = 5
    first_hours: int = FIRST_HOURS
    force: bool = False


@dataclass(frozen=True)
class Plan:
    """The windows to fetch for a ticker, oldest first; none where nothing can be new.

    ``whole`` says that they begin where the history should, so that no stored bar need be compared.
    """

    ticker: str
    timeframe: Timeframe
    windows: tuple[Window, ...] = ()
    whole: bool = False


def plan(state: TickerState, rules: Rules, at: datetime) -> Plan:
    """Plan one ticker of a run at instant ``at``. ``state.timeframe`` is `1d` or `1h`."""
    if rules.force or state.last is None:
        return _whole(state, rules, at)
    if not is_due(state, rules, at):
        return Plan(state.ticker, state.timeframe)
    window = Window(_overlap_start(state, rules), _now(rules, state.timeframe, at).end)
    return Plan(state.ticker, state.timeframe, split(window, state.timeframe))


def refetch(state: TickerState, rules: Rules, at: datetime) -> Plan:
    """Plan the whole stored history again: the vendor has rewritten it (a split)."""
    whole = _whole(state, rules, at)
    start, end = whole.windows[0].start, whole.windows[-1].end
    oldest = state.first.astimezone(_zone(state, rules)).date() if state.first else start
    return replace(whole, windows=split(Window(min(start, oldest), end), state.timeframe))


def backfill(
    state: TickerState, rules: Rules, at: datetime, since: date, until: date | None = None
) -> Plan:
    """Plan the days from ``since`` that were never asked for, up to ``until`` (excluded) or to now.

    What was asked before is left out, so that a backfill that was stopped goes on where it stood.
    """
    end = _now(rules, state.timeframe, at).end
    stop = end if until is None else min(until, end)
    known = state.asked_from is not None and state.last is not None and not rules.force
    if known and state.asked_from:
        stop = min(stop, state.asked_from)
    windows = split(Window(since, stop), state.timeframe)
    return Plan(state.ticker, state.timeframe, windows, whole=not known)


def is_due(state: TickerState, rules: Rules, at: datetime) -> bool:
    """Whether an answer could hold something new for a ticker that has history."""
    now = _now(rules, state.timeframe, at)
    if (
        state.last is None
        or state.asked_at is None
        or state.asked_through is None
        or state.asked_through < now.newest
        or state.asked_at > at + CLOCK_SLACK
    ):
        return True
    if state.last < now.newest:
        return at - state.asked_at >= ASK_AGAIN
    return state.asked_at < now.settled_at and state.asked_at < now.last_slot


@dataclass(frozen=True)
class _Now:
    """What an instant means for every ticker: computed once a run, not once a ticker.

    ``newest`` is the newest closed bar, final from ``settled_at`` on, ``last_slot`` the newest slot
    of the schedule; a first fetch asks for the days from ``start`` to ``end``.
    """

    newest: datetime
    settled_at: datetime
    last_slot: datetime
    start: date
    end: date


@lru_cache(maxsize=16)
def _now(rules: Rules, timeframe: Timeframe, at: datetime) -> _Now:
    newest = newest_closed(timeframe, rules.calendar, at)
    day = newest.astimezone(rules.calendar.zone) if timeframe is Timeframe.HOUR else newest
    return _Now(
        newest,
        bar_close(timeframe, rules.calendar, newest) + SETTLES,
        rules.schedule.last_slot(timeframe, rules.calendar, at),
        history_start(timeframe, rules, at),
        day.date() + DAY,
    )


def split(window: Window, timeframe: Timeframe) -> tuple[Window, ...]:
    """Cut ``window`` into as few windows as one call each can answer whole, oldest first."""
    if window.start >= window.end:
        return ()
    width = WIDEST[timeframe]
    count = ceil((window.end - window.start) / width)
    ends = [window.end - width * n for n in range(count)]
    starts = [*ends[1:], window.start]
    return tuple(Window(start, end) for start, end in zip(starts, ends, strict=True))[::-1]


def history_start(timeframe: Timeframe, rules: Rules, at: datetime) -> date:
    """Where a first run begins: years back, or enough sessions of hours; a Monday."""
    newest = rules.calendar.last_closed(at)
    if timeframe is Timeframe.HOUR and not rules.force:
        return monday_of(rules.calendar.shift(_hours_back(rules, newest), -SPARE_SESSIONS))
    year = max(newest.year - rules.history_years, EARLIEST.year + 1)
    return monday_of(newest.replace(year=year, day=min(newest.day, 28)))


def _hours_back(rules: Rules, newest: date) -> date:
    """The session from which there are enough hourly bars up to session ``newest``."""
    calendar, hours = rules.calendar, 0
    day = newest
    for day in reversed(calendar.between(EARLIEST, newest)):
        hours += len(calendar.hours_of(day))
        if hours >= rules.first_hours:
            break
    return day


def _whole(state: TickerState, rules: Rules, at: datetime) -> Plan:
    now = _now(rules, state.timeframe, at)
    windows = split(Window(now.start, now.end), state.timeframe)
    return Plan(state.ticker, state.timeframe, windows, whole=True)


def _overlap_start(state: TickerState, rules: Rules) -> date:
    """The first of so many stored sessions, the watermark's among them."""
    last = state.last.astimezone(_zone(state, rules)).date() if state.last else EARLIEST
    return rules.calendar.shift(last, 1 - max(rules.overlap_sessions, 1))


def _zone(state: TickerState, rules: Rules) -> tzinfo:
    """Where a stored instant has its date: a daily bar is midnight UTC of it."""
    return rules.calendar.zone if state.timeframe is Timeframe.HOUR else UTC
