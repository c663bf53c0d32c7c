"""From recorded and from mangled bodies to raw rows."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import orjson
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collector.errors import Failed, FetchError, Kind, Transient
from collector.fmp import decode as decoding
from collector.fmp.decode import decode
from collector.market import bars
from collector.market.bars import schema
from collector.market.timeframe import Timeframe
from tests.fmp.server import recorded

NEW_YORK = ZoneInfo("America/New_York")
ROW = {"symbol": "A", "date": "2026-01-02", "open": 2, "high": 3, "low": 1, "close": 2, "volume": 9}


def daily(body: bytes | list[object], ticker: str = "A") -> pl.DataFrame:
    """The end-of-day rows of a body."""
    return decode(
        body if isinstance(body, bytes) else orjson.dumps(body), ticker, Timeframe.DAY, NEW_YORK
    )


def hourly(*stamps: object, zone: ZoneInfo = NEW_YORK) -> list[datetime | None]:
    """The instants of hourly rows with these stamps."""
    body = orjson.dumps([ROW | {"date": stamp} for stamp in stamps])
    frame = decode(body, "A", Timeframe.HOUR, zone)
    assert dict(frame.schema) == schema(Timeframe.HOUR)
    return frame.get_column("ts").to_list()


@pytest.mark.parametrize(
    ("ticker", "newest"),
    [
        ("AAPL", (130.26, 131.26, 128.12, 130.73, 63896200.0)),
        ("^DJI", None),
        ("BTCUSD", (17177.94, 17494.37, 17145.1, 17443.5, 15808338949.0)),
        ("EURUSD", None),
    ],
)
def test_recorded_days(ticker: str, newest: tuple[float, ...] | None) -> None:
    """Every value is the one of the body, in the body's order, newest first."""
    body = recorded(f"stable_eod_full_{ticker.strip('^')}_2023-01-01_2023-01-10.json")
    frame = daily(body, ticker)
    wire = orjson.loads(body)
    assert dict(frame.schema) == schema(Timeframe.DAY)
    assert frame.row(0)[0] == date(2023, 1, 10)
    assert newest is None or frame.row(0)[1:] == newest
    for name in ("open", "high", "low", "close", "volume"):
        assert frame.get_column(name).to_list() == [row[name] for row in wire]
    assert [str(day) for day in frame.get_column("date")] == [row["date"] for row in wire]


def test_recorded_hours() -> None:
    """The stamps are New York's wall clock; low stands before high on the wire."""
    body = recorded("fmp4j_historical-chart_1hour_AAPL_2024-01-02_trim2.json")
    frame = decode(body, "AAPL", Timeframe.HOUR, NEW_YORK)
    first = (datetime(2024, 1, 2, 20, 30, tzinfo=UTC), 184.42, 185.93, 184.415, 185.47, 12927017.0)
    assert frame.row(0) == first
    assert frame.height == 2


def test_a_recorded_fractional_volume_stays_fractional() -> None:
    """Inference from whole numbers would cut it."""
    volumes = [127, 588656.8568699993, 1803407.9791699983]
    frame = daily([ROW | {"volume": volume} for volume in volumes])
    assert frame.get_column("volume").to_list() == volumes


@pytest.mark.parametrize("body", [b"", b"[]", b" [ ]\n", b"{}", b"null"])
@pytest.mark.parametrize("timeframe", [Timeframe.DAY, Timeframe.HOUR])
def test_nothing_is_an_empty_frame(body: bytes, timeframe: Timeframe) -> None:
    """With all its columns."""
    frame = decode(body, "A", timeframe, NEW_YORK)
    assert frame.height == 0
    assert dict(frame.schema) == schema(timeframe)


@pytest.mark.parametrize(
    "value", [None, "1.23", "None", "", True, False, {"a": 1}, [1], {}], ids=repr
)
@pytest.mark.parametrize("name", ["open", "volume"])
def test_what_is_no_number_is_null_and_spares_the_other_rows(name: str, value: object) -> None:
    """The row check rejects that row and no other."""
    frame = daily([ROW, ROW | {name: value}, ROW])
    assert frame.get_column(name).to_list() == [ROW[name], None, ROW[name]]
    assert frame.get_column("close").to_list() == [2.0, 2.0, 2.0]


def test_what_a_row_lacks_is_null_and_what_it_has_beside_is_passed_over() -> None:
    """New members appear without notice."""
    lacking = {name: value for name, value in ROW.items() if name != "low"}
    frame = daily([ROW | {"splitType": {"deep": [True]}, "x": None}, lacking])
    assert frame.get_column("low").to_list() == [1.0, None]
    assert frame.columns == ["date", "open", "high", "low", "close", "volume"]


@pytest.mark.parametrize("odd", [None, 5, "text", [], [1]], ids=repr)
def test_an_element_that_is_no_row_becomes_a_row_of_nulls(odd: object) -> None:
    """It is counted and rejected like any bad row."""
    assert daily([ROW, odd]).row(1) == (None,) * 6


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-02-30",
        "2026-2-3",
        "20260203",
        "2026-W05-2",
        "02/03/2026",
        "",
        None,
        5,
        "2026-02-03 00",
    ],
)
def test_what_is_no_day_is_null(stamp: object) -> None:
    """The row check calls it a bad date."""
    assert daily([ROW, ROW | {"date": stamp}]).get_column("date").to_list() == [
        date(2026, 1, 2),
        None,
    ]


@pytest.mark.parametrize("stamp", ["0001-01-01", "9999-12-31"])
def test_the_ends_of_time_are_days(stamp: str) -> None:
    """Whether they are sessions is the calendar's to say."""
    assert daily([ROW | {"date": stamp}]).row(0)[0] == date.fromisoformat(stamp)


def test_hours_are_localised_and_a_clock_change_is_minded() -> None:
    """The repeated hour is the earlier one, the skipped one none."""
    assert hourly(
        "2026-03-06 09:30:00", "2026-03-09 09:30:00", "2026-11-01 01:30:00", "2026-03-08 02:30:00"
    ) == [
        datetime(2026, 3, 6, 14, 30, tzinfo=UTC),
        datetime(2026, 3, 9, 13, 30, tzinfo=UTC),
        datetime(2026, 11, 1, 5, 30, tzinfo=UTC),
        None,
    ]


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-03-06",
        "2026-03-06T09:30:00",
        "2026-03-06 09:30:60",
        "2026-03-06 25:30:00",
        "2026-02-30 09:30:00",
        "2026-03-06 09:30:0x",
        "2026-03-06 9:30:00",
        "0001-01-01 00:00:00",
        "9999-12-31 23:30:00",
        None,
        7,
    ],
)
@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_what_is_no_hour_is_null(stamp: object, zone: str) -> None:
    """Nor is one whose instant in UTC Python could not hold."""
    assert hourly("2026-03-06 09:30:00", stamp, zone=ZoneInfo(zone))[1] is None


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ([ROW | {"symbol": "MSFT"}], Kind.MISMATCH, "asked for A, got rows of 'MSFT'"),
        ([ROW, ROW | {"symbol": "MSFT"}], Kind.MISMATCH, "MSFT"),
        ([ROW | {"symbol": 7}], Kind.MISMATCH, "'7'"),
        ([{"date": "2026-01-02", "price": 5}], Kind.SCHEMA, "'open'"),
        ([dict.fromkeys(ROW) | {"close": 1}, {}], None, ""),
        ([ROW | {"symbol": None}], None, ""),
        (b'{"symbol": "A", "historical": []}', Kind.SCHEMA, "members 'symbol', 'historical'"),
        ([5], Kind.SCHEMA, "'date'"),
        (b"5", Kind.SCHEMA, "int"),
        ([{"Error Message": "Invalid API KEY."}], Kind.AUTH, "Invalid API KEY"),
        (b'{"message": "Limit Reach ."}', Kind.RATE_LIMITED, "Limit Reach"),
        (["Special Endpoint : x"], Kind.PLAN, "Special Endpoint"),
    ],
)
def test_what_is_not_rows_of_this_ticker(
    body: bytes | list[object], kind: Kind | None, words: str
) -> None:
    """The error names the field, the symbol or the shape."""
    if kind is None:
        assert daily(body).height
        return
    with pytest.raises(FetchError) as caught:
        daily(body)
    assert caught.value.kind is kind
    assert words in str(caught.value)


def test_the_field_that_every_row_lacks_is_named() -> None:
    """A renamed field must not look like so many bad rows."""
    renamed = {("adjClose" if name == "close" else name): value for name, value in ROW.items()}
    with pytest.raises(Failed, match="no row has the field 'close'") as caught:
        daily([renamed] * 3)
    assert caught.value.kind is Kind.SCHEMA


@pytest.mark.parametrize("symbol", ["BRK-B", "BRK.B", "brk-b"])
def test_an_alias_is_the_same_ticker(symbol: str) -> None:
    """Case, and a dash for a dot."""
    assert daily([ROW | {"symbol": symbol}], "BRK-B").height == 1


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[1, NaN]",
        b'[{"open": 1e999}]',
        b'[{"open": Infinity}]',
        b'[{"open": 1}] [',
        b'[{"date": "\xff"}]',
        b"\xef\xbb\xbf[]",
        b"[" * 100_000,
        orjson.dumps([ROW])[:-3],
    ],
)
def test_what_is_no_json_is_a_bad_body(body: bytes) -> None:
    """Its beginning is in the message, the whole of it nowhere."""
    with pytest.raises(Transient) as caught:
        daily(body)
    assert caught.value.kind is Kind.BAD_BODY
    assert caught.value.__context__ is None
    assert len(str(caught.value)) < 150


def test_of_a_member_that_a_row_names_twice_the_last_value_counts() -> None:
    """As every JSON parser of Python's has it; polars takes the first."""
    twice = b'[{"date":"2026-01-02","open":1,"open":2,"high":3,"low":1,"close":2,"volume":5}]'
    assert daily(twice).get_column("open").to_list() == [2.0]
    assert daily(twice[:-1] + b"," + orjson.dumps(ROW) + b"]").get_column("open").to_list() == [
        2.0,
        2.0,
    ]


def test_rows_that_nest_something_take_the_slow_path() -> None:
    """And give the same rows."""
    body = orjson.dumps([{"x": {"y": 1}} | ROW, ROW])
    assert decoding._fast(body) is None
    assert daily(body).height == 2


def test_an_ordinary_body_takes_the_fast_path() -> None:
    """Else it would cost twice the time without anyone noticing."""
    body = recorded("stable_eod_full_AAPL_2023-01-01_2023-01-10.json")
    fast = decoding._fast(body)
    assert fast is not None
    assert fast.equals(decoding._slow(body))


VALUES = (
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from(["A", "a", "2026-01-02", "2026-01-02 09:30:00", "1.5", "\\", "\x00", "é"])
    | st.lists(st.integers(0, 9), max_size=2)
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1)
ROWS = st.lists(
    st.fixed_dictionaries({}, optional=dict.fromkeys([*ROW, "vwap", "Error Message"], VALUES))
    | st.fixed_dictionaries(
        {
            name: st.just(value) if name in ("symbol", "date") else NUMBERS
            for name, value in ROW.items()
        }
    )
    | st.just(ROW)
    | VALUES,
    max_size=6,
)


@given(ROWS)
def test_both_paths_give_the_same(document: list[object]) -> None:
    """Which parser reads a body must not change what is stored."""
    body = orjson.dumps(document)
    fast = decoding._fast(body)
    if fast is None or not document:
        return
    slow = decoding._slow(body)
    assert fast.select(bars.VALUES).equals(slow.select(bars.VALUES))
    days = [list(map(decoding._day, frame.get_column("date"))) for frame in (fast, slow)]
    assert days[0] == days[1]


@given(st.lists(st.lists(NUMBERS, min_size=5, max_size=5), min_size=1, max_size=5))
def test_every_number_is_the_one_that_was_sent(values: list[list[float]]) -> None:
    """To the last bit, as Python reads the same text."""
    body = orjson.dumps([ROW | dict(zip(bars.VALUES, row, strict=True)) for row in values])
    frame = daily(body)
    assert [list(row[1:]) for row in frame.rows()] == [[float(x) for x in row] for row in values]


@given(
    st.sampled_from([orjson.dumps([ROW] * 3), orjson.dumps([ROW], option=orjson.OPT_INDENT_2)]),
    st.integers(0, 300),
    st.integers(0, 4),
    st.binary(max_size=4),
)
@example(b"[]", 0, 0, b"")
def test_mangled_bytes_end_as_rows_or_as_an_error_of_ours(
    body: bytes, at: int, cut: int, put: bytes
) -> None:
    """Nothing else escapes, and both paths agree on what is JSON at all."""
    mangled = body[:at] + put + body[at + cut :]
    for timeframe in (Timeframe.DAY, Timeframe.HOUR):
        with suppress(FetchError):
            assert dict(decode(mangled, "A", timeframe, NEW_YORK).schema) == schema(timeframe)
    fast = decoding._fast(mangled)
    if fast is not None:
        assert fast.equals(decoding._slow(mangled))
