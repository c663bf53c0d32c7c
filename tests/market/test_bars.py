"""What keeps a row out of a bar frame, and what may stay."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from math import inf, isfinite, nan
from sys import float_info

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.market.bars import (
    VALUES,
    Checked,
    bar_close,
    bar_instant,
    check,
    empty,
    newest_closed,
    schema,
)
from collector.market.sessions import calendar
from collector.market.timeframe import Timeframe
from tests.market.build import AT, GOOD, QUIET, Row, days, hours, new_york, utc, xnys

DAY = date(2026, 11, 20)


def checked(*rows: Row, at: datetime = AT) -> Checked:
    """What New York's calendar makes of daily rows."""
    return check(days(*rows), Timeframe.DAY, xnys(), at)


@pytest.mark.parametrize(
    ("reason", "row"),
    [
        ("bad_date", (None, *GOOD)),
        ("missing_value", (DAY, None, 11, 9, 10, 1)),
        ("missing_value", (DAY, 10, 11, 9, 10, None)),
        ("not_finite", (DAY, 10, inf, 9, 10, 1)),
        ("not_finite", (DAY, 10, 11, 9, nan, 1)),
        ("not_finite", (DAY, 10, 11, 9, 10, inf)),
        ("price_not_positive", (DAY, 10, 11, 0, 10, 1)),
        ("price_not_positive", (DAY, 10, 11, -9, 10, 1)),
        ("outside_low_high", (DAY, 10, 9, 11, 10, 1)),
        ("outside_low_high", (DAY, 8.9, 11, 9, 10, 1)),
        ("outside_low_high", (DAY, 10, 11, 9, 11.1, 1)),
        ("negative_volume", (DAY, 10, 11, 9, 10, -1)),
        ("future", (date(2026, 11, 25), *GOOD)),
        ("future", (date(9999, 12, 31), *GOOD)),
        ("off_calendar", (date(2026, 11, 21), *GOOD)),
        ("off_calendar", (date(2026, 9, 7), *GOOD)),
        ("off_calendar", (date(1, 1, 1), *GOOD)),
        ("off_calendar", (date(1969, 12, 28), *GOOD)),
    ],
)
def test_a_bad_row_is_rejected_for_its_reason_and_spoils_no_other(reason: str, row: Row) -> None:
    result = checked((date(2026, 11, 19), *GOOD), row)
    assert result.rejected == {reason: 1}
    assert result.frame["date"].to_list() == [date(2026, 11, 19)]
    assert result.excerpt.startswith(f"{reason}: date={row[0]} open={row[1]}")
    assert result.rows_rejected == 1


@pytest.mark.parametrize(
    "row",
    [
        (DAY, 10, 10, 10, 10, 0),
        (DAY, 1e-9, 2e-9, 1e-9, 2e-9, 0.5),
        (DAY, 1e300, 1e308, 1e300, 1e308, float_info.max),
        (date(1962, 1, 2), *GOOD),
        (date(1929, 10, 29), *GOOD),
    ],
)
def test_a_strange_but_possible_bar_is_taken(row: Row) -> None:
    assert checked(row).frame.rows() == [row]


@pytest.mark.parametrize("timeframe", [Timeframe.DAY, Timeframe.HOUR])
def test_no_rows_make_an_empty_frame_of_the_schema(timeframe: Timeframe) -> None:
    result = check(empty(timeframe), timeframe, xnys(), AT)
    assert result.frame.schema == pl.Schema(schema(timeframe))
    assert (result.frame.height, result.rejected, result.forming, result.excerpt) == (0, {}, 0, "")
    assert not result.untrustworthy


def test_rows_without_any_date_are_all_rejected() -> None:
    assert checked((None, *GOOD), (None, *GOOD)).rejected == {"bad_date": 2}


def test_of_two_rows_for_one_bar_the_last_in_the_body_wins() -> None:
    result = checked((DAY, *GOOD), (DAY, 20, 22, 18, 21, 5), (DAY, None, 1, 1, 1, 1))
    assert result.frame.rows() == [(DAY, 20, 22, 18, 21, 5)]
    assert result.rejected == {"missing_value": 1, "duplicate": 1}


def test_two_equal_rows_leave_one_and_nothing_to_show() -> None:
    result = checked((DAY, *GOOD), (DAY, *GOOD))
    assert (result.rejected, result.excerpt) == ({"duplicate": 1}, "")


def test_the_vendor_s_order_and_columns_do_not_matter() -> None:
    rows = days((DAY, *GOOD), (date(2026, 11, 19), *GOOD), (date(2026, 11, 18), *GOOD))
    result = check(rows.select(reversed(rows.columns)), Timeframe.DAY, xnys(), AT)
    assert result.frame.equals(rows.reverse())


@pytest.mark.parametrize(
    ("at", "kept"),
    [
        ("2026-11-24T05:00", False),  # before the open
        ("2026-11-24T12:00", False),
        ("2026-11-24T15:59", False),
        ("2026-11-24T16:00", True),
    ],
)
def test_today_s_row_is_left_out_silently_while_the_session_runs(at: str, kept: bool) -> None:
    result = checked((date(2026, 11, 24), *GOOD), at=new_york(at))
    assert (result.frame.height, result.forming) == ((1, 0) if kept else (0, 1))
    assert result.rejected == {}


@pytest.mark.parametrize(("at", "kept"), [("2026-11-27T12:59", 0), ("2026-11-27T13:00", 1)])
def test_a_half_day_s_row_is_kept_from_one_o_clock_on(at: str, kept: int) -> None:
    result = checked((date(2026, 11, 27), *GOOD), at=new_york(at))
    assert (result.frame.height, result.forming) == (kept, 1 - kept)


def test_an_evening_session_s_row_is_forming_and_not_of_the_future() -> None:
    row = days((date(2026, 11, 24), *GOOD))
    result = check(row, Timeframe.DAY, calendar("us_futures", AT), new_york("2026-11-23T20:00"))
    assert (result.forming, result.rejected) == (1, {})


def test_hours_outside_the_session_are_off_calendar() -> None:
    strange = [
        new_york("2026-11-27T13:00"),
        new_york("2026-11-25T16:00"),
        new_york("2026-11-25T10:00"),
    ]
    result = check(
        hours(new_york("2026-11-27T12:30"), *strange),
        Timeframe.HOUR,
        xnys(),
        utc("2026-11-30T00:00"),
    )
    assert result.rejected == {"off_calendar": 3}
    assert result.frame["ts"].to_list() == [new_york("2026-11-27T12:30")]


def test_the_running_hour_is_forming_and_a_later_one_of_the_future() -> None:
    rows = hours(*(new_york(f"2026-11-24T{hour}:30") for hour in ("09", "10", "11")))
    result = check(rows, Timeframe.HOUR, xnys(), new_york("2026-11-24T10:30"))
    assert (result.frame.height, result.forming, result.rejected) == (1, 1, {"future": 1})


def test_hours_of_both_sides_of_a_clock_change_stand_on_the_calendar() -> None:
    exchange = xnys()
    instants = exchange.hours_between(date(2026, 3, 2), date(2026, 3, 13))
    assert check(hours(*instants), Timeframe.HOUR, exchange, AT).frame.height == 70
    late = [ts + timedelta(hours=7) for ts in instants]
    assert check(hours(*late), Timeframe.HOUR, exchange, AT).frame.height == 0


def test_a_fifth_of_bad_rows_condemns_an_answer_but_a_few_never_do() -> None:
    sessions = xnys().between(date(2026, 1, 2), DAY)
    good = [(day, *GOOD) for day in sessions]
    bad = (DAY, -1.0, 11.0, 9.0, 10.0, 1.0)
    assert not checked(*[bad] * 5).untrustworthy
    assert checked(*[bad] * 6).untrustworthy
    assert not checked(*good[:24], *[bad] * 6).untrustworthy
    assert checked(*good[:23], *[bad] * 6).untrustworthy


def test_neither_duplicates_nor_a_coin_s_weekends_condemn_an_answer() -> None:
    week = [date(2026, 10, 1) + timedelta(days=n) for n in range(50)]
    result = checked(*[(day, *GOOD) for day in [*week, *week]])
    assert result.rejected["off_calendar"] > 0.2 * result.frame.height
    assert not result.untrustworthy


def test_hours_of_a_wrong_zone_condemn_an_answer() -> None:
    wrong = [ts - timedelta(hours=5) for ts in xnys().hours_between(date(2026, 11, 9), DAY)]
    result = check(hours(*wrong), Timeframe.HOUR, xnys(), AT)
    assert result.frame.height > 0
    assert result.untrustworthy


PRICE = st.one_of(
    st.none(),
    st.sampled_from([0.0, -1.0, nan, inf, 1e308, 5e-324]),
    st.floats(9, 11),
    st.sampled_from([9.0, 10.0, 11.0]),
)
DATES = st.one_of(
    st.none(), st.dates(), st.dates(date(2026, 11, 9), date(2026, 11, 29)), st.just(DAY)
)


@QUIET
@given(
    rows=st.lists(st.tuples(DATES, PRICE, PRICE, PRICE, PRICE, PRICE), max_size=12),
    at=st.datetimes(datetime(2026, 11, 8), datetime(2026, 12, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - the zone is the next argument
)
def test_whatever_comes_the_frame_holds_bars_and_no_row_is_lost(
    rows: list[Row], at: datetime
) -> None:
    exchange = xnys()
    result = checked(*rows, at=at)
    for _, opened, high, low, closed, volume in result.frame.iter_rows():
        assert all(map(isfinite, (opened, high, low, closed, volume)))
        assert 0 < low <= min(opened, closed) <= max(opened, closed) <= high
        assert volume >= 0
    kept = result.frame["date"].to_list()
    assert kept == sorted(set(kept))
    assert all(exchange.is_session(day) or day < exchange.dates[0] for day in kept)
    assert all(day < exchange.dates[0] or exchange.close_of(day) <= at for day in kept)
    assert len(rows) == len(kept) + result.rows_rejected + result.forming
    assert bool(result.excerpt) == bool(Counter(result.rejected) - Counter(duplicate=99))
    assert result.frame.columns == ["date", *VALUES]


def test_the_newest_closed_bar_is_named_by_its_midnight_hour_or_monday() -> None:
    exchange = xnys()
    assert newest_closed(Timeframe.DAY, exchange, AT) == utc("2026-11-23T00:00")
    assert newest_closed(Timeframe.WEEK, exchange, AT) == utc("2026-11-16T00:00")
    assert newest_closed(Timeframe.HOUR, exchange, AT) == new_york("2026-11-23T15:30")


def test_a_bar_closes_with_its_hour_session_or_week() -> None:
    exchange = xnys()
    friday = new_york("2026-11-27T13:00")
    assert bar_close(Timeframe.HOUR, exchange, new_york("2026-11-27T12:30")) == friday
    assert bar_close(Timeframe.DAY, exchange, bar_instant(date(2026, 11, 27))) == friday
    assert bar_close(Timeframe.WEEK, exchange, bar_instant(date(2026, 11, 23))) == friday
