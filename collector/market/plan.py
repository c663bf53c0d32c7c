"""What to ask the vendor for: from state, calendar and instant to windows of days."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from math import ceil

from collector.market.bars import bar_close, newest_closed
from collector.market.schedule import Schedule
from collector.market.sessions import Calendar, monday_of
from collector.market.timeframe import Timeframe

ASK_AGAIN = timedelta(hours=1)  # after an answer that lacked the newest closed bar
SETTLES = timedelta(hours=8)  # vendors revise a bar for some hours after its close
HOURS_A_SESSION = 7
FIRST_HOURS = 500  # hourly bars that a first run brings at least
EARLIEST = date(1900, 1, 1)
DAY = timedelta(days=1)

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
    return Plan(
        state.ticker,
        state.timeframe,
        split(Window(_overlap_start(state, rules), _end(state, rules, at)), state.timeframe),
    )


def refetch(state: TickerState, rules: Rules, at: datetime) -> Plan:
    """Plan the whole stored history again: the vendor has rewritten it (a split)."""
    whole = _whole(state, rules, at)
    start = min(whole.windows[0].start, state.first.date() if state.first else EARLIEST)
    return replace(whole, windows=split(Window(start, whole.windows[-1].end), state.timeframe))


def backfill(
    state: TickerState, rules: Rules, at: datetime, since: date, until: date | None = None
) -> Plan:
    """Plan the days from ``since`` that were never asked for, up to ``until`` (excluded) or to now.

    What was asked before is left out, so that a backfill that was stopped goes on where it stood.
    """
    end = _end(state, rules, at) if until is None else min(until, _end(state, rules, at))
    known = state.asked_from is not None and state.last is not None and not rules.force
    stop = min(end, state.asked_from) if known and state.asked_from else end
    windows = split(Window(since, stop), state.timeframe) if since < stop else ()
    return Plan(state.ticker, state.timeframe, windows, whole=not known)


def is_due(state: TickerState, rules: Rules, at: datetime) -> bool:
    """Whether an answer could hold something new for a ticker that has history."""
    newest = newest_closed(state.timeframe, rules.calendar, at)
    if (
        state.last is None
        or state.asked_at is None
        or state.asked_through is None
        or state.asked_through < newest
    ):
        return True
    if state.last < newest:
        return at - state.asked_at >= ASK_AGAIN
    settled_at = bar_close(state.timeframe, rules.calendar, state.last) + SETTLES
    return (
        state.asked_at < settled_at
        and rules.schedule.last_slot(state.timeframe, rules.calendar, at) > state.asked_at
    )


def split(window: Window, timeframe: Timeframe) -> tuple[Window, ...]:
    """Cut ``window`` into as few windows as one call each can answer whole, oldest first."""
    width = WIDEST[timeframe]
    count = max(1, ceil((window.end - window.start) / width))
    ends = [window.end - width * n for n in range(count)]
    starts = [*ends[1:], window.start]
    return tuple(Window(start, end) for start, end in zip(starts, ends, strict=True))[::-1]


def _whole(state: TickerState, rules: Rules, at: datetime) -> Plan:
    window = Window(history_start(state.timeframe, rules, at), _end(state, rules, at))
    return Plan(state.ticker, state.timeframe, split(window, state.timeframe), whole=True)


def history_start(timeframe: Timeframe, rules: Rules, at: datetime) -> date:
    """Where a first run begins: years back, or enough sessions of hours; a Monday."""
    newest = rules.calendar.last_closed(at)
    if timeframe is Timeframe.HOUR and not rules.force:
        sessions = ceil(rules.first_hours / HOURS_A_SESSION) + 3  # half days hold four bars
        return monday_of(rules.calendar.shift(newest, -sessions))
    return monday_of(
        newest.replace(year=newest.year - rules.history_years, day=min(newest.day, 28))
    )


def _overlap_start(state: TickerState, rules: Rules) -> date:
    last = state.last.date() if state.last else EARLIEST
    return rules.calendar.shift(last, -rules.overlap_sessions)


def _end(state: TickerState, rules: Rules, at: datetime) -> date:
    newest = newest_closed(state.timeframe, rules.calendar, at)
    zone = rules.calendar.zone
    return (newest.astimezone(zone) if state.timeframe is Timeframe.HOUR else newest).date() + DAY
