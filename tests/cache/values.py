"""Values to publish: distinct, so that a mixed answer shows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from time import monotonic
from typing import Any

from redis.asyncio import Redis

from collector.cache.breaker import Breaker
from collector.cache.codec import Value
from collector.cache.publish import Publisher
from collector.market.timeframe import Timeframe

PREFIX = "scanner:"
TTL_S = {Timeframe.HOUR: 300, Timeframe.DAY: 3600, Timeframe.WEEK: 7200}
PUBLISHED_AT = datetime(2026, 11, 24, 11, 0, 4, tzinfo=UTC)
FRESH_UNTIL = datetime(2026, 11, 25, 11, 30, tzinfo=UTC)
LAST = date(2026, 11, 23)


def columns_of(timeframe: Timeframe, rows: int, seed: int = 0) -> dict[str, Any]:
    """Return the columns of ``rows`` bars as the database gives them."""
    step = range(rows - 1, -1, -1)
    opening = datetime(2026, 11, 23, 20, 30, tzinfo=UTC)
    instants: list[Any] = [LAST - timedelta(days=day) for day in step]
    if timeframe is Timeframe.HOUR:
        instants = [opening - timedelta(hours=hour) for hour in step]
    prices = [round(100 + seed + bar / 100, 2) for bar in range(rows)]
    return {
        timeframe.instant: instants,
        "open": prices,
        "high": [price + 1 for price in prices],
        "low": [price - 1 for price in prices],
        "close": list(prices),
        "volume": [float(1_000_000 + bar) for bar in range(rows)],
    }


def value_of(
    ticker: str = "AAPL",
    timeframe: Timeframe = Timeframe.DAY,
    rows: int = 3,
    *,
    rev: int = 1042,
    run: str | None = "r-1",
    lookback: int = 500,
) -> Value:
    """Return a value whose prices tell its ticker."""
    columns = columns_of(timeframe, rows, seed=sum(map(ord, ticker)))
    last = columns[timeframe.instant][-1]
    return Value(ticker, timeframe, lookback, rev, run, PUBLISHED_AT, last, FRESH_UNTIL, columns)


def values_of(count: int, rows: int = 3, timeframe: Timeframe = Timeframe.DAY) -> list[Value]:
    """Return the values of ``count`` tickers."""
    return [value_of(f"T{number}", timeframe, rows, rev=number) for number in range(count)]


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def publisher_at(client: Redis | None, **options: Any) -> Publisher:  # noqa: ANN401
    """Return a publisher; ``options`` are arguments of `Publisher`."""
    given: dict[str, Any] = {
        "client": client,
        "prefix": PREFIX,
        "lookback": 500,
        "ttl_s": TTL_S,
        "enabled": True,
        "breaker": Breaker(),
        "clock": monotonic,
    }
    return Publisher(**given | options)
