"""When an exchange trades: sessions, half days, lunch breaks and DST.

From `exchange_calendars`. Instants are aware UTC; a session is named by its local date, which for
futures and the like is not the date of its opening.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from exchange_calendars import ExchangeCalendar

FIRST_YEAR = 1970  # the library's own default covers the last twenty years only
EARLIEST = date(1900, 1, 1)  # no vendor has an older bar; an older date is a mistake
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

Stretch = tuple[datetime, datetime]


class Calendar:
    """The sessions of one exchange from 1970 (or its first on record) to the end of next year.

    ``dates``, ``opens`` and ``closes`` are parallel lists, one entry a session, oldest first;
    ``breaks`` holds the lunch break of the sessions that have one. Asking for what lies outside
    raises `LookupError`.
    """

    def __init__(
        self,
        name: str,
        dates: list[date],
        opens: list[datetime],
        closes: list[datetime],
        zone: ZoneInfo,
        breaks: Mapping[date, Stretch] | None = None,
    ) -> None:
        self.name = name
        self.zone = zone
        self.dates = dates
        self.opens = opens
        self.closes = closes
        self.breaks = breaks or {}

    def last_closed(self, at: datetime) -> date:
        """The newest session whose close is not after ``at``."""
        return self.dates[self._newest(self.closes, at)]

    def last_opened(self, at: datetime) -> date:
        """The newest session whose opening is not after ``at``."""
        return self.dates[self._newest(self.opens, at)]

    def is_session(self, day: date) -> bool:
        """Whether the exchange trades on ``day``."""
        index = bisect_left(self.dates, day)
        return index < len(self.dates) and self.dates[index] == day

    def next_session(self, day: date) -> date:
        """The first session after ``day``."""
        index = bisect_right(self.dates, day)
        if index == len(self.dates):
            raise LookupError(f"the calendar {self.name} ends with {self.dates[-1]}")
        return self.dates[index]

    def shift(self, day: date, sessions: int) -> date:
        """The session that many ``sessions`` after ``day`` (before, if negative).

        A ``day`` without a session counts as the session before it. The answer stays within
        the calendar.
        """
        index = bisect_right(self.dates, day) - 1 + sessions
        return self.dates[max(0, min(index, len(self.dates) - 1))]

    def close_of(self, day: date) -> datetime:
        """The closing instant of session ``day``; `KeyError` if it is none."""
        return self.closes[self._index(day)]

    def open_of(self, day: date) -> datetime:
        """The opening instant of session ``day``; `KeyError` if it is none."""
        return self.opens[self._index(day)]

    def between(self, first: date, last: date) -> list[date]:
        """The sessions from ``first`` to ``last``, both included."""
        return self.dates[bisect_left(self.dates, first) : bisect_right(self.dates, last)]

    def stretches(self, index: int) -> list[Stretch]:
        """When session number ``index`` trades: one stretch, or two around a lunch break."""
        opens, closes = self.opens[index], self.closes[index]
        pause = self.breaks.get(self.dates[index])
        return [(opens, pause[0]), (pause[1], closes)] if pause else [(opens, closes)]

    def hours_of(self, day: date) -> list[datetime]:
        """The opening instants of the hourly bars of session ``day``.

        They count from the open, and again from the end of a lunch break; the last may be short.
        """
        stretches = self.stretches(self._index(day))
        return [ts for stretch in stretches for ts in _hours(stretch)]

    def hours_between(self, first: date, last: date) -> list[datetime]:
        """The opening instants of the hourly bars from session ``first`` to ``last``, included."""
        return _hours_between(self, first, last)

    def hour_close(self, ts: datetime) -> datetime:
        """When the hourly bar that opens at ``ts`` closes: the session may end sooner.

        `KeyError` if the exchange does not trade at ``ts``.
        """
        index = bisect_right(self.opens, ts) - 1
        for opens, closes in self.stretches(index) if index >= 0 else ():
            if opens <= ts < closes:
                return min(ts + HOUR, closes)
        raise KeyError(f"{self.name} does not trade at {ts}")

    def last_closed_hour(self, at: datetime) -> datetime:
        """The opening instant of the newest hourly bar that has closed by ``at``."""
        index = self._newest(self.opens, at)
        for day in self.dates[index : max(index - 2, 0) : -1]:
            closed = [ts for ts in self.hours_of(day) if self.hour_close(ts) <= at]
            if closed:
                return closed[-1]
        raise LookupError(f"the calendar {self.name} begins with {self.dates[0]}")

    def next_hour(self, ts: datetime) -> datetime:
        """The opening instant of the first hourly bar after ``ts``."""
        day = self.dates[self._newest(self.opens, ts)]
        later = [hour for hour in self.hours_of(day) if hour > ts]
        return later[0] if later else self.hours_of(self.next_session(day))[0]

    def last_closed_week(self, at: datetime) -> date:
        """The Monday of the newest week whose last session has closed by ``at``."""
        session = self.last_closed(at)
        monday = monday_of(session)
        week_over = monday_of(self.next_session(session)) > monday
        return monday if week_over else monday_of(self.shift(monday - DAY, 0))

    def _newest(self, instants: list[datetime], at: datetime) -> int:
        """The index of the newest of ``instants`` that is not after ``at``."""
        index = bisect_right(instants, at) - 1
        if index < 0:
            raise LookupError(f"the calendar {self.name} begins with {self.dates[0]}")
        return index

    def _index(self, day: date) -> int:
        index = bisect_left(self.dates, day)
        if index == len(self.dates) or self.dates[index] != day:
            raise KeyError(f"{day} is no session of {self.name}")
        return index


def monday_of(day: date) -> date:
    """The Monday of the week of ``day``."""
    return day - timedelta(days=day.weekday())


def calendar(name: str, at: datetime) -> Calendar:
    """The calendar of exchange ``name`` (``XNYS``, …) up to the end of the year after ``at``.

    Ask for it anew for every run: the same object comes back until the year changes. Raises
    `ValueError` where the name is unknown.
    """
    return _open(name, at.year + 1)


def _hours(stretch: Stretch) -> Iterator[datetime]:
    opens, closes = stretch
    return (opens + n * HOUR for n in range(-((opens - closes) // HOUR)))


@lru_cache(maxsize=64)  # the tickers of a run share their windows
def _hours_between(source: Calendar, first: date, last: date) -> list[datetime]:
    return [ts for day in source.between(first, last) for ts in source.hours_of(day)]


@cache
def _open(name: str, last_year: int) -> Calendar:
    import exchange_calendars  # takes 0.4 s, which ``--help`` should not pay

    try:
        with warnings.catch_warnings():  # of pandas, at the library's expense
            warnings.simplefilter("ignore")
            source = _source(name, last_year)
    except exchange_calendars.errors.InvalidCalendarName:
        raise ValueError(f"unknown exchange calendar: {name}") from None
    known = Calendar(
        name,
        [stamp.date() for stamp in source.sessions],
        [_utc(stamp) for stamp in source.opens],
        [_utc(stamp) for stamp in source.closes],
        ZoneInfo(str(source.tz)),
        _breaks(source),
    )
    return _continued(known, date(last_year, 12, 31))


def _source(name: str, last_year: int) -> ExchangeCalendar:
    """The library's calendar, as much of the years wanted as it knows."""
    from exchange_calendars import get_calendar

    wanted = f"{FIRST_YEAR}-01-01", f"{last_year}-12-31"
    try:
        return get_calendar(name, start=wanted[0], end=wanted[1])
    except ValueError:  # XSHG: holidays are on record from 1990 to the end of the present year
        kind = type(get_calendar(name))
        first, last = kind.bound_min(), kind.bound_max()
        start = max(wanted[0], str(first.date())) if first is not None else wanted[0]
        end = min(wanted[1], str(last.date())) if last is not None else wanted[1]
        return get_calendar(name, start=start, end=end)


def _breaks(source: ExchangeCalendar) -> dict[date, Stretch]:
    if not source.has_break:
        return {}
    columns = source.sessions, source.break_starts, source.break_ends
    rows = [row for row in zip(*columns, strict=True) if row[1] == row[1]]  # NaT is not itself
    return {day.date(): (_utc(start), _utc(end)) for day, start, end in rows}


def _continued(known: Calendar, end: date) -> Calendar:
    """``known``; where the library knows no more long before ``end``, the usual week goes on.

    A holiday that nobody has announced yet is then a session without bars, which does little harm;
    a calendar without tomorrow would.
    """
    if end - known.dates[-1] < timedelta(days=30):
        return known
    recent = range(max(0, len(known.dates) - 260), len(known.dates))
    usual = max(recent, key=lambda index: known.closes[index] - known.opens[index])
    weekdays = {known.dates[index].weekday() for index in recent}
    later = (known.dates[-1] + n * DAY for n in range(1, (end - known.dates[-1]).days + 1))
    days = [day for day in later if day.weekday() in weekdays]
    pauses = {
        day: (_moved(known, start, usual, day), _moved(known, end, usual, day))
        for start, end in filter(None, [known.breaks.get(known.dates[usual])])
        for day in days
    }
    return Calendar(
        known.name,
        known.dates + days,
        known.opens + [_moved(known, known.opens[usual], usual, day) for day in days],
        known.closes + [_moved(known, known.closes[usual], usual, day) for day in days],
        known.zone,
        {**known.breaks, **pauses},
    )


def _moved(source: Calendar, at: datetime, index: int, day: date) -> datetime:
    """The wall-clock time of ``at``, of session number ``index``, on ``day``."""
    local = at.astimezone(source.zone)
    moved = day + (local.date() - source.dates[index])
    return datetime.combine(moved, local.time(), source.zone).astimezone(UTC)


def _utc(stamp: datetime) -> datetime:
    return datetime.fromtimestamp(stamp.timestamp(), UTC)
