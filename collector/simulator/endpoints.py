"""The endpoints below ``/stable/``: a table from path to body, open for more.

Ranges, caps, fields and their order are those of FMP.md, sections 3, 4 and 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from collector.simulator.bars import Bars, Floats
from collector.simulator.call import Call
from collector.simulator.history import History
from collector.simulator.layout import objects_body, quoted, rows_body
from collector.simulator.numerals import print_numbers
from collector.simulator.plan import HOURLY, years_before
from collector.simulator.splits import factor

EOD_ROWS = 5000  # a longer answer loses its oldest rows without a word
EOD_YEARS = 5  # without ``from``
HOURLY_DAYS = 90  # an answer of hourly bars looks back so far from ``to``
SPLIT_ROWS = 1000
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Endpoint:
    """``body`` makes the bytes of an answer; ``required`` are parameters."""

    body: Callable[[Call, History, datetime], bytes]
    required: Sequence[str] = ()


def eod_full(call: Call, history: History, at: datetime) -> bytes:
    """``historical-price-eod/full``: split-adjusted bars with three derived fields."""
    bars = eod_bars(call, history, at)
    change = bars.close - bars.open
    cells = {
        "open": bars.open,
        "high": bars.high,
        "low": bars.low,
        "close": bars.close,
        "volume": bars.volume,
        "change": np.round(change, 5),
        "changePercent": _percent(change, bars.open),
        "vwap": np.round((bars.open + bars.high + bars.low + bars.close) / 4, 6),
    }
    return eod_body(call, bars, cells)


def eod_light(call: Call, history: History, at: datetime) -> bytes:
    """``historical-price-eod/light``: the close and the volume of ``full``."""
    bars = eod_bars(call, history, at)
    return eod_body(call, bars, {"price": bars.close, "volume": bars.volume})


def eod_dividend_adjusted(call: Call, history: History, at: datetime) -> bytes:
    """``historical-price-eod/dividend-adjusted``: as ``full``: nobody pays dividends here."""
    return _adjusted_body(call, eod_bars(call, history, at), np.ones(1))


def eod_raw(call: Call, history: History, at: datetime) -> bytes:
    """``historical-price-eod/non-split-adjusted``: as traded, whatever ``adjOpen`` says."""
    bars = eod_bars(call, history, at)
    splits = history.splits(call.symbol, at)
    return _adjusted_body(call, bars, np.array([factor(splits, label) for label in bars.labels]))


def chart_hourly(call: Call, history: History, at: datetime) -> bytes:
    """``historical-chart/1hour``: low before high, the opening on the exchange's clock."""
    first, last = hourly_range(call.day("from"), call.day("to"), history.today(at))
    bars = history.hourly(call.symbol, first, last, at)
    cells = {
        "open": bars.open,
        "low": bars.low,
        "high": bars.high,
        "close": bars.close,
        "volume": bars.volume,
    }
    return rows_body({"date": _labels(bars), **_printed(cells)})


def splits(call: Call, history: History, at: datetime) -> bytes:
    """``splits``: newest first; ``from`` and ``to`` are ignored."""
    limit = call.number("limit")
    rows = history.splits(call.symbol, at)[
        : SPLIT_ROWS if limit is None else min(limit, SPLIT_ROWS)
    ]
    return objects_body(
        [
            {
                "symbol": call.symbol,
                "date": split.day.isoformat(),
                "numerator": split.numerator,
                "denominator": split.denominator,
                "splitType": "stock-split",
            }
            for split in rows
        ]
    )


def stock_list(call: Call, history: History, at: datetime) -> bytes:  # noqa: ARG001 — one shape for all endpoints
    """``stock-list``: everything in one answer."""
    return objects_body(
        [{"symbol": symbol, "companyName": name} for symbol, name in history.companies()]
    )


ENDPOINTS: dict[str, Endpoint] = {
    "historical-price-eod/full": Endpoint(eod_full, ["symbol"]),
    "historical-price-eod/light": Endpoint(eod_light, ["symbol"]),
    "historical-price-eod/dividend-adjusted": Endpoint(eod_dividend_adjusted, ["symbol"]),
    "historical-price-eod/non-split-adjusted": Endpoint(eod_raw, ["symbol"]),
    HOURLY: Endpoint(chart_hourly, ["symbol"]),
    "splits": Endpoint(splits, ["symbol"]),
    "stock-list": Endpoint(stock_list),
}


def eod_range(first: date | None, last: date | None, today: date) -> tuple[date, date]:
    """What an end-of-day call asks for: the five years up to today, unless it says otherwise."""
    last = last or today
    return first or years_before(last, EOD_YEARS), last


def hourly_range(first: date | None, last: date | None, today: date) -> tuple[date, date]:
    """What an hourly call gets: at most 90 days up to ``to``; in reverse, that day alone."""
    last = last or today
    earliest = last - (HOURLY_DAYS - 1) * DAY
    return (earliest if first is None else min(max(first, earliest), last)), last


def eod_bars(call: Call, history: History, at: datetime) -> Bars:
    """The bars that an end-of-day call gets, oldest first; none where ``from`` is after ``to``."""
    first, last = eod_range(call.day("from"), call.day("to"), history.today(at))
    return history.daily(call.symbol, first, last, at).newest(EOD_ROWS)


def eod_body(call: Call, bars: Bars, cells: Mapping[str, Floats]) -> bytes:
    """The body of an end-of-day answer with these columns of numbers."""
    return rows_body({"symbol": quoted(call.symbol), "date": _labels(bars), **_printed(cells)})


def _adjusted_body(call: Call, bars: Bars, old_shares: Floats) -> bytes:
    prices = {
        "adjOpen": bars.open,
        "adjHigh": bars.high,
        "adjLow": bars.low,
        "adjClose": bars.close,
    }
    cells = {name: np.round(price * old_shares, 4) for name, price in prices.items()}
    return eod_body(call, bars, cells | {"volume": np.round(bars.volume / old_shares)})


def _percent(change: Floats, opens: Floats) -> Floats:
    """Per cent of the open: five decimals, eight below a tenth of a per cent."""
    with np.errstate(divide="ignore", invalid="ignore"):  # an open of 0 in a replayed file
        percent = change / opens * 100
    return np.where(np.abs(percent) < 0.1, np.round(percent, 8), np.round(percent, 5))


def _labels(bars: Bars) -> list[str]:
    return [f'"{label}"' for label in reversed(bars.labels)]


def _printed(cells: Mapping[str, Floats]) -> dict[str, list[str]]:
    """Each column as JSON texts, newest first; all are printed at once."""
    rows = len(next(iter(cells.values())))
    texts = print_numbers(np.concatenate([column[::-1] for column in cells.values()]))
    return {name: texts[n * rows : (n + 1) * rows] for n, name in enumerate(cells)}
