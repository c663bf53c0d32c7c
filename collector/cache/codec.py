"""A published value: what stands in Redis for one ticker and timeframe (contract, section 5). Pure.

The body is JSON by orjson, the members in the contract's order, columns instead of rows: 500 bars
are 23 kB and 0.1 ms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from operator import lt
from typing import Any

import numpy as np
import orjson
import polars as pl

from collector.cache.keys import PriceKey
from collector.market.bars import VALUES, schema
from collector.market.timeframe import Timeframe

VERSION = 1
REV_BYTES = len(b'{"v":1,"rev":') + len(str(2**63 - 1)) + 1
"""So many bytes of a body hold its ``rev`` and the comma behind it, however long a bigint is."""

_OPTIONS = (
    orjson.OPT_UTC_Z
    | orjson.OPT_OMIT_MICROSECONDS
    | orjson.OPT_SERIALIZE_NUMPY
    | orjson.OPT_NAIVE_UTC  # numpy's instants are naive; others are checked to be aware
)
_EPOCH = date(1970, 1, 1).toordinal()
_REV = re.compile(rb'\{"v":1,"rev":(\d{1,19}),')

Column = Sequence[Any] | np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Value:
    """One ticker's last bars of one timeframe, with what a reader needs to judge their age.

    ``columns`` are those of the bar frame, oldest first, of equal length, as lists or numpy arrays.
    The instants are dates (of ``1h`` aware datetimes in UTC), or ISO 8601 text as `decode` gives.
    ``through`` is the last closed bar, in the same forms.
    """

    ticker: str
    timeframe: Timeframe
    lookback: int
    rev: int
    run: str | None
    published_at: datetime
    through: date | str
    fresh_until: datetime
    columns: Mapping[str, Column]

    @property
    def rows(self) -> int:
        """How many bars it holds."""
        return len(self.columns[self.timeframe.instant])

    @property
    def named(self) -> PriceKey:
        """What the value's key must name."""
        return PriceKey(self.ticker, self.timeframe, self.lookback)


def encode(value: Value) -> bytes:
    """Return the body. Raises ``ValueError`` where a number is missing or not finite.

    Also for columns that are not the bar frame's, differ in length, or hold naive instants.
    """
    _check_aware(value.published_at, value.fresh_until)
    bars = _bars(value)
    body = orjson.dumps(
        {
            "v": VERSION,
            "rev": value.rev,
            "ticker": value.ticker,
            "timeframe": value.timeframe.value,
            "lookback": value.lookback,
            "rows": value.rows,
            "published_at": value.published_at,
            "run": value.run,
            "through": value.through,
            "fresh_until": value.fresh_until,
            "bars": bars,
        },
        option=_OPTIONS,
    )
    # orjson writes null for NaN, infinity and None. Behind '"bars":' the one "n" is that of "open":
    # counting a byte costs a third of searching a word.
    if body.count(b"n", body.index(b',"bars":')) != 1:
        raise ValueError(f"{value.ticker}: a bar holds a number that is missing or not finite")
    return body


def _bars(value: Value) -> dict[str, Column]:
    columns = {name: value.columns[name] for name in schema(value.timeframe)}
    if len({len(column) for column in value.columns.values()}) != 1:
        raise ValueError(f"{value.ticker}: the columns differ in length")
    name = value.timeframe.instant
    columns[name] = _instants(columns[name], value.timeframe)
    return columns


def _instants(column: Column, timeframe: Timeframe) -> Column:
    """Return the instants as orjson prints them right: it takes numpy's days for midnights."""
    if isinstance(column, np.ndarray):
        unit = "s" if timeframe is Timeframe.HOUR else "D"
        instants: list[Any] = column.astype(f"datetime64[{unit}]").tolist()
        return instants
    first = column[0] if column else None
    if isinstance(first, datetime):
        _check_aware(first)
    if isinstance(first, date) and isinstance(first, datetime) != (timeframe is Timeframe.HOUR):
        raise ValueError("daily and weekly bars are named by dates, hourly ones by instants")
    return column


def _check_aware(*instants: datetime) -> None:
    if any(instant.utcoffset() != timedelta(0) for instant in instants):
        raise ValueError("an instant is not in UTC")


def decode(body: bytes | str, expected: PriceKey) -> Value | None:
    """Return the value, or None (a miss) for anything but a sound body under ``expected``.

    Sound: known ``v``, its own ticker, timeframe and lookback, the bar frame's columns in equal
    length, bars oldest first, no bar twice. Never raises.
    """
    try:
        members = orjson.loads(body)
        return _value(members, expected) if _is_of(members, expected) else None
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def _is_of(members: Any, expected: PriceKey) -> bool:  # noqa: ANN401 - any JSON may stand there
    return (
        isinstance(members, dict)
        and members["v"] == VERSION
        and members["ticker"] == expected.ticker
        and members["timeframe"] == expected.timeframe.value
        and members["lookback"] == expected.lookback
    )


def _value(members: dict[str, Any], expected: PriceKey) -> Value | None:
    value = Value(
        ticker=expected.ticker,
        timeframe=expected.timeframe,
        lookback=expected.lookback,
        rev=members["rev"],
        run=members["run"],
        published_at=datetime.fromisoformat(members["published_at"]),
        through=members["through"],
        fresh_until=datetime.fromisoformat(members["fresh_until"]),
        columns={name: members["bars"][name] for name in schema(expected.timeframe)},
    )
    _check_aware(value.published_at, value.fresh_until)
    sound = _head_is_sound(value) and _bars_are_sound(value) and value.rows == members["rows"]
    return value if sound else None


def _head_is_sound(value: Value) -> bool:
    return (
        type(value.rev) is int
        and isinstance(value.run, str | None)
        and _are_instants([value.through], value.timeframe)
    )


def _bars_are_sound(value: Value) -> bool:
    """Tell whether the columns are lists of equal length, of numbers and of rising instants."""
    columns = [value.columns[name] for name in VALUES]
    return (
        all(isinstance(column, list) and len(column) == value.rows for column in columns)
        and all(isinstance(sum(column), int | float) for column in columns)  # text raises TypeError
        and _are_instants(value.columns[value.timeframe.instant], value.timeframe)
    )


def _are_instants(texts: Column, timeframe: Timeframe) -> bool:
    """Tell whether ``texts`` is a list of rising dates or instants, each printed as we print it."""
    kind = datetime if timeframe is Timeframe.HOUR else date
    parsed = list(map(kind.fromisoformat, texts))
    printed = orjson.dumps(parsed, option=_OPTIONS) == orjson.dumps(texts)
    return printed and all(map(lt, parsed, parsed[1:]))


def frame(value: Value) -> pl.DataFrame:
    """Return the bars as a bar frame (`collector.market.bars`)."""
    names = schema(value.timeframe)
    return pl.DataFrame([_series(name, value.columns[name], value) for name in names])


def _series(name: str, column: Column, value: Value) -> pl.Series:
    if name != value.timeframe.instant:
        return pl.Series(name, np.asarray(column, dtype=np.float64))
    counted = _counted(_instants(column, value.timeframe), value.timeframe)
    return pl.Series(name, counted).cast(schema(value.timeframe)[name])


def _counted(instants: Column, timeframe: Timeframe) -> np.ndarray[Any, Any]:
    """Return instants as Polars counts them: days or microseconds since 1970.

    Polars' own parsing of text and of lists of datetimes is 2 to 10 times as slow for 500 bars.
    """
    kind = datetime if timeframe is Timeframe.HOUR else date
    parsed: list[Any] = [
        kind.fromisoformat(each) if isinstance(each, str) else each for each in instants
    ]
    if timeframe is not Timeframe.HOUR:
        return np.fromiter(map(date.toordinal, parsed), np.int32, len(parsed)) - _EPOCH
    stamps = [each.replace(tzinfo=UTC).timestamp() for each in parsed]  # numpy gave naive ones
    return np.array(stamps, dtype=np.float64).astype(np.int64) * 1_000_000


def rev_of(head: bytes) -> int | None:
    """Return ``rev`` from the first `REV_BYTES` bytes of a body; None if they are not one's."""
    found = _REV.match(head)
    return int(found[1]) if found else None
