"""Made-up bars: plausible, the same whenever they are asked for, and of one piece."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.market.sessions import calendar
from collector.simulator.bars import Bars
from collector.simulator.history import GeneratedBars, is_known, listing
from collector.simulator.tickers import demo_tickers
from tests.simulator.wire import EVENING, NOON

HISTORY = GeneratedBars()
FIRST = date(1970, 1, 1)
TUESDAY = date(2025, 3, 4)
HALF_DAY = date(2024, 11, 29)
MINUTE = timedelta(minutes=1)
TICKERS = st.sampled_from(["AAPL", "MSFT", "BRK-B", "^GSPC", "RR.L", "BTCUSD", "SIMQX", "F"])


def same(left: Bars, right: Bars) -> bool:
    """Tell whether two histories hold the same bars."""
    return left.labels == right.labels and all(
        np.array_equal(getattr(left, name), getattr(right, name))
        for name in ("open", "high", "low", "close", "volume")
    )


def assert_plausible(bars: Bars) -> None:
    """Every bar is one: low ≤ open, close ≤ high, all above 0, volume not negative."""
    assert (bars.low <= np.minimum(bars.open, bars.close)).all()
    assert (bars.high >= np.maximum(bars.open, bars.close)).all()
    assert (bars.low > 0).all()
    assert (bars.volume >= 0).all()


@given(TICKERS)
@settings(max_examples=8, deadline=None)
def test_daily_bars_are_plausible_over_all_history(ticker: str) -> None:
    bars = HISTORY.daily(ticker, FIRST, TUESDAY, EVENING)
    assert_plausible(bars)
    prices = np.concatenate((bars.open, bars.high, bars.low, bars.close))
    assert (prices == np.round(prices, 4)).all()
    assert (bars.volume == np.rint(bars.volume)).all()
    assert np.abs(np.diff(np.log(bars.close))).max() < 0.15
    assert bars.close.max() < 20_000


def test_daily_bars_cover_every_session_since_the_listing() -> None:
    bars = HISTORY.daily("AAPL", FIRST, TUESDAY, EVENING)
    sessions = calendar("XNYS", EVENING).between(date(1980, 12, 12), TUESDAY)
    assert bars.labels == [day.isoformat() for day in sessions]


@given(TICKERS, st.integers(0, 3000), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_bar_is_the_same_in_every_window(ticker: str, back: int, days: int) -> None:
    last = TUESDAY - timedelta(days=back)
    first = last - timedelta(days=days)
    whole = HISTORY.daily(ticker, last - timedelta(days=400), TUESDAY, EVENING)
    part = HISTORY.daily(ticker, first, last, EVENING)
    at = whole.labels.index(part.labels[0]) if part.labels else 0
    assert same(part, whole.newest(len(whole) - at).oldest(len(part)))


def test_bars_are_the_same_years_later() -> None:
    later = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
    assert same(
        HISTORY.daily("MSFT", FIRST, TUESDAY, EVENING), HISTORY.daily("MSFT", FIRST, TUESDAY, later)
    )
    first = date(2025, 1, 2)
    assert same(
        HISTORY.hourly("MSFT", first, TUESDAY, EVENING),
        HISTORY.hourly("MSFT", first, TUESDAY, later),
    )


def test_values_are_those_of_the_first_release() -> None:
    bars = HISTORY.daily("AAPL", TUESDAY, TUESDAY, EVENING)
    assert (bars.open[0], bars.high[0], bars.low[0], bars.close[0]) == (21.77, 21.8, 21.42, 21.55)
    assert bars.volume[0] == 6_133_336


def test_tickers_differ() -> None:
    assert not np.array_equal(
        HISTORY.daily("AAPL", date(2025, 1, 2), TUESDAY, EVENING).close,
        HISTORY.daily("MSFT", date(2025, 1, 2), TUESDAY, EVENING).close,
    )


@given(TICKERS, st.integers(1990, 2024))
@settings(max_examples=15, deadline=None)
def test_hourly_bars_add_up_to_the_daily_ones(ticker: str, year: int) -> None:
    first, last = date(year, 10, 1), date(year, 12, 31)
    days = HISTORY.daily(ticker, first, last, EVENING)
    hours = HISTORY.hourly(ticker, first, last, EVENING)
    assert_plausible(hours)
    summed = [_session(hours, label) for label in days.labels]
    assert [
        bars.as_one(label).volume[0] for label, bars in zip(days.labels, summed, strict=True)
    ] == days.volume.tolist()
    for name in ("open", "high", "low", "close"):
        ones = [getattr(bars.as_one(""), name)[0] for bars in summed]
        assert ones == getattr(days, name).tolist()


def _session(hours: Bars, label: str) -> Bars:
    """The hourly bars of the session ``label``."""
    at = [index for index, stamp in enumerate(hours.labels) if stamp.startswith(label)]
    return hours.oldest(at[-1] + 1).newest(len(at))


def test_session_has_seven_hours_and_the_last_starts_at_half_past_three() -> None:
    labels = HISTORY.hourly("AAPL", TUESDAY, TUESDAY, EVENING).labels
    assert [label[11:] for label in labels] == [f"{hour:02d}:30:00" for hour in range(9, 16)]


def test_half_day_ends_at_one() -> None:
    labels = HISTORY.hourly("AAPL", HALF_DAY, HALF_DAY, EVENING).labels
    assert [label[11:] for label in labels] == ["09:30:00", "10:30:00", "11:30:00", "12:30:00"]


def test_hours_are_on_new_yorks_clock_on_both_sides_of_the_change() -> None:
    hours = HISTORY.hourly("AAPL", date(2024, 11, 1), date(2024, 11, 4), EVENING)
    assert {label[11:] for label in hours.labels[::7]} == {"09:30:00"}


def test_some_hourly_volumes_are_fractional_and_none_of_the_daily() -> None:
    hours = HISTORY.hourly("AAPL", date(2015, 1, 1), TUESDAY, EVENING)
    fractional = hours.volume != np.rint(hours.volume)
    assert 0 < fractional.mean() < 0.02


def test_running_session_shows_a_partial_bar() -> None:
    day = HISTORY.daily("AAPL", TUESDAY, TUESDAY, NOON)
    done = HISTORY.daily("AAPL", TUESDAY, TUESDAY, EVENING)
    assert day.labels == done.labels
    assert day.open[0] == done.open[0]
    assert 0 < day.volume[0] < done.volume[0]
    assert done.low[0] <= day.low[0] <= day.high[0] <= done.high[0]


def test_running_hour_is_the_last_and_partial() -> None:
    hours = HISTORY.hourly("AAPL", TUESDAY, TUESDAY, NOON)
    done = HISTORY.hourly("AAPL", TUESDAY, TUESDAY, EVENING)
    assert [label[11:] for label in hours.labels] == ["09:30:00", "10:30:00", "11:30:00"]
    assert same(hours.oldest(2), done.oldest(2))
    assert 0 < hours.volume[2] < done.volume[2]
    assert_plausible(hours)


def test_running_bars_agree_with_each_other_minute_by_minute() -> None:
    opens = datetime(2025, 3, 4, 14, 30, tzinfo=UTC)
    volumes = []
    for minute in range(1, 390, 13):
        at = opens + minute * MINUTE
        hours = HISTORY.hourly("AAPL", TUESDAY, TUESDAY, at)
        day = HISTORY.daily("AAPL", TUESDAY, TUESDAY, at)
        assert_plausible(hours)
        assert same(hours.as_one(TUESDAY.isoformat()), day)
        volumes.append(day.volume[0])
    assert all(early <= late for early, late in pairwise(volumes))


@pytest.mark.parametrize("seconds", [-1, 0, 59])
def test_session_without_a_whole_minute_shows_no_bar(seconds: int) -> None:
    at = datetime(2025, 3, 4, 14, 30, tzinfo=UTC) + timedelta(seconds=seconds)
    assert not HISTORY.daily("AAPL", TUESDAY, TUESDAY, at).labels
    assert not HISTORY.hourly("AAPL", TUESDAY, TUESDAY, at).labels


def test_closed_session_is_complete_at_its_close() -> None:
    closes = datetime(2025, 3, 4, 21, 0, tzinfo=UTC)
    assert same(
        HISTORY.daily("AAPL", TUESDAY, TUESDAY, closes),
        HISTORY.daily("AAPL", TUESDAY, TUESDAY, EVENING),
    )
    before = HISTORY.hourly("AAPL", TUESDAY, TUESDAY, closes - MINUTE)
    assert before.volume.sum() < HISTORY.hourly("AAPL", TUESDAY, TUESDAY, closes).volume.sum()


def test_edition_moves_with_the_minute_while_a_session_runs_only() -> None:
    assert HISTORY.edition(NOON) == HISTORY.edition(NOON + timedelta(seconds=39))
    assert HISTORY.edition(NOON) != HISTORY.edition(NOON + timedelta(seconds=40))
    assert HISTORY.edition(EVENING) == HISTORY.edition(EVENING + timedelta(hours=5))


@given(TICKERS, st.integers(0, 26 * 60))
@settings(max_examples=30, deadline=None)
def test_same_edition_means_same_bars(ticker: str, minutes: int) -> None:
    at = datetime(2025, 3, 4, 13, 0, tzinfo=UTC) + timedelta(minutes=minutes)
    later = at + timedelta(seconds=30)
    window = (date(2025, 3, 1), date(2025, 3, 6))
    assert HISTORY.edition(at) == HISTORY.edition(later)
    assert same(HISTORY.daily(ticker, *window, at), HISTORY.daily(ticker, *window, later))
    assert same(HISTORY.hourly(ticker, *window, at), HISTORY.hourly(ticker, *window, later))


@pytest.mark.parametrize("symbol", ["ZZZZ9", "ZZZZ", "AAPL,MSFT", "aapl", "", "BRK.B", "A" * 21])
def test_unknown_symbol_has_nothing(symbol: str) -> None:
    assert not is_known(symbol)
    assert not HISTORY.daily(symbol, FIRST, TUESDAY, EVENING).labels
    assert not HISTORY.hourly(symbol, FIRST, TUESDAY, EVENING).labels
    assert HISTORY.splits(symbol, EVENING) == []


def test_most_tickers_are_listed_before_2005_and_some_lately() -> None:
    listings = [listing(f"T{number}") for number in range(2000)]
    early = sum(day.year < 2005 for day in listings) / len(listings)
    assert 0.82 < early < 0.9
    assert any(day.year >= 2024 for day in listings)
    assert max(listing(ticker) for ticker in demo_tickers()).year < 2006


def test_fresh_listing_has_a_short_history() -> None:
    young = next(f"T{number}" for number in range(5000) if listing(f"T{number}").year == 2024)
    bars = HISTORY.daily(young, FIRST, TUESDAY, EVENING)
    assert 0 < len(bars) < 320
    assert not HISTORY.daily(young, FIRST, TUESDAY, datetime(2023, 1, 3, tzinfo=UTC)).labels


def test_splits_of_apple_are_the_real_ones_known_at_the_clock() -> None:
    assert [split.numerator for split in HISTORY.splits("AAPL", EVENING)] == [4, 7, 2, 2, 2]
    assert len(HISTORY.splits("AAPL", datetime(2020, 8, 30, tzinfo=UTC))) == 4
    assert len(HISTORY.splits("AAPL", datetime(2020, 8, 31, 12, tzinfo=UTC))) == 5


def test_few_other_tickers_have_a_split_and_on_a_weekday_of_their_history() -> None:
    splits = {f"T{n}": HISTORY.splits(f"T{n}", EVENING) for n in range(600)}
    having = {ticker: found for ticker, found in splits.items() if found}
    assert 0.08 < len(having) / len(splits) < 0.25
    for ticker, (split, *_) in having.items():
        assert split.day.weekday() < 5
        assert split.day > listing(ticker)


def test_demo_covers_fifty_tickers() -> None:
    tickers = demo_tickers()
    assert len(set(tickers)) == 50
    assert {"AAPL", "MSFT"} < set(tickers)
    assert all(is_known(ticker) for ticker in tickers)
