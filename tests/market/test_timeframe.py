"""What the outside calls the timeframes."""

from __future__ import annotations

import pytest

from collector.market.timeframe import Timeframe


@pytest.mark.parametrize(
    ("text", "adjective", "instant"),
    [("1h", "hourly", "ts"), ("1d", "daily", "date"), ("1wk", "weekly", "date")],
)
def test_a_timeframe_has_the_names_of_the_contract(text: str, adjective: str, instant: str) -> None:
    timeframe = Timeframe(text)
    assert (timeframe.adjective, timeframe.instant) == (adjective, instant)


def test_weeks_are_fetched_as_days_and_days_bring_their_weeks() -> None:
    assert Timeframe.WEEK.fetched_as is Timeframe.DAY
    assert Timeframe.HOUR.fetched_as is Timeframe.HOUR
    assert Timeframe.DAY.published == (Timeframe.DAY, Timeframe.WEEK)
    assert Timeframe.HOUR.published == (Timeframe.HOUR,)
