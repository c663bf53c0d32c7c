"""The sessions of a calendar as columns, so that thousands of bars can be made at once."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache

import numpy as np
from numpy.typing import NDArray

from collector.market.sessions import Calendar

Ints = NDArray[np.int64]

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Sessions:
    """Some sessions in a row: their ISO dates, ordinals, number of hourly bars, and opening in
    minutes after midnight.

    ``before`` is the ordinal of the session before the first.
    """

    labels: list[str]
    ordinals: Ints
    hours: Ints
    opening: list[int]
    before: int


class Timetable:
    """All sessions of one exchange."""

    def __init__(self, calendar: Calendar) -> None:
        self.calendar = calendar
        self._labels = [day.isoformat() for day in calendar.dates]
        self._ordinals = np.array([day.toordinal() for day in calendar.dates], dtype=np.int64)
        spans = zip(calendar.opens, calendar.closes, strict=True)
        self._hours = np.array(
            [-((opens - closes) // HOUR) for opens, closes in spans], dtype=np.int64
        )
        self._opening = [_minutes(opens.astimezone(calendar.zone)) for opens in calendar.opens]

    def between(self, first: date, last: date) -> Sessions:
        """The sessions from ``first`` to ``last``, both included, but the calendar's very first."""
        start = max(1, bisect_left(self.calendar.dates, first))
        part = slice(start, max(start, bisect_right(self.calendar.dates, last)))
        before = int(self._ordinals[start - 1])
        return Sessions(
            self._labels[part], self._ordinals[part], self._hours[part], self._opening[part], before
        )

    def running(self, at: datetime) -> date | None:
        """The session that is open at ``at`` for a minute or more."""
        index = bisect_right(self.calendar.opens, at - MINUTE) - 1
        return self.calendar.dates[index] if at < self.calendar.closes[index] else None


@cache
def timetable(calendar: Calendar) -> Timetable:
    """The timetable of ``calendar``, made once."""
    return Timetable(calendar)


def _minutes(at: datetime) -> int:
    return at.hour * 60 + at.minute
