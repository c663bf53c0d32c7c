"""Sessions, held against `exchange_calendars` and against holidays known by heart."""

from __future__ import annotations

import warnings
from datetime import UTC, date, datetime, timedelta
from functools import cache

import exchange_calendars
import pytest
from exchange_calendars import ExchangeCalendar
from hypothesis import given
from hypothesis import strategies as st

from collector.market.sessions import DAY, HOUR, Calendar, calendar, monday_of
from tests.market.build import AT, QUIET, new_york, utc, xnys

NAMES = ["XNYS", "XLON", "XTSE", "XHKG", "24/7", "24/5", "us_futures"]
EDGE = st.sampled_from([timedelta(seconds=n) for n in (-1, 0, 1, 1800, 3600, 5400)])


@st.composite
def instants(draw: st.DrawFn, name: str) -> datetime:
    """An instant at or near an opening or a close, or anywhere between."""
    exchange = calendar(name, AT)
    index = draw(st.integers(len(exchange.dates) * 6 // 10, len(exchange.dates) - 30))
    edge = draw(st.sampled_from([exchange.opens, exchange.closes]))[index]
    return edge + draw(st.one_of(EDGE, st.timedeltas(timedelta(), 4 * DAY)))


@cache
def library(name: str) -> ExchangeCalendar:
    """The library's own calendar over the years under test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return exchange_calendars.get_calendar(name, start="1990-12-01", end="2027-12-31")


def around(name: str, at: datetime) -> list[tuple[date, list[tuple[datetime, datetime]]]]:
    """The sessions around ``at`` with their hourly bars, by brute force from the library."""
    rows = library(name).schedule.loc[str((at - 20 * DAY).date()) : str((at + 3 * DAY).date())]
    found = []
    for day, row in rows.iterrows():
        stretches = [(row["open"], row["close"])]
        if row["break_start"] == row["break_start"]:
            stretches = [(row["open"], row["break_start"]), (row["break_end"], row["close"])]
        bars = []
        for start, end in stretches:
            ts = start
            while ts < end:
                bars.append((ts.to_pydatetime(), min(ts + HOUR, end).to_pydatetime()))
                ts += HOUR
        found.append((day.date(), bars))
    return found


@pytest.mark.parametrize("name", NAMES)
@QUIET
@given(asked=st.data())
def test_the_newest_closed_session_hour_and_week_are_those_of_the_library(
    name: str, asked: st.DataObject
) -> None:
    at = asked.draw(instants(name))
    exchange = calendar(name, AT)
    sessions = around(name, at)
    closed = [day for day, bars in sessions if bars[-1][1] <= at]
    assert exchange.last_closed(at) == closed[-1]
    assert exchange.last_opened(at) == [day for day, bars in sessions if bars[0][0] <= at][-1]
    hours = [bar for _, bars in sessions for bar in bars]
    newest = [bar for bar in hours if bar[1] <= at][-1]
    assert exchange.last_closed_hour(at) == newest[0]
    assert exchange.hour_close(newest[0]) == newest[1]
    assert exchange.next_hour(newest[0]) == exchange.next_hour(newest[0] + timedelta(minutes=1))
    schedule = library(name).sessions
    monday = monday_of(at.astimezone(exchange.zone).date() + DAY)
    while True:
        week = schedule[(schedule >= str(monday)) & (schedule < str(monday + 7 * DAY))]
        if len(week) and exchange.close_of(week[-1].date()) <= at:
            break
        monday -= 7 * DAY
    assert exchange.last_closed_week(at) == monday


@pytest.mark.parametrize(
    ("day", "close"),
    [
        ("2026-11-27", "2026-11-27T13:00"),  # the day after Thanksgiving
        ("2026-12-24", "2026-12-24T13:00"),
        ("2026-03-06", "2026-03-06T16:00"),  # the Friday before the clocks change
        ("2026-03-09", "2026-03-09T16:00"),
    ],
)
def test_half_days_and_clock_changes_move_the_close(day: str, close: str) -> None:
    assert xnys().close_of(date.fromisoformat(day)) == new_york(close)


def test_a_half_day_has_four_hourly_bars_and_its_last_is_short() -> None:
    hours = xnys().hours_of(date(2026, 11, 27))
    assert [ts.isoformat()[11:16] for ts in hours] == ["14:30", "15:30", "16:30", "17:30"]
    assert xnys().hour_close(hours[-1]) - hours[-1] == timedelta(minutes=30)
    assert len(xnys().hours_of(date(2026, 11, 25))) == 7


@pytest.mark.parametrize(
    ("at", "monday"),
    [
        ("2026-04-02T15:59", "2026-03-23"),  # Maundy Thursday: the week's last session still runs
        ("2026-04-02T16:00", "2026-03-30"),  # Good Friday is closed, so Thursday ends the week
        ("2026-12-31T16:00", "2026-12-28"),  # Friday is New Year
        ("2026-12-31T15:59", "2026-12-21"),
        ("2026-11-27T13:00", "2026-11-23"),  # a half day ends the week at one
        ("2026-11-23T12:00", "2026-11-16"),
        ("2026-07-02T16:00", "2026-06-29"),  # the Fourth is kept on the Friday
        ("2001-09-14T16:00", "2001-09-10"),  # closed since Tuesday
    ],
)
def test_a_week_closes_with_its_last_session(at: str, monday: str) -> None:
    assert xnys().last_closed_week(new_york(at)) == date.fromisoformat(monday)


def test_shift_stays_within_the_calendar_and_counts_from_the_session_before() -> None:
    exchange = xnys()
    assert exchange.shift(date(2026, 11, 22), 0) == date(2026, 11, 20)
    assert exchange.shift(date(2026, 11, 22), 1) == date(2026, 11, 23)
    assert exchange.shift(date(2026, 11, 20), -1) == date(2026, 11, 19)
    assert exchange.shift(date(1900, 1, 1), -5) == exchange.dates[0]
    assert exchange.shift(date(9999, 1, 1), 5) == exchange.dates[-1]


def test_hong_kong_pauses_for_lunch() -> None:
    hours = calendar("XHKG", AT).hours_of(date(2026, 11, 20))
    assert [(ts + 8 * HOUR).isoformat()[11:16] for ts in hours] == [
        "09:30", "10:30", "11:30", "13:00", "14:00", "15:00",
    ]  # fmt: skip
    with pytest.raises(KeyError, match="does not trade"):
        calendar("XHKG", AT).hour_close(hours[2] + timedelta(minutes=45))


def test_what_lies_outside_the_calendar_is_said_so() -> None:
    exchange = xnys()
    with pytest.raises(LookupError, match="begins with 1970"):
        exchange.last_closed(utc("1960-01-01T00:00"))
    with pytest.raises(LookupError, match="begins with 1970"):
        exchange.last_closed_hour(exchange.opens[0])
    with pytest.raises(LookupError, match="ends with 2027"):
        exchange.next_session(date(2027, 12, 31))
    with pytest.raises(KeyError, match="no session"):
        exchange.close_of(date(2026, 11, 22))
    with pytest.raises(KeyError, match="no session"):
        exchange.open_of(date(2030, 1, 2))
    assert not exchange.is_session(date(2030, 1, 2))
    with pytest.raises(ValueError, match="unknown exchange calendar: NOPE"):
        calendar("NOPE", AT)


def test_a_daemon_that_is_up_for_a_year_finds_the_next_one() -> None:
    later = AT.replace(year=2028)
    assert calendar("XNYS", AT) is calendar("XNYS", AT + timedelta(days=30))
    assert calendar("XNYS", later).last_closed(later) == date(2028, 11, 22)
    assert calendar("XNYS", later).next_session(date(2028, 12, 29)) == date(2029, 1, 2)


@pytest.mark.parametrize(("name", "first"), [("XSHG", 1990), ("XTKS", 1997), ("XBOM", 1997)])
def test_where_the_library_knows_less_the_usual_week_goes_on(name: str, first: int) -> None:
    later = datetime(2031, 6, 4, 20, tzinfo=UTC)  # a Wednesday
    exchange = calendar(name, later)
    assert exchange.dates[0].year == first
    assert exchange.last_closed(later) == date(2031, 6, 4)
    assert exchange.next_session(date(2031, 6, 6)) == date(2031, 6, 9)
    usual = exchange.hours_of(date(2026, 6, 3))
    assert [ts.timetz() for ts in exchange.hours_of(date(2031, 6, 4))] == [
        ts.timetz() for ts in usual
    ]


def test_hours_between_are_the_hours_of_each_session() -> None:
    exchange = xnys()
    first, last = date(2026, 11, 20), date(2026, 11, 30)
    each = [exchange.hours_of(day) for day in exchange.between(first, last)]
    assert exchange.hours_between(first, last) == [ts for hours in each for ts in hours]
    assert len(each) == 6


@pytest.mark.parametrize("name", NAMES)
def test_sessions_are_in_order_and_do_not_meet(name: str) -> None:
    exchange: Calendar = calendar(name, AT)
    assert exchange.dates == sorted(set(exchange.dates))
    assert all(
        opens < closes for opens, closes in zip(exchange.opens, exchange.closes, strict=True)
    )
    pairs = zip(exchange.closes, exchange.opens[1:], strict=False)
    assert all(closes <= opens for closes, opens in pairs)
    assert exchange.open_of(exchange.dates[7]) == exchange.opens[7]
