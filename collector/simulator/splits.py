"""The splits of the made-up market: real ones for a few tickers, chance for the others."""

from __future__ import annotations

from datetime import date, timedelta
from math import prod

from collector.simulator.bars import Split
from collector.simulator.chance import key, share

# As FMP lists them (recorded body fix_splits_AAPL), and as the companies announced them.
KNOWN_SPLITS = {
    "AAPL": [
        Split(date(2020, 8, 31), 4, 1),
        Split(date(2014, 6, 9), 7, 1),
        Split(date(2005, 2, 28), 2, 1),
        Split(date(2000, 6, 21), 2, 1),
        Split(date(1987, 6, 16), 2, 1),
    ],
    "AMZN": [Split(date(2022, 6, 6), 20, 1)],
    "GOOGL": [Split(date(2022, 7, 18), 20, 1)],
    "MSFT": [Split(date(2003, 2, 18), 2, 1)],
    "NVDA": [Split(date(2024, 6, 10), 10, 1), Split(date(2021, 7, 20), 4, 1)],
    "TSLA": [Split(date(2022, 8, 25), 3, 1), Split(date(2020, 8, 31), 5, 1)],
}
RATIOS = [(2, 1), (3, 1), (3, 2), (4, 1), (1, 10), (5, 4)]
ONE_IN = 6
SPAN = timedelta(days=12 * 365)  # a made-up split falls within so long after the listing


def splits_of(symbol: str, listed: date, today: date) -> list[Split]:
    """The splits of ``symbol`` up to ``today``, newest first; ``listed`` is its first day."""
    known = KNOWN_SPLITS.get(symbol)
    splits = _made_up(symbol, listed) if known is None else known
    return [split for split in splits if split.day <= today]


def factor(splits: list[Split], label: str) -> float:
    """How many of today's shares one share of the day ``label`` (ISO) has become."""
    return prod(
        split.numerator / split.denominator for split in splits if label < split.day.isoformat()
    )


def _made_up(symbol: str, listed: date) -> list[Split]:
    if key(symbol, "splits") % ONE_IN:
        return []
    day = listed + timedelta(days=30) + SPAN * share(symbol, "split day")
    weekday = day - timedelta(days=max(0, day.weekday() - 4))
    return [Split(weekday, *RATIOS[key(symbol, "ratio") % len(RATIOS)])]
