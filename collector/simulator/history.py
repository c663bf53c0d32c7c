"""Where the simulator's bars come from: made up, or replayed from a file.

Both answer what a vendor would have known at an instant: nothing later is in it.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from collector.market.sessions import calendar
from collector.market.ticker import PATTERN
from collector.simulator import series
from collector.simulator.bars import Bars, Floats, Split, no_bars
from collector.simulator.chance import share
from collector.simulator.splits import splits_of
from collector.simulator.tickers import COMPANIES, listed_companies
from collector.simulator.timetable import Timetable, timetable

UNKNOWN_PREFIX = "ZZZZ"
CLASS_SUFFIXES = (".A", ".B")  # FMP writes BRK-B and does not know BRK.B (FMP.md, section 7)
MINUTE = timedelta(minutes=1)
COLUMNS = ("open", "high", "low", "close", "volume")
FIRST_LISTING = date(1980, 1, 2)
OLD_SHARE, OLD_YEARS, YOUNG_YEARS = 0.86, 25, 21
KNOWN_LISTINGS = {"AAPL": date(1980, 12, 12), "MSFT": date(1986, 3, 13)}


class History(Protocol):
    """Bars and splits as they are known at an instant ``at`` (aware)."""

    def daily(self, symbol: str, first: date, last: date, at: datetime) -> Bars:
        """Daily bars dated from ``first`` to ``last``, both included; none for the unknown."""
        ...

    def hourly(self, symbol: str, first: date, last: date, at: datetime) -> Bars:
        """Hourly bars of the sessions from ``first`` to ``last``, both included."""
        ...

    def splits(self, symbol: str, at: datetime) -> list[Split]:
        """The splits in force, newest first."""
        ...

    def companies(self) -> list[tuple[str, str]]:
        """Symbol and name of every listed company."""
        ...

    def today(self, at: datetime) -> date:
        """The date on the exchange's clock."""
        ...

    def edition(self, at: datetime) -> Hashable:
        """What was known: two instants of the same edition have the same answers."""
        ...


@dataclass(frozen=True)
class GeneratedBars:
    """Made-up bars for any ticker on the sessions of ``exchange``, from the ticker's listing up to
    the clock.

    The series is split-adjusted already. Unknown are names that begin with ``ZZZZ``, and class
    shares with a dot. While a session runs, its bar so far is served, and the hour so far: they
    move once a minute.
    """

    exchange: str = "XNYS"

    def daily(self, symbol: str, first: date, last: date, at: datetime) -> Bars:
        """See `History.daily`."""
        if not is_known(symbol):
            return no_bars()
        table = self._table(at)
        start, closed = max(first, listing(symbol)), table.calendar.last_closed(at)
        bars = series.daily(symbol, table.between(start, min(last, closed)))
        forming = table.running(at)
        if forming is None or not start <= forming <= last:
            return bars
        return bars.then(_so_far(symbol, forming, table, at).as_one(forming.isoformat()))

    def hourly(self, symbol: str, first: date, last: date, at: datetime) -> Bars:
        """See `History.hourly`."""
        if not is_known(symbol):
            return no_bars()
        table = self._table(at)
        start, closed = max(first, listing(symbol)), table.calendar.last_closed(at)
        bars = series.hourly(symbol, table.between(start, min(last, closed)))
        forming = table.running(at)
        if forming is None or not start <= forming <= last:
            return bars
        return bars.then(_so_far(symbol, forming, table, at))

    def splits(self, symbol: str, at: datetime) -> list[Split]:
        """See `History.splits`."""
        return splits_of(symbol, listing(symbol), self.today(at)) if is_known(symbol) else []

    def companies(self) -> list[tuple[str, str]]:
        """See `History.companies`: the demo tickers and some made-up ones."""
        return listed_companies()

    def today(self, at: datetime) -> date:
        """See `History.today`."""
        return at.astimezone(self._table(at).calendar.zone).date()

    def edition(self, at: datetime) -> Hashable:
        """See `History.edition`: the date, the last closed session, the minute of a running one."""
        table = self._table(at)
        minute = at.replace(second=0, microsecond=0) if table.running(at) else None
        return self.today(at), table.calendar.last_closed(at), minute

    def _table(self, at: datetime) -> Timetable:
        return timetable(calendar(self.exchange, at))


class ReplayedBars:
    """The daily bars of a parquet file, nulls and all, of the sessions that have closed.

    The file has the columns ``symbol, date, open, high, low, close, volume``. There are no hourly
    bars in it and no splits. Raises what polars raises where the file cannot be read or lacks a
    column.
    """

    def __init__(self, path: Path, exchange: str = "XNYS") -> None:
        self._exchange = exchange
        rows = pl.read_parquet(path, columns=["symbol", "date", *COLUMNS]).sort(
            "date", maintain_order=True
        )
        parts = rows.with_columns(pl.col(COLUMNS).cast(pl.Float64)).partition_by(
            "symbol", as_dict=True
        )
        self._frames = {str(symbol): frame for (symbol,), frame in sorted(parts.items())}

    def daily(self, symbol: str, first: date, last: date, at: datetime) -> Bars:
        """See `History.daily`."""
        frame = self._frames.get(symbol)
        if frame is None:
            return no_bars()
        closed = calendar(self._exchange, at).last_closed(at)
        part = frame.filter(pl.col("date").is_between(first, min(last, closed)))
        return Bars(
            part["date"].cast(pl.String).to_list(), *(_values(part, name) for name in COLUMNS)
        )

    def hourly(self, symbol: str, first: date, last: date, at: datetime) -> Bars:  # noqa: ARG002 — the protocol's
        """None: the file holds daily bars."""
        return no_bars()

    def splits(self, symbol: str, at: datetime) -> list[Split]:  # noqa: ARG002 — the protocol's
        """None: the file does not name them."""
        return []

    def companies(self) -> list[tuple[str, str]]:
        """See `History.companies`: the symbols of the file."""
        return [(symbol, COMPANIES.get(symbol, symbol)) for symbol in self._frames]

    def today(self, at: datetime) -> date:
        """See `History.today`."""
        return at.astimezone(calendar(self._exchange, at).zone).date()

    def edition(self, at: datetime) -> Hashable:
        """See `History.edition`: the date and the last closed session."""
        return self.today(at), calendar(self._exchange, at).last_closed(at)


def is_known(symbol: str) -> bool:
    """Whether the made-up market lists ``symbol``."""
    foreign = symbol.startswith(UNKNOWN_PREFIX) or symbol.endswith(CLASS_SUFFIXES)
    return not foreign and PATTERN.fullmatch(symbol) is not None


def listing(symbol: str) -> date:
    """The first day of ``symbol``: 1980 to 2004, for one in seven later (no demo ticker)."""
    chance = share(symbol, "listing")
    old = OLD_YEARS * chance / OLD_SHARE
    young = OLD_YEARS + YOUNG_YEARS * (chance - OLD_SHARE) / (1 - OLD_SHARE)
    years = OLD_YEARS * chance if symbol in COMPANIES else old if chance < OLD_SHARE else young
    return KNOWN_LISTINGS.get(symbol) or FIRST_LISTING + timedelta(days=int(365.25 * years))


def _so_far(symbol: str, day: date, table: Timetable, at: datetime) -> Bars:
    """The hours of the running session ``day``: those that have closed, and the forming one."""
    bars = series.hourly(symbol, table.between(day, day))
    starts = table.calendar.hours_of(day)
    hour = sum(start <= at - MINUTE for start in starts) - 1
    ends = table.calendar.hour_close(starts[hour])
    part = ((at - starts[hour]) // MINUTE) / ((ends - starts[hour]) / MINUTE)
    return bars.oldest(hour).then(_forming(bars.oldest(hour + 1).newest(1), min(part, 1.0)))


def _forming(bar: Bars, part: float) -> Bars:
    """One bar when ``part`` of its time, from 0 to 1, has passed."""
    closes = np.clip(np.round(bar.open + (bar.close - bar.open) * part, 2), bar.low, bar.high)
    top, bottom = np.maximum(bar.open, closes), np.minimum(bar.open, closes)
    highs = np.clip(np.round(top + (bar.high - top) * part, 2), top, bar.high)
    lows = np.clip(np.round(bottom - (bottom - bar.low) * part, 2), bar.low, bottom)
    return Bars(bar.labels, bar.open, highs, lows, closes, np.floor(bar.volume * part))


def _values(frame: pl.DataFrame, column: str) -> Floats:
    return frame[column].fill_null(float("nan")).to_numpy()
