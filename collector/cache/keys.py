"""The keys in Redis (contract, section 5). Pure; they hold nothing but what a door has checked.

No ticker, timeframe or lookback holds a colon, so a key can be taken apart again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from collector.market.ticker import PATTERN
from collector.market.timeframe import Timeframe

_TAIL = re.compile(rf"price:({PATTERN.pattern}):(1h|1d|1wk):([1-9][0-9]{{0,5}})")


@dataclass(frozen=True, slots=True)
class PriceKey:
    """What a price key names."""

    ticker: str
    timeframe: Timeframe
    lookback: int


def price_key(prefix: str, ticker: str, timeframe: Timeframe, lookback: int) -> str:
    """Return the key of a ticker's bars, such as ``scanner:price:AAPL:1d:500``."""
    return f"{prefix}price:{ticker}:{timeframe.value}:{lookback}"


def run_key(prefix: str, timeframe: Timeframe) -> str:
    """Return the key of the last finished run, such as ``scanner:run:1d``."""
    return f"{prefix}run:{timeframe.value}"


def probe_key(prefix: str) -> str:
    """Return a key under the prefix that never exists: permissions are tried on it."""
    return f"{prefix}probe"


def parse_price_key(prefix: str, key: bytes | str) -> PriceKey | None:
    """Take a price key apart; None for any other key."""
    text = key.decode("ascii", "replace") if isinstance(key, bytes) else key
    if not text.startswith(prefix):
        return None
    found = _TAIL.fullmatch(text, len(prefix))
    return PriceKey(found[1], Timeframe(found[2]), int(found[3])) if found else None
