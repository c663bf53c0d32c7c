"""The plan: every sentence of the contract's section 6.1, by name."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.market.bars import bar_instant
from collector.market.plan import (
    EARLIEST,
    WIDEST,
    Plan,
    Rules,
    TickerState,
    Window,
    backfill,
    history_start,
    is_due,
    plan,
    refetch,
    split,
)
from collector.market.schedule import Schedule
from collector.market.sessions import DAY, HOUR, calendar
from collector.market.timeframe import Timeframe
from tests.market.build import AT, NEW_YORK, QUIET, new_york, utc, xnys

RULES = Rules(xnys(), Schedule(NEW_YORK))
MONDAY = bar_instant(date(2026, 11, 23))
NEW = TickerState("NEW", Timeframe.DAY)
NEW_HOURLY = TickerState("NEW", Timeframe.HOUR)
TOLD = TickerState(
    "AAPL",
    Timeframe.DAY,
    first=bar_instant(date(2015, 11, 16)),
    last=MONDAY,
    asked_from=date(2015, 11, 16),
    asked_through=MONDAY,
    asked_at=AT,
    rev=7,
)
BEHIND = replace(TOLD, last=bar_instant(date(2026, 11, 20)))


def due(state: TickerState, at: datetime, rules: Rules = RULES) -> bool:
    """Whether a run at ``at`` would make a call for the ticker."""
    return bool(plan(state, rules, at).windows)


@pytest.mark.parametrize("at", ["2026-11-24T06:01", "2026-11-24T12:00", "2026-11-24T15:59"])
def test_nothing_to_fetch_costs_no_call(at: str) -> None:
    assert plan(TOLD, RULES, new_york(at)) == Plan("AAPL", Timeframe.DAY)


def test_a_bar_that_has_closed_since_is_fetched() -> None:
    assert due(TOLD, new_york("2026-11-24T16:00"))


def test_an_answer_that_lacked_the_newest_bar_is_asked_again_after_an_hour_and_not_before() -> None:
    assert not due(BEHIND, AT + timedelta(minutes=59))
    assert due(BEHIND, AT + HOUR)


def test_a_success_that_a_wrong_clock_put_into_the_future_does_not_freeze_the_ticker() -> None:
    ahead = replace(TOLD, asked_at=AT + timedelta(days=90), asked_through=MONDAY + 90 * DAY)
    assert due(ahead, AT)
    assert not due(replace(TOLD, asked_at=AT + timedelta(minutes=5)), AT), "clocks differ a little"


def test_a_failed_ticker_is_asked_by_the_next_run() -> None:
    failed = replace(BEHIND, asked_through=BEHIND.last, asked_at=AT - 3 * DAY)
    assert due(failed, AT + timedelta(minutes=1))
    assert due(replace(TOLD, asked_at=None), AT)
    assert due(replace(TOLD, asked_through=None), AT)
    assert due(NEW, AT)


@pytest.mark.parametrize(
    ("asked", "again", "expected"),
    [
        ("2026-11-23T16:05", "2026-11-23T16:30", False),  # the same evening
        ("2026-11-23T16:05", "2026-11-24T05:59", False),  # before the slot
        ("2026-11-23T16:05", "2026-11-24T06:00", True),  # the next slot
        ("2026-11-23T23:59", "2026-11-24T06:00", True),  # still less than eight hours
        ("2026-11-24T00:00", "2026-11-24T06:00", False),  # settled when it was fetched
        ("2026-11-24T06:00", "2026-11-24T12:00", False),  # read again already
    ],
)
def test_a_provisional_bar_is_read_again_at_the_next_slot(
    asked: str, again: str, expected: bool
) -> None:
    assert due(replace(TOLD, asked_at=new_york(asked)), new_york(again)) is expected


def test_the_last_hour_of_the_day_is_read_again_by_the_first_of_the_next() -> None:
    last = new_york("2026-11-23T15:30")
    state = replace(TOLD, timeframe=Timeframe.HOUR, last=last, asked_through=last)
    state = replace(state, asked_at=new_york("2026-11-23T16:05"))
    assert not due(state, new_york("2026-11-24T10:29"))
    assert plan(state, RULES, new_york("2026-11-24T10:35")).windows == (
        Window(date(2026, 11, 17), date(2026, 11, 25)),
    )


def test_a_daily_history_of_eleven_years_takes_one_call() -> None:
    first = plan(NEW, RULES, AT)
    assert first == Plan(
        "NEW", Timeframe.DAY, (Window(date(2015, 11, 23), date(2026, 11, 24)),), whole=True
    )
    weeks = (date(2026, 11, 24) - first.windows[0].start).days // 7
    assert weeks >= 500


def test_twenty_years_take_two_windows() -> None:
    assert len(plan(NEW, replace(RULES, history_years=20), AT).windows) == 2


def test_a_first_hourly_run_brings_five_hundred_bars_in_two_calls_at_any_time() -> None:
    for day in xnys().between(date(2025, 6, 1), date(2026, 11, 20)):
        at = new_york(f"{day}T12:00")
        windows = plan(NEW_HOURLY, RULES, at).windows
        bars = [
            ts for ts in xnys().hours_between(windows[0].start, windows[-1].end) if ts < at - HOUR
        ]
        assert len(bars) >= 500
        assert len(windows) == 2
        assert all(window.end - window.start <= timedelta(days=80) for window in windows)


def test_a_market_that_never_sleeps_needs_fewer_days_for_its_hours() -> None:
    rules = replace(RULES, calendar=calendar("24/7", AT))
    start = history_start(Timeframe.HOUR, rules, AT)
    assert timedelta(days=21) < AT.date() - start < timedelta(days=32)
    short = replace(rules, first_hours=10**9)
    assert history_start(Timeframe.HOUR, short, AT) <= date(1970, 1, 1)


def test_an_incremental_fetch_reads_the_overlap_again() -> None:
    windows = plan(BEHIND, RULES, AT + HOUR).windows
    assert windows == (Window(date(2026, 11, 16), date(2026, 11, 24)),)
    assert len(xnys().between(windows[0].start, date(2026, 11, 20))) == RULES.overlap_sessions
    least = plan(BEHIND, replace(RULES, overlap_sessions=0), AT + HOUR).windows
    assert least == (Window(date(2026, 11, 20), date(2026, 11, 24)),)


def test_a_ticker_that_was_left_for_years_is_caught_up_without_a_gap() -> None:
    old = replace(
        TOLD, timeframe=Timeframe.HOUR, last=new_york("2025-01-06T15:30"), asked_through=None
    )
    windows = plan(old, RULES, AT).windows
    assert windows[0].start == date(2024, 12, 30)
    assert windows[-1].end == date(2026, 11, 24)
    assert len(windows) == 9


def test_force_fetches_the_years_again_whatever_is_stored() -> None:
    forced = replace(RULES, force=True)
    assert plan(TOLD, forced, AT) == replace(plan(NEW, RULES, AT), ticker="AAPL")
    hourly = plan(NEW_HOURLY, forced, AT)
    assert hourly.windows[0].start == date(2015, 11, 23)
    assert len(hourly.windows) == 51


def test_refetch_covers_whatever_is_stored() -> None:
    old = replace(TOLD, first=bar_instant(date(1993, 1, 29)))
    again = refetch(old, RULES, AT)
    assert again.whole
    assert (again.windows[0].start, again.windows[-1].end) == (
        date(1993, 1, 29),
        date(2026, 11, 24),
    )
    assert len(again.windows) == 3
    young = replace(TOLD, first=bar_instant(date(2024, 1, 2)))
    assert refetch(young, RULES, AT).windows == plan(NEW, RULES, AT).windows
    assert refetch(replace(TOLD, first=None), RULES, AT).windows == plan(NEW, RULES, AT).windows


def test_backfill_leaves_out_what_was_asked_before() -> None:
    asked = backfill(TOLD, RULES, AT, date(2000, 1, 3))
    assert (asked.windows[0].start, asked.windows[-1].end) == (date(2000, 1, 3), date(2015, 11, 16))
    assert not asked.whole
    assert backfill(TOLD, RULES, AT, date(2015, 11, 16)).windows == ()


def test_a_backfill_that_was_stopped_goes_on_where_it_stood() -> None:
    whole = backfill(TOLD, RULES, AT, EARLIEST).windows
    state = TOLD
    for window in reversed(whole[2:]):  # the newest were stored, then somebody pulled the plug
        state = replace(state, asked_from=window.start)
    assert backfill(state, RULES, AT, EARLIEST).windows == whole[:2]


def test_a_backfill_of_an_unknown_ticker_asks_for_everything_up_to_now_or_until() -> None:
    everything = backfill(NEW, RULES, AT, date(2000, 1, 3))
    assert everything.whole
    assert everything.windows[-1].end == date(2026, 11, 24)
    some = backfill(NEW, RULES, AT, date(2000, 1, 3), date(2001, 1, 1))
    assert some.windows == (Window(date(2000, 1, 3), date(2001, 1, 1)),)
    assert backfill(NEW, RULES, AT, date(2000, 1, 3), date(2099, 1, 1)) == everything
    assert backfill(NEW, RULES, AT, date(2030, 1, 1)).windows == ()


def test_a_forced_backfill_asks_again() -> None:
    asked = backfill(TOLD, replace(RULES, force=True), AT, date(2024, 1, 2))
    assert asked.windows == (Window(date(2024, 1, 2), date(2026, 11, 24)),)


@pytest.mark.parametrize(
    ("at", "years", "start"),
    [
        ("2028-03-01T06:00", 11, "2017-02-27"),  # the newest session is 29 February
        ("2028-03-01T06:00", 8, "2020-02-24"),
        ("2026-11-24T06:00", 5000, "1901-11-18"),
    ],
)
def test_a_history_starts_on_a_monday_leap_years_or_not(at: str, years: int, start: str) -> None:
    instant = new_york(at)
    rules = replace(RULES, calendar=calendar("XNYS", instant), history_years=years)
    assert history_start(Timeframe.DAY, rules, instant) == date.fromisoformat(start)
    assert date.fromisoformat(start).weekday() == 0


def test_a_watermark_that_no_calendar_knows_stops_no_plan() -> None:
    sunday = bar_instant(date(2026, 11, 29))
    strange = replace(TOLD, last=sunday, asked_through=sunday)
    assert not due(strange, AT + timedelta(minutes=5))
    late = replace(strange, asked_at=utc("2026-11-23T22:00"))
    assert plan(late, RULES, AT).windows in {(), (Window(date(2026, 11, 20), date(2026, 11, 24)),)}
    hour = new_york("2026-11-22T03:00")
    assert due(replace(TOLD, timeframe=Timeframe.HOUR, last=hour, asked_through=hour), AT)


@QUIET
@given(
    start=st.dates(date(1900, 1, 1), date(2030, 1, 1)),
    length=st.integers(-10, 20_000),
    timeframe=st.sampled_from([Timeframe.DAY, Timeframe.HOUR]),
)
def test_windows_cover_the_span_in_order_without_gap_or_overlap(
    start: date, length: int, timeframe: Timeframe
) -> None:
    whole = Window(start, start + length * DAY)
    windows = split(whole, timeframe)
    if length <= 0:
        assert windows == ()
        return
    assert (windows[0].start, windows[-1].end) == (whole.start, whole.end)
    assert all(one.end == two.start for one, two in pairwise(windows))
    assert all(timedelta() < each.end - each.start <= WIDEST[timeframe] for each in windows)
    assert len(windows) == -(-length // WIDEST[timeframe].days)


@QUIET
@given(
    last=st.datetimes(datetime(2026, 10, 1), datetime(2026, 11, 24)),  # noqa: DTZ001 - made aware below
    asked=st.timedeltas(timedelta(), 40 * DAY),
    timeframe=st.sampled_from([Timeframe.DAY, Timeframe.HOUR]),
)
def test_whatever_the_state_a_due_plan_reaches_the_newest_closed_day(
    last: datetime, asked: timedelta, timeframe: Timeframe
) -> None:
    stored = (
        bar_instant(last.date()) if timeframe is Timeframe.DAY else last.replace(tzinfo=NEW_YORK)
    )
    state = replace(
        TOLD, timeframe=timeframe, last=stored, asked_through=stored, asked_at=AT - asked
    )
    made = plan(state, RULES, AT)
    assert bool(made.windows) == is_due(state, RULES, AT)
    if made.windows:
        assert made.windows[-1].end == date(2026, 11, 24)
        assert made.windows[0].start <= last.date()
