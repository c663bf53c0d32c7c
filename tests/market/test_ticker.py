"""One pattern for tickers, whatever comes to the door."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.market.ticker import PATTERN, BadTicker, parse_ticker, parse_tickers
from tests.market.build import QUIET

HOSTILE = [
    "",
    " ",
    "AAPL'; DROP TABLE daily_prices; --",
    "A\r\nSET x 1",
    "AAPL\x00",
    "{a}b",
    "*",
    "A*",
    "../../etc/passwd",
    "%00",
    "A" * 21,
    "A" * 10_000,
    "\u202eLPAA",
    "\u0410APL",
    "ſ",
    "AAPL\u0301",
    "AA PL",
    "-A",
    ".A",
    "=X",
    "A_B",
    "A:B",
    "🚀",
    "１",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_a_hostile_ticker_is_refused_in_a_short_plain_message(text: str) -> None:
    with pytest.raises(BadTicker) as refusal:
        parse_ticker(text)
    message = str(refusal.value)
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 600


@pytest.mark.parametrize(
    "text", ["AAPL", "BRK-B", "^GSPC", "BTCUSD", "RR.L", "GC=F", "0700.HK", "A" * 20]
)
def test_the_tickers_of_the_contract_are_taken_as_they_are(text: str) -> None:
    assert parse_ticker(text) == text


def test_a_ticker_is_stripped_and_upper_cased() -> None:
    assert parse_ticker(" brk-b\n") == "BRK-B"


@QUIET
@given(st.text(max_size=30))
def test_what_is_taken_fits_the_pattern_and_stays_the_same(text: str) -> None:
    try:
        ticker = parse_ticker(text)
    except BadTicker:
        return
    assert PATTERN.fullmatch(ticker)
    assert parse_ticker(ticker) == ticker


def test_many_keep_the_order_of_their_first_mention() -> None:
    assert parse_tickers(["msft", "AAPL", "MSFT "]) == ["MSFT", "AAPL"]
