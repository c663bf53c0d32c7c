"""Keys: made, and taken apart again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.cache.keys import PriceKey, parse_price_key, price_key, probe_key, run_key
from collector.market.ticker import PATTERN
from collector.market.timeframe import Timeframe


def test_keys_are_those_of_the_contract() -> None:
    assert price_key("scanner:", "AAPL", Timeframe.DAY, 500) == "scanner:price:AAPL:1d:500"
    assert run_key("scanner:", Timeframe.WEEK) == "scanner:run:1wk"


@given(
    ticker=st.from_regex(PATTERN, fullmatch=True),
    timeframe=st.sampled_from(Timeframe),
    lookback=st.integers(1, 5000),
    prefix=st.sampled_from(["scanner:", "a.b:", "price:"]),
)
def test_a_price_key_is_taken_apart_into_what_made_it(
    ticker: str, timeframe: Timeframe, lookback: int, prefix: str
) -> None:
    key = price_key(prefix, ticker, timeframe, lookback)
    assert parse_price_key(prefix, key) == PriceKey(ticker, timeframe, lookback)
    assert parse_price_key(prefix, key.encode()) == PriceKey(ticker, timeframe, lookback)
    assert parse_price_key("other:", key) is None


@pytest.mark.parametrize(
    "key",
    [
        run_key("scanner:", Timeframe.DAY),
        probe_key("scanner:"),
        "scanner:price:aapl:1d:500",
        "scanner:price:AAPL:1m:500",
        "scanner:price:AAPL:1d:0",
        "scanner:price:AAPL:1d:500:x",
        b"scanner:price:\xff:1d:500",
        "",
    ],
)
def test_any_other_key_is_none(key: str | bytes) -> None:
    assert parse_price_key("scanner:", key) is None
