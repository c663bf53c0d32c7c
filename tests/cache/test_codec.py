"""The body of a value: exact as the contract says, and anything else is a miss."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.cache.codec import REV_BYTES, Value, decode, encode, frame, rev_of
from collector.cache.keys import PriceKey
from collector.market.bars import VALUES, schema
from collector.market.timeframe import Timeframe
from tests.cache.values import columns_of, value_of

NAME = PriceKey("AAPL", Timeframe.DAY, 500)
HEAD = ["v", "rev", "ticker", "timeframe", "lookback", "rows"]
MEMBERS = [*HEAD, "published_at", "run", "through", "fresh_until", "bars"]
ALL = pytest.mark.parametrize("timeframe", list(Timeframe))


def small() -> Value:
    columns: dict[str, Any] = {"date": [date(2026, 11, 20), date(2026, 11, 23)]}
    columns |= {name: [1.5, 99.75] for name in VALUES}
    return replace(value_of(), columns=columns)


def test_the_body_is_the_contracts_to_the_byte() -> None:
    column = "[1.5,99.75]"
    assert encode(small()).decode() == (
        '{"v":1,"rev":1042,"ticker":"AAPL","timeframe":"1d","lookback":500,"rows":2,'
        '"published_at":"2026-11-24T11:00:04Z","run":"r-1","through":"2026-11-23",'
        '"fresh_until":"2026-11-25T11:30:00Z","bars":{"date":["2026-11-20","2026-11-23"],'
        f'"open":{column},"high":{column},"low":{column},"close":{column},"volume":{column}}}}}'
    )


@ALL
def test_members_stand_in_order_and_columns_are_the_bar_frames(timeframe: Timeframe) -> None:
    members = json.loads(encode(value_of(timeframe=timeframe, run=None)))
    assert list(members) == MEMBERS
    assert list(members["bars"]) == list(schema(timeframe))
    assert members["run"] is None
    assert members["through"] == members["bars"][timeframe.instant][-1]


def test_hourly_bars_are_named_by_utc_instants_to_the_second() -> None:
    members = json.loads(encode(value_of(timeframe=Timeframe.HOUR, rows=2)))
    assert members["bars"]["ts"] == ["2026-11-23T19:30:00Z", "2026-11-23T20:30:00Z"]


def test_microseconds_are_cut() -> None:
    late = replace(small(), published_at=datetime(2026, 11, 24, 11, 0, 4, 999_999, tzinfo=UTC))
    assert encode(late) == encode(small())


@ALL
def test_numpy_columns_make_the_same_body(timeframe: Timeframe) -> None:
    value = value_of(timeframe=timeframe)
    bars = frame(value)
    arrays = {name: bars[name].to_numpy() for name in bars.columns}
    same = replace(value, columns=arrays)
    assert encode(same) == encode(value)
    assert frame(same).equals(bars)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None])
@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("numpy", [False, True])
def test_a_number_missing_or_not_finite_is_refused(
    bad: float | None, name: str, numpy: bool
) -> None:
    column: Any = [1.0, bad, 3.0]
    if numpy:
        column = np.array(column, dtype=np.float64)
    value = value_of()
    with pytest.raises(ValueError, match="missing or not finite"):
        encode(replace(value, columns={**value.columns, name: column}))


def test_words_in_the_head_are_not_taken_for_missing_numbers() -> None:
    value = replace(value_of("NULL"), run='null "bars":')
    assert decode(encode(value), value.named) is not None


def one_bar(name: str, instant: date) -> dict[str, Any]:
    return {"columns": {name: [instant]} | {value: [1.0] for value in VALUES}}


@pytest.mark.parametrize(
    "change",
    [
        {"columns": columns_of(Timeframe.DAY, 3) | {"open": [1.0]}},
        {"published_at": datetime(2026, 11, 24, 11)},  # noqa: DTZ001 - naive on purpose
        {"fresh_until": datetime(2026, 11, 24, 11, tzinfo=timezone(timedelta(hours=1)))},
        {"timeframe": Timeframe.HOUR} | one_bar("ts", date(2026, 1, 1)),
        {"timeframe": Timeframe.HOUR} | one_bar("ts", datetime(2026, 1, 1)),  # noqa: DTZ001
        one_bar("date", datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_what_would_print_wrong_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"differ|UTC|named by"):
        encode(replace(value_of(), **change))


@ALL
@pytest.mark.parametrize("rows", [0, 1, 500])
def test_what_is_decoded_encodes_to_the_same_bytes(timeframe: Timeframe, rows: int) -> None:
    value = replace(
        value_of(timeframe=timeframe, rows=max(rows, 1)), columns=columns_of(timeframe, rows)
    )
    body = encode(value)
    decoded = decode(body, value.named)
    assert decoded is not None
    assert encode(decoded) == body
    assert frame(decoded).equals(frame(value))
    assert dict(frame(decoded).schema) == schema(timeframe)
    assert frame(decoded).height == rows


def test_whole_and_broken_numbers_become_one_float_column() -> None:
    value = replace(value_of(), columns={**value_of().columns, "open": [1, 99.75, 3]})
    decoded = decode(encode(value), value.named)
    assert decoded is not None
    assert frame(decoded)["open"].to_list() == [1.0, 99.75, 3.0]
    assert frame(decoded)["date"].dtype == pl.Date


def changed(**members: Any) -> bytes:  # noqa: ANN401 - any JSON
    body = json.loads(encode(value_of()))
    bars = members.pop("bars", {})
    return json.dumps(body | members | {"bars": body["bars"] | bars}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        encode(value_of())[:-1],
        changed(v=2),
        changed(v="1"),
        changed(ticker="MSFT"),
        changed(timeframe="1wk"),
        changed(lookback=250),
        changed(rows=2),
        changed(rev="7"),
        changed(rev=True),
        changed(run=5),
        changed(through="2026-02-30"),
        changed(through=None),
        changed(published_at="yesterday"),
        changed(published_at="2026-11-24T11:00:04"),
        changed(fresh_until=5),
        changed(bars={"open": [1.0, 2.0]}),
        changed(bars={"open": [1.0, 2.0, None]}),
        changed(bars={"open": [1.0, 2.0, "3"]}),
        changed(bars={"open": [1.0, 2.0, [3]]}),
        changed(bars={"open": "abc"}),
        changed(bars={"open": [10**400, 1.0, 2.0]}),
        changed(bars={"date": ["2026-11-21", "2026-11-23", "2026-11-22"]}),
        changed(bars={"date": ["2026-11-21", "2026-11-21", "2026-11-22"]}),
        changed(bars={"date": ["20261121", "2026-11-22", "2026-11-23"]}),
        changed(bars={"date": ["2026-02-28", "2026-02-29", "2026-02-30"]}),
        changed(bars={"date": [1, 2, 3]}),
    ],
)
def test_what_is_not_sound_is_a_miss(body: bytes) -> None:
    assert decode(body, NAME) is None


def test_the_unchanged_body_is_no_miss() -> None:
    assert decode(changed(), NAME) is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(st.binary() | st.text())
def test_garbage_never_raises(body: bytes | str) -> None:
    assert decode(body, NAME) is None


@given(st.sampled_from(MEMBERS), JSON)
def test_a_member_of_any_kind_never_raises(member: str, content: Any) -> None:  # noqa: ANN401
    body = json.loads(encode(value_of())) | {member: content}
    decoded = decode(json.dumps(body), NAME)
    assert decoded is None or frame(decoded).height == 3


@given(st.sampled_from(list(schema(Timeframe.DAY))), st.lists(JSON, min_size=3, max_size=3))
def test_a_column_of_any_kind_never_raises(name: str, column: list[Any]) -> None:
    decoded = decode(changed(bars={name: column}), NAME)
    assert decoded is None or frame(decoded).height == 3


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_one_wrong_byte_never_raises(at: int, byte: int) -> None:
    body = bytearray(encode(value_of()))
    body[at % len(body)] = byte
    decoded = decode(bytes(body), NAME)
    assert decoded is None or (decoded.named == NAME and frame(decoded).height == 3)


@pytest.mark.parametrize("rev", [0, 7, 1042, 2**63 - 1])
def test_the_first_bytes_tell_the_rev(rev: int) -> None:
    body = encode(value_of(rev=rev))
    assert rev_of(body[:REV_BYTES]) == rev


@pytest.mark.parametrize("head", [b"", b'{"v":2,"rev":7,', b'{"v":1,"rev":', b'{"v":1,"rev":7'])
def test_other_first_bytes_tell_none(head: bytes) -> None:
    assert rev_of(head) is None


def test_a_missing_column_is_refused() -> None:
    with pytest.raises(KeyError):
        encode(replace(value_of(), columns={"date": []}))
