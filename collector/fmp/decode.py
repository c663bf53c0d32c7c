"""From the bytes of an answer to raw rows. Pure; whether a row is a bar is decided later.

Columns are those of `collector.market.bars.schema`, rows stand as in the body. A value that is
missing, no number or no date is null.
"""

from __future__ import annotations

from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import polars as pl

from collector.errors import Failed, Kind
from collector.fmp.classify import bad_body, error_in
from collector.market import bars
from collector.market.timeframe import Timeframe

SYMBOL, DATE = "symbol", "date"  # wire names
NAMES = (DATE, *bars.VALUES)
# The slow path reads these as JSON says; polars reads them otherwise: true as 1.0, an escaped
# half of a surrogate pair as NUL.
NOT_FAST = (b"true", b"false", b"\\")
# Beyond them an instant in UTC may leave the years that Python's dates have.
FIRST_DAY, LAST_DAY = date(1, 1, 2), date(9999, 12, 30)
A_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
AN_HOUR = r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-5][0-9]$"

WIRE = {SYMBOL: pl.String(), DATE: pl.String()} | {name: pl.Float64() for name in bars.VALUES}


def decode(body: bytes, ticker: str, timeframe: Timeframe, zone: ZoneInfo) -> pl.DataFrame:
    """Decode the bars of ``ticker``; the stamps of hourly ones are wall clock in ``zone``.

    Raises `Transient` (``bad_body``) where the body is no JSON, `Failed` with ``schema`` where it
    holds no rows of bars and ``mismatch`` where they are another symbol's, and whatever
    `collector.fmp.classify` makes of an error stated in it.
    """
    rows = _fast(body)
    if rows is None:
        rows = _slow(body)
    _refuse_foreign(rows, ticker)
    return rows.select(_instant(timeframe, zone), *bars.VALUES)


def _fast(body: bytes) -> pl.DataFrame | None:
    """Let polars read the rows; None where its answer could differ from a strict parser's."""
    if body.lstrip()[:1] != b"[" or any(token in body for token in NOT_FAST):
        return None
    try:
        rows = pl.read_json(body, schema=WIRE)
    except pl.exceptions.PolarsError:
        return None
    # A row that names a member twice counts by its last value, polars takes the first.
    once = all(body.count(b'"%s"' % name.encode()) == rows.height for name in NAMES)
    return rows if once and body.count(b'"symbol"') in (0, rows.height) else None


def _slow(body: bytes) -> pl.DataFrame:
    try:
        document = orjson.loads(body or b"null")
    except orjson.JSONDecodeError:
        document = bad_body(body)
    if isinstance(document, Exception):  # raised here: orjson's own error holds the whole body
        raise document
    return _frame(_rows(document))


def _rows(document: object) -> list[dict[str, Any]]:
    if not document and isinstance(document, (list, dict, type(None))):
        return []
    error = error_in(document) if _no_row(document) else None
    if error is not None:
        raise error
    if not isinstance(document, list):
        raise Failed(Kind.SCHEMA, f"expected a list of rows, got {_shape(document)}")
    rows = [element if isinstance(element, dict) else {} for element in document]
    absent = [name for name in NAMES if not any(name in row for row in rows)]
    if absent:
        raise Failed(Kind.SCHEMA, f"no row has the field {absent[0]!r}")
    return rows


def _no_row(document: object) -> bool:
    """Whether ``document`` cannot be rows of bars, so that it may state an error."""
    return not isinstance(document, list) or not any(
        isinstance(element, dict) and DATE in element for element in document
    )


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    texts = {name: [_text(row.get(name)) for row in rows] for name in (SYMBOL, DATE)}
    numbers = {name: [_number(row.get(name)) for row in rows] for name in bars.VALUES}
    return pl.DataFrame(texts | numbers, schema=WIRE)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _text(value: object) -> str | None:
    """Text as it is; a number in its place stays visible, so that a wrong symbol is seen."""
    if value is None or isinstance(value, str):
        return value
    return "" if isinstance(value, (dict, list)) else str(value)


def _shape(document: object) -> str:
    if isinstance(document, dict):
        return "an object with the members " + ", ".join(ascii(name[:20]) for name in list(document)[:5])
    return type(document).__name__


def _refuse_foreign(rows: pl.DataFrame, ticker: str) -> None:
    """Refuse rows of another symbol. The same but for case, or ``-`` for ``.``, is an alias."""
    for symbol in rows.get_column(SYMBOL).drop_nulls().unique().to_list():
        if _alias(symbol) != _alias(ticker):
            raise Failed(Kind.MISMATCH, f"asked for {ticker}, got rows of {symbol[:20]!a}")


def _alias(symbol: str) -> str:
    return symbol.upper().replace(".", "-")


def _instant(timeframe: Timeframe, zone: ZoneInfo) -> pl.Expr:
    """Of an hour that a clock change repeats the earlier, of one that it skips null."""
    stamp = pl.col(DATE)
    if timeframe is not Timeframe.HOUR:
        shaped = pl.when(stamp.str.contains(A_DAY)).then(stamp)
        return _within(shaped.str.to_date("%Y-%m-%d", strict=False)).alias(timeframe.instant)
    shaped = pl.when(stamp.str.contains(AN_HOUR)).then(stamp)
    wall = _within(shaped.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False))
    local = wall.dt.replace_time_zone(zone.key, ambiguous="earliest", non_existent="null")
    return local.dt.convert_time_zone("UTC").alias(timeframe.instant)


def _within(instant: pl.Expr) -> pl.Expr:
    return pl.when(instant.is_between(FIRST_DAY, LAST_DAY)).then(instant)
