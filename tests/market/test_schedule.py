"""When bars are due, by brute force over every slot."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.market.bars import bar_close, bar_instant
from collector.market.schedule import NEVER, NEVER_YET, Schedule, fresh_until
from collector.market.sessions import DAY, calendar, monday_of
from collector.market.timeframe import Timeframe
from tests.market.build import AT, NEW_YORK, QUIET, new_york, utc, xnys

PLAIN = Schedule(NEW_YORK)
SCHEDULES = [
    PLAIN,
    Schedule(NEW_YORK, (time(6), time(16, 30)), weekly_delay=timedelta(days=1)),
    Schedule(ZoneInfo("Asia/Tokyo"), (time(2, 30),), timedelta(0), timedelta(0)),
    Schedule(ZoneInfo("Europe/London"), (time(1, 30), time(23, 59)), timedelta(minutes=50)),
]


@cache
def slots(schedule: Schedule, timeframe: Timeframe, name: str) -> list[datetime]:
    """All slots since 2000, one by one."""
    exchange = calendar(name, AT)
    sessions = exchange.between(date(2000, 1, 1), date(2027, 12, 31))
    if timeframe is Timeframe.HOUR:
        bars = (ts for day in sessions for ts in exchange.hours_of(day))
        return [exchange.hour_close(ts) + schedule.hourly_delay for ts in bars]
    if timeframe is Timeframe.DAY:
        stamps = (
            datetime.combine(day, at, schedule.zone) for day in sessions for at in schedule.daily_at
        )
        return sorted(stamp.astimezone(UTC) for stamp in stamps)
    last = {monday_of(day): day for day in sessions}
    return [exchange.close_of(day) + schedule.weekly_delay for day in last.values()]


@pytest.mark.parametrize("name", ["XNYS", "24/7", "XLON", "us_futures"])
@pytest.mark.parametrize("timeframe", [Timeframe.DAY, Timeframe.WEEK, Timeframe.HOUR])
@QUIET
@given(asked=st.data())
def test_the_slots_around_any_instant_are_those_of_the_brute_force(
    name: str, timeframe: Timeframe, asked: st.DataObject
) -> None:
    schedule = asked.draw(st.sampled_from(SCHEDULES))
    every = slots(schedule, timeframe, name)
    edge = asked.draw(st.sampled_from(every[20:-20]))
    at = edge + asked.draw(st.sampled_from([timedelta(seconds=n) for n in (-1, 0, 1, 40_000)]))
    exchange = calendar(name, AT)
    assert schedule.last_slot(timeframe, exchange, at) == every[bisect_right(every, at) - 1]
    assert schedule.next_slot(timeframe, exchange, at) == every[bisect_left(every, at)]


@pytest.mark.parametrize(
    ("timeframe", "through", "until"),
    [
        (Timeframe.DAY, "2026-11-23T00:00", "2026-11-25T11:30"),  # the contract's own example
        (Timeframe.DAY, "2026-11-20T00:00", "2026-11-24T11:30"),  # over a weekend
        (Timeframe.DAY, "2026-11-25T00:00", "2026-11-30T11:30"),  # Friday's bar comes on Monday
        (Timeframe.DAY, "2026-03-05T00:00", "2026-03-09T10:30"),  # and the clocks have changed
        (Timeframe.DAY, "2001-09-10T00:00", "2001-09-18T10:30"),  # closed for four sessions
        (Timeframe.WEEK, "2026-11-16T00:00", "2026-11-27T18:45"),  # ends on a half day
        (Timeframe.WEEK, "2026-03-23T00:00", "2026-04-02T20:45"),  # ends before Good Friday
        (Timeframe.HOUR, "2026-11-23T14:30", "2026-11-23T16:45"),
        (Timeframe.HOUR, "2026-11-23T20:30", "2026-11-24T15:45"),  # over the night
        (Timeframe.HOUR, "2026-11-25T20:30", "2026-11-27T15:45"),  # over Thanksgiving
        (Timeframe.HOUR, "2026-11-27T16:30", "2026-11-27T18:15"),  # the last half hour
    ],
)
def test_a_value_is_fresh_until_the_schedule_brings_the_next_bar(
    timeframe: Timeframe, through: str, until: str
) -> None:
    assert fresh_until(PLAIN, timeframe, xnys(), utc(through)) == utc(until)


@QUIET
@given(day=st.dates(date(2000, 1, 3), date(2026, 12, 1)), schedule=st.sampled_from(SCHEDULES))
def test_fresh_until_comes_after_the_next_close_even_for_a_strange_bar(
    day: date, schedule: Schedule
) -> None:
    exchange = xnys()
    for timeframe in (Timeframe.DAY, Timeframe.WEEK, Timeframe.HOUR):
        named = monday_of(day) if timeframe is Timeframe.WEEK else day
        until = fresh_until(schedule, timeframe, exchange, bar_instant(named))
        assert timedelta() < until - bar_instant(named) < timedelta(days=21)
    following = exchange.next_session(day)
    close = bar_close(Timeframe.DAY, exchange, bar_instant(following))
    assert fresh_until(schedule, Timeframe.DAY, exchange, bar_instant(day)) > close


def test_without_a_daily_slot_nothing_is_due_and_a_day_is_granted() -> None:
    by_hand = Schedule(NEW_YORK, ())
    assert by_hand.last_slot(Timeframe.DAY, xnys(), AT) == NEVER_YET
    assert by_hand.next_slot(Timeframe.DAY, xnys(), AT) == NEVER
    until = fresh_until(by_hand, Timeframe.DAY, xnys(), utc("2026-11-23T00:00"))
    assert until == new_york("2026-11-24T16:00") + DAY + timedelta(minutes=30)


@pytest.mark.parametrize(
    ("day", "slot"), [("2026-03-08", "07:30"), ("2026-11-01", "05:30"), ("2026-11-02", "06:30")]
)
def test_a_time_that_the_clock_skips_or_repeats_is_due_once(day: str, slot: str) -> None:
    exchange = calendar("24/7", AT)
    wall = time(2, 30) if day == "2026-03-08" else time(1, 30)
    schedule = Schedule(NEW_YORK, (wall,))
    midnight = datetime.fromisoformat(day).replace(tzinfo=NEW_YORK).astimezone(UTC)
    due = schedule.next_slot(Timeframe.DAY, exchange, midnight)
    assert due == utc(f"{day}T{slot}")
    assert schedule.next_slot(
        Timeframe.DAY, exchange, due + timedelta(seconds=1)
    ) > due + timedelta(hours=20)
