"""From the bytes of an answer to raw rows. Pure; whether a row is a bar is decided later.

Columns are those of `collector.market.bars.schema`, rows stand as in the body. A value that is
missing, no number or no date is null.
"""

from __future__ import annotations

from datetime import date, datetime
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
    stamps = rows.get_column(DATE).to_list()
    instants = _hours(stamps, zone) if timeframe is Timeframe.HOUR else _days(stamps)
    return pl.DataFrame([instants.alias(timeframe.instant), *map(rows.get_column, bars.VALUES)])


def _fast(body: bytes) -> pl.DataFrame | None:
    """Let polars read the rows; None where its answer could differ from a strict parser's."""
    if body.lstrip()[:1] != b"[" or any(token in body for token in NOT_FAST):
        return None
    try:
        rows = pl.read_json(body, schema=WIRE)
    except pl.exceptions.PolarsError:
        return None
    plain = rows.height == 0 or (_alike(body, rows.height) and not _holes(rows))
    return rows if plain else None


def _alike(body: bytes, height: int) -> bool:
    """Whether each row has as many members as the first, which names none twice.

    Of a member named twice the last value counts; polars takes the first.
    """
    first = body[body.find(b"{") : body.find(b"}") + 1]
    try:
        members = len(orjson.loads(first))
    except orjson.JSONDecodeError:
        return False
    return first.count(b'":') == members and body.count(b'":') == members * height


def _holes(rows: pl.DataFrame) -> bool:
    return any(rows.get_column(name).null_count() for name in NAMES)


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
        return "an object with the members " + ", ".join(
            ascii(name[:20]) for name in list(document)[:5]
        )
    return type(document).__name__


def _refuse_foreign(rows: pl.DataFrame, ticker: str) -> None:
    """Refuse rows of another symbol. The same but for case, or ``-`` for ``.``, is an alias."""
    for symbol in rows.get_column(SYMBOL).drop_nulls().unique().to_list():
        if _alias(symbol) != _alias(ticker):
            raise Failed(Kind.MISMATCH, f"asked for {ticker}, got rows of {symbol[:20]!a}")


def _alias(symbol: str) -> str:
    return symbol.upper().replace(".", "-")


def _days(stamps: list[str | None]) -> pl.Series:
    return pl.Series([_day(stamp) for stamp in stamps], dtype=pl.Date)


def _hours(stamps: list[str | None], zone: ZoneInfo) -> pl.Series:
    """Of an hour that a clock change repeats the earlier, of one that it skips null."""
    wall = pl.Series([_wall_clock(stamp) for stamp in stamps], dtype=pl.Datetime("us"))
    local = wall.dt.replace_time_zone(zone.key, ambiguous="earliest", non_existent="null")
    return local.dt.convert_time_zone("UTC")


def _day(stamp: str | None) -> date | None:
    """``2026-02-27``, and no other of the forms that ISO 8601 has for it."""
    if stamp is None or len(stamp) != 10 or not stamp[4] == stamp[7] == "-":
        return None
    try:
        return date.fromisoformat(stamp)
    except ValueError:
        return None


def _wall_clock(stamp: str | None) -> datetime | None:
    """``2026-02-27 09:30:00``. In UTC it must not leave the years that a date can have."""
    if stamp is None or len(stamp) != 19 or not stamp[13] == stamp[16] == ":":
        return None
    day = _day(stamp[:10])
    if day is None or stamp[10] != " " or not date.min < day < date.max:
        return None
    try:
        return datetime.fromisoformat(stamp)
    except ValueError:
        return None
