"""Where bars may stand, as sorted integers: to look thousands of instants up at once.

An instant is a number: days after 1970-01-01 of a date, microseconds of an hourly bar's opening.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from collector.market.sessions import EARLIEST, HOUR, Calendar
from collector.market.timeframe import Timeframe

Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY = EPOCH.date().toordinal()
EPOCH_WEEKDAY = EPOCH.weekday()
MICROSECOND = HOUR // 3_600_000_000
HOUR_NUMBER = HOUR // MICROSECOND


def number(instant: date) -> int:
    """The number of a date or, in microseconds, of an aware instant."""
    if isinstance(instant, datetime):
        return (instant - EPOCH) // MICROSECOND
    return instant.toordinal() - EPOCH_DAY


def on_calendar(instants: Numbers, timeframe: Timeframe, calendar: Calendar) -> Mask:
    """Which of ``instants`` open a bar. A date older than the calendar needs the right weekday."""
    grid = _hours(calendar) if timeframe is Timeframe.HOUR else _days(calendar)
    places = np.searchsorted(grid, instants)
    known: Mask = grid[np.minimum(places, len(grid) - 1)] == instants
    if timeframe is Timeframe.HOUR or not instants.size or instants.min() >= grid[0]:
        return known
    old = (instants >= number(EARLIEST)) & (instants < grid[0])
    known |= old & _weekdays(calendar)[(instants + EPOCH_WEEKDAY) % 7]
    return known


@lru_cache(maxsize=16)
def _days(calendar: Calendar) -> Numbers:
    return np.array([number(day) for day in calendar.dates], dtype=np.int64)


@lru_cache(maxsize=16)
def _weekdays(calendar: Calendar) -> Mask:
    """On which weekdays the exchange ever trades, Monday first."""
    days = (_days(calendar) + EPOCH_WEEKDAY) % 7
    return np.bincount(days, minlength=7) > len(days) // 20


@lru_cache(maxsize=16)
def _hours(calendar: Calendar) -> Numbers:
    stretches = [each for n in range(len(calendar.dates)) for each in calendar.stretches(n)]
    opens = np.array([number(start) for start, _ in stretches], dtype=np.int64)
    closes = np.array([number(end) for _, end in stretches], dtype=np.int64)
    counts = -((opens - closes) // HOUR_NUMBER)
    first = np.cumsum(counts) - counts
    steps = np.arange(counts.sum(), dtype=np.int64) - np.repeat(first, counts)
    hours: Numbers = np.repeat(opens, counts) + steps * HOUR_NUMBER
    return hours
