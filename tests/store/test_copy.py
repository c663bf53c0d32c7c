"""The binary encoder against asyncpg's own: the same rows arrive."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import asyncpg
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.market.bars import VALUES, schema
from collector.market.timeframe import Timeframe
from collector.store import copy
from collector.store.copy import HEADER, TRAILER, columns, encode
from collector.store.prices import statement
from tests.store.build import bars

TABLES = """
CREATE TABLE {prices} (ticker text, {instant} {type}, open float8, high float8, low float8,
                       close float8, volume float8);
CREATE TABLE theirs_{prices} (LIKE {prices});
"""
TAKE = "WITH gone AS (DELETE FROM {prices} RETURNING *) SELECT gone::text FROM gone ORDER BY 1"
MOMENT = {
    Timeframe.DAY: st.dates(date(1, 1, 1), date(9999, 12, 31)),
    Timeframe.HOUR: st.datetimes(
        datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)  # noqa: DTZ001
    ),
}  # fmt: skip
TICKER: dict[str, pl.DataType] = {"ticker": pl.String()}
NAMES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=30)
FLOATS = st.floats(allow_nan=False) | st.sampled_from([0.1 + 0.2, 5e-324, -0.0, 1.7e308])


def frames(timeframe: Timeframe) -> st.SearchStrategy[pl.DataFrame]:
    """Build any frame of the right types: tickers of any length in any order."""
    row = st.tuples(NAMES, MOMENT[timeframe], *([FLOATS] * len(VALUES)))
    types = TICKER | schema(timeframe)
    return st.lists(row, max_size=30).map(lambda rows: pl.DataFrame(rows, types, orient="row"))


@pytest.mark.parametrize("timeframe", [Timeframe.DAY, Timeframe.HOUR])
async def test_any_frame_arrives_as_asyncpg_would_send_it(
    pg_dsn: str, timeframe: Timeframe
) -> None:
    connection = await asyncpg.connect(pg_dsn)
    kind = "date" if timeframe is Timeframe.DAY else "timestamptz"
    await connection.execute(statement(TABLES, timeframe).replace("{type}", kind))
    (ours, theirs) = (statement(name, timeframe) for name in ("{prices}", "theirs_{prices}"))

    async def arrives(frame: pl.DataFrame) -> None:
        await connection.copy_to_table(
            ours, source=memoryview(encode(frame, timeframe)), columns=columns(timeframe),
            format="binary",
        )  # fmt: skip
        await connection.copy_records_to_table(theirs, records=frame.rows())
        one, two = [await connection.fetch(TAKE.format(prices=name)) for name in (ours, theirs)]
        assert one == two
        assert len(one) == frame.height

    @settings(max_examples=60, deadline=None)
    @given(frames(timeframe))
    def collected(frame: pl.DataFrame) -> None:
        examples.append(frame)

    examples: list[pl.DataFrame] = []
    collected()
    for frame in examples:
        await arrives(frame)
    await connection.close()


def test_an_empty_frame_is_a_header_and_a_trailer() -> None:
    nothing = bars("A", days=0).frame.insert_column(0, pl.Series("ticker", [], pl.String()))
    assert encode(nothing, Timeframe.DAY) == HEADER + TRAILER


def test_a_row_is_what_the_manual_says() -> None:
    frame = bars("BRK-B", days=1, first=date(2000, 1, 2)).frame
    row = encode(frame.insert_column(0, pl.Series("ticker", ["BRK-B"])), Timeframe.DAY)
    body = row.removeprefix(HEADER).removesuffix(TRAILER)
    assert body[:2] == (7).to_bytes(2, "big")
    assert body[2:11] == b"\0\0\0\x05BRK-B"
    assert body[11:19] == b"\0\0\0\x04" + (1).to_bytes(4, "big")  # a day after 2000-01-01
    assert len(body) == 19 + len(VALUES) * 12


def test_a_frame_of_many_chunks_is_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = bars("A", days=10).frame.insert_column(0, pl.Series("ticker", ["AB"] * 4 + ["C"] * 6))
    whole = encode(frame, Timeframe.DAY)
    monkeypatch.setattr(copy, "CHUNK_ROWS", 3)
    assert encode(frame, Timeframe.DAY) == whole


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frames(Timeframe.HOUR))
def test_the_size_is_known_beforehand(frame: pl.DataFrame) -> None:
    names = sum(len(name.encode()) for name in frame.get_column("ticker"))
    row = 2 + 4 + 12 + len(VALUES) * 12
    assert len(encode(frame, Timeframe.HOUR)) == len(HEADER) + names + frame.height * row + 2


def test_an_instant_keeps_its_microseconds_and_may_be_long_ago() -> None:
    instant = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    frame = pl.DataFrame(
        {"ticker": ["A"], "ts": [instant]} | {name: [1.0] for name in VALUES},
        schema=TICKER | schema(Timeframe.HOUR),
    )
    body = encode(frame, Timeframe.HOUR).removeprefix(HEADER)
    passed = int.from_bytes(body[11:19], "big", signed=True)
    assert datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=passed) == instant
