"""When bars are due: pure arithmetic over instants, on the exchange's calendar.

A *slot* is an instant at which a timeframe is due: daily at set times on the date of every session,
hourly some time after each hourly bar closes, weekly some time after the week's last session.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from collector.market.bars import bar_close, bar_instant
from collector.market.sessions import DAY, Calendar, monday_of
from collector.market.timeframe import Timeframe

GRACE = {
    Timeframe.HOUR: timedelta(minutes=10),
    Timeframe.DAY: timedelta(minutes=30),
    Timeframe.WEEK: timedelta(minutes=30),
}
SUNDAY = 6
NEAR = 16  # sessions: two weeks of a market without weekends, and a slot some days late
NEVER_YET = datetime.min.replace(tzinfo=UTC)
NEVER = datetime.max.replace(tzinfo=UTC)
BY_HAND = timedelta(days=1)  # where no slot is set: by then somebody's cron has run


@dataclass(frozen=True)
class Schedule:
    """When each timeframe is due.

    ``daily_at`` are wall-clock times in ``zone``; none means no daily slot at all.
    """

    zone: ZoneInfo
    daily_at: tuple[time, ...] = (time(6),)
    hourly_delay: timedelta = timedelta(minutes=5)
    weekly_delay: timedelta = timedelta(minutes=15)

    def last_slot(self, timeframe: Timeframe, calendar: Calendar, at: datetime) -> datetime:
        """The newest slot that is not after ``at``; `NEVER_YET` if there is none."""
        slots = (slot for slot in self._near(timeframe, calendar, at) if slot <= at)
        return max(slots, default=NEVER_YET)

    def next_slot(self, timeframe: Timeframe, calendar: Calendar, at: datetime) -> datetime:
        """The first slot at or after ``at``; `NEVER` if there is none."""
        slots = (slot for slot in self._near(timeframe, calendar, at) if slot >= at)
        return min(slots, default=NEVER)

    def _near(self, timeframe: Timeframe, calendar: Calendar, at: datetime) -> Iterator[datetime]:
        """All slots of the sessions around ``at``."""
        index = bisect_right(calendar.opens, at)
        for day in calendar.dates[max(0, index - NEAR) : index + NEAR]:
            yield from self._slots_of(timeframe, calendar, day)

    def _slots_of(self, timeframe: Timeframe, calendar: Calendar, day: date) -> list[datetime]:
        if timeframe is Timeframe.HOUR:
            return [calendar.hour_close(ts) + self.hourly_delay for ts in calendar.hours_of(day)]
        if timeframe is Timeframe.DAY:
            return [datetime.combine(day, at, self.zone).astimezone(UTC) for at in self.daily_at]
        last_of_week = calendar.shift(day + (SUNDAY - day.weekday()) * DAY, 0) == day
        return [calendar.close_of(day) + self.weekly_delay] if last_of_week else []


def fresh_until(
    schedule: Schedule, timeframe: Timeframe, calendar: Calendar, through: datetime
) -> datetime:
    """The instant by which the schedule brings the bar after ``through``, with some grace."""
    close = bar_close(timeframe, calendar, _bar_after(timeframe, calendar, through))
    slot = schedule.next_slot(timeframe, calendar, close)
    return (close + BY_HAND if slot == NEVER else slot) + GRACE[timeframe]


def _bar_after(timeframe: Timeframe, calendar: Calendar, through: datetime) -> datetime:
    if timeframe is Timeframe.DAY:
        return bar_instant(calendar.next_session(through.date()))
    if timeframe is Timeframe.WEEK:
        return bar_instant(monday_of(calendar.next_session(through.date() + timedelta(days=6))))
    return calendar.next_hour(through)
