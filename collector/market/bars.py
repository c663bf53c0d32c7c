"""The bar frame: one declared schema, and what keeps a row out of it.

A *bar frame* is a `polars.DataFrame` with the columns of `schema`, one row a bar, oldest first,
no bar twice. Prices are in the instrument's currency, volume in units traded.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from collector.market.grid import Mask, Numbers, number, on_calendar
from collector.market.sessions import Calendar
from collector.market.timeframe import Timeframe

PRICES = ("open", "high", "low", "close")
VALUES = (*PRICES, "volume")
TOO_MANY_BAD = 0.2  # of an answer's rows: then the answer itself is not to be trusted
FEW_BAD = 5  # up to so many bad rows never condemn an answer: an incremental one holds six

REASONS = (
    "bad_date",
    "missing_value",
    "not_finite",
    "price_not_positive",
    "outside_low_high",
    "negative_volume",
    "future",
    "off_calendar",
    "forming",
)
FORMING = len(REASONS) - 1
GOOD = len(REASONS)
NO_DATE = -(2**63)  # as a number: numpy's own for a null


def schema(timeframe: Timeframe) -> dict[str, pl.DataType]:
    """The columns of a bar frame: the instant's column, then open, high, low, close, volume."""
    instant = pl.Datetime("us", "UTC") if timeframe is Timeframe.HOUR else pl.Date()
    return {timeframe.instant: instant} | {name: pl.Float64() for name in VALUES}


def empty(timeframe: Timeframe) -> pl.DataFrame:
    """A bar frame without rows."""
    return pl.DataFrame(schema=schema(timeframe))


@dataclass(frozen=True)
class Checked:
    """An answer's rows, sorted out: the good ones as a bar frame, the rest counted by reason."""

    frame: pl.DataFrame
    rejected: dict[str, int]
    forming: int
    excerpt: str
    """The first bad row and its reason, for the run's record; empty where none is bad."""

    @property
    def rows_rejected(self) -> int:
        """How many rows were rejected, duplicates included."""
        return sum(self.rejected.values())

    @property
    def untrustworthy(self) -> bool:
        """Whether so many rows are bad that none of the answer should be believed.

        Duplicates are no sign of it. Nor are good daily rows on strange days: they say that the
        ticker trades elsewhere (a coin trades on Sundays). Hourly rows at strange times do count:
        they are what a wrong time zone looks like, and some of them would fall on the grid.
        """
        harmless = {"duplicate"} if "ts" in self.frame.columns else {"duplicate", "off_calendar"}
        bad = sum(count for reason, count in self.rejected.items() if reason not in harmless)
        return bad > FEW_BAD and bad > TOO_MANY_BAD * (bad + self.frame.height)


def check(raw: pl.DataFrame, timeframe: Timeframe, calendar: Calendar, at: datetime) -> Checked:
    """Sort out the rows of ``raw``, which has the columns of `schema` in any order, nulls allowed.

    ``timeframe`` is `1h` or `1d`. Reasons, of which a row has the first that fits: ``bad_date``,
    ``missing_value``, ``not_finite``, ``price_not_positive``, ``outside_low_high``,
    ``negative_volume``, ``future``, ``off_calendar``; and ``duplicate``, because of several good
    rows for one bar the last in the body wins. Bars still forming at ``at`` are left out and not
    counted as rejected.
    """
    rows = raw[[timeframe.instant, *VALUES]]
    instants = _numbers(rows.get_column(timeframe.instant))
    reasons = _reasons(rows, instants, _bounds(timeframe, calendar, at))
    good = np.flatnonzero(reasons == GOOD)
    latest = _last_of_each(instants[good])
    rejected = _counts(reasons, good.size - latest.size)
    return Checked(
        rows[good[latest]],
        rejected,
        int(np.count_nonzero(reasons == FORMING)),
        _excerpt(rows, reasons) if rejected else "",
    )


@dataclass(frozen=True)
class _Bounds:
    """What a bar's instant is measured by: the newest bar that may have begun, and has closed."""

    timeframe: Timeframe
    calendar: Calendar
    begun: int
    closed: int


@lru_cache(maxsize=64)  # the same for all tickers of a run
def _bounds(timeframe: Timeframe, calendar: Calendar, at: datetime) -> _Bounds:
    newest = newest_closed(timeframe, calendar, at)
    if timeframe is Timeframe.HOUR:
        return _Bounds(timeframe, calendar, number(at), number(newest))
    today = max(at.astimezone(calendar.zone).date(), calendar.last_opened(at))
    return _Bounds(timeframe, calendar, number(today), number(newest.date()))


def _numbers(instants: pl.Series) -> Numbers:
    return instants.to_numpy().astype(np.int64)


def _reasons(rows: pl.DataFrame, instants: Numbers, bounds: _Bounds) -> NDArray[np.int8]:
    """Every row's reason as its place in `REASONS`; `GOOD` where there is none."""
    values = np.column_stack([rows.get_column(name).to_numpy() for name in VALUES])
    prices, low, high = values[:, :4], values[:, 2], values[:, 1]
    found = {
        "bad_date": instants == NO_DATE,
        "missing_value": _missing(rows),
        "not_finite": ~np.isfinite(values).all(axis=1),
        "price_not_positive": (prices <= 0).any(axis=1),
        "outside_low_high": (low > prices.min(axis=1)) | (high < prices.max(axis=1)),
        "negative_volume": values[:, 4] < 0,
        "future": instants > bounds.begun,
        "off_calendar": ~on_calendar(instants, bounds.timeframe, bounds.calendar),
        "forming": instants > bounds.closed,
    }
    reasons = np.full(len(instants), GOOD, dtype=np.int8)
    for place in reversed(range(len(REASONS))):
        reasons[found[REASONS[place]]] = place
    return reasons


def _missing(rows: pl.DataFrame) -> Mask:
    missing = np.zeros(rows.height, dtype=np.bool_)
    for column in map(rows.get_column, VALUES):
        if column.null_count():
            missing |= column.is_null().to_numpy()
    return missing


def _last_of_each(instants: Numbers) -> Numbers:
    """Where the bars are, oldest first, and of several with one instant the last."""
    order = np.argsort(instants, kind="stable")
    ordered = instants[order]
    last = np.ones(len(order), dtype=np.bool_)
    last[:-1] = ordered[1:] != ordered[:-1]
    picked: Numbers = order[last]
    return picked


def _counts(reasons: NDArray[np.int8], duplicates: int) -> dict[str, int]:
    counts = np.bincount(reasons, minlength=GOOD + 1).tolist()
    rejected = {REASONS[n]: count for n, count in enumerate(counts[:FORMING]) if count}
    return rejected | ({"duplicate": duplicates} if duplicates else {})


def _excerpt(rows: pl.DataFrame, reasons: NDArray[np.int8]) -> str:
    bad = np.flatnonzero(reasons < FORMING)
    if not bad.size:
        return ""
    values = rows.row(int(bad[0]), named=True)
    fields = " ".join(f"{name}={value}" for name, value in values.items())
    return f"{REASONS[reasons[bad[0]]]}: {fields}"


def newest_closed(timeframe: Timeframe, calendar: Calendar, at: datetime) -> datetime:
    """The newest bar that has closed by ``at``, as `bar_instant` names it."""
    if timeframe is Timeframe.HOUR:
        return calendar.last_closed_hour(at)
    session = calendar.last_closed(at)
    return bar_instant(session if timeframe is Timeframe.DAY else calendar.last_closed_week(at))


def bar_close(timeframe: Timeframe, calendar: Calendar, instant: datetime) -> datetime:
    """When the bar named by ``instant`` closes."""
    if timeframe is Timeframe.HOUR:
        return calendar.hour_close(instant)
    if timeframe is Timeframe.DAY:
        return calendar.close_of(instant.date())
    return calendar.close_of(calendar.shift(instant.date() + timedelta(days=6), 0))


def bar_instant(day: date) -> datetime:
    """A daily or weekly bar is named, where instants are compared, by midnight UTC of its date."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
