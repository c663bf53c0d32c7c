"""Which path and parameters ask for a window of bars, and where FMP caps the answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote, urlencode

from collector.market.plan import Window
from collector.market.timeframe import Timeframe

EOD = "historical-price-eod/full"
HOURLY = "historical-chart/1hour"

EOD_ROWS = 5_000
"""Rows of an end-of-day answer at most; the oldest are dropped silently (FMP.md section 3)."""

HOURLY_LOOKBACK = timedelta(days=90)
"""How far back from ``to`` an hourly answer reaches, whatever ``from`` says (FMP.md section 4)."""

PLAN_HISTORY = timedelta(days=1_820)
"""Five years less some days: the history of the free and the Starter plan (FMP.md section 9).

FMP counts its five years from today, we from the last session, which is some days older.
"""


@dataclass(frozen=True)
class Request:
    """A call: a path below the base URL, and its query parameters. It never holds the key."""

    path: str
    params: tuple[tuple[str, str], ...] = ()

    @property
    def target(self) -> str:
        """Path and query; a raw ``^`` would be answered by 402 (FMP.md section 1)."""
        return f"{self.path}?{urlencode(self.params, quote_via=quote)}"


def bars_path(timeframe: Timeframe) -> str:
    """The endpoint that serves the bars of ``timeframe``; weekly ones are derived from daily."""
    return HOURLY if timeframe is Timeframe.HOUR else EOD


def bars(ticker: str, timeframe: Timeframe, window: Window, *, open_start: bool = False) -> Request:
    """Ask for the bars of ``window``: FMP's ``from`` and ``to`` are dates, both included.

    With ``open_start`` the ``from`` is left out, and FMP begins where the plan allows.
    Raises `ValueError` for an empty window: FMP would answer it with the day of ``to``.
    """
    if window.start >= window.end:
        raise ValueError(f"empty window: {window.start} to {window.end}")
    first = () if open_start else (("from", window.start.isoformat()),)
    last = (window.end - timedelta(days=1)).isoformat()
    return Request(bars_path(timeframe), (("symbol", ticker), *first, ("to", last)))
