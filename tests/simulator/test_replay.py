"""A replay serves what the file holds, nulls and all, up to the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import orjson
import polars as pl
import pytest

from collector.simulator.call import Call
from collector.simulator.endpoints import eod_full
from collector.simulator.history import ReplayedBars
from tests.simulator.wire import SLICE

MORNING = datetime(
    2018, 2, 8, 11, 0, tzinfo=UTC
)  # 06:00 in New York, after the file's last session
FULL = "stable/historical-price-eod/full"


@pytest.fixture(scope="module")
def replay() -> ReplayedBars:
    """Return the replayed slice."""
    return ReplayedBars(SLICE)


def rows_of(replay: ReplayedBars, symbol: str, at: datetime = MORNING) -> list[dict[str, object]]:
    """Return what ``full`` answers for five years of ``symbol``."""
    call = Call(FULL, {"symbol": symbol, "from": "2013-01-01"})
    rows: list[dict[str, object]] = orjson.loads(eod_full(call, replay, at))
    return rows


@pytest.mark.parametrize("symbol", ["AAL", "DHR", "FTV", "O", "UA"])
def test_rows_equal_the_file(replay: ReplayedBars, symbol: str) -> None:
    columns = ["symbol", "date", "open", "high", "low", "close", "volume"]
    expected = (
        pl.read_parquet(SLICE).filter(pl.col("symbol") == symbol).sort("date", descending=True)
    )
    served = [{name: row[name] for name in columns} for row in rows_of(replay, symbol)]
    wanted = expected.with_columns(pl.col("date").cast(pl.String)).select(columns).to_dicts()
    assert served == wanted
    assert len(served) >= 80


def test_missing_values_are_null_and_so_is_what_derives_from_them(replay: ReplayedBars) -> None:
    bad = next(row for row in rows_of(replay, "DHR") if row["date"] == "2016-01-12")
    assert bad == {
        "symbol": "DHR",
        "date": "2016-01-12",
        "open": None,
        "high": None,
        "low": None,
        "close": 88.55,
        "volume": 0,
        "change": None,
        "changePercent": None,
        "vwap": None,
    }


def test_every_defective_row_is_kept(replay: ReplayedBars) -> None:
    nulls = [
        row
        for name in ("DHR", "FTV", "O", "UA")
        for row in rows_of(replay, name)
        if row["open"] is None
    ]
    assert len(nulls) == 6


@pytest.mark.parametrize(
    ("at", "newest"),
    [
        (datetime(2018, 2, 7, 20, 59, tzinfo=UTC), "2018-02-06"),
        (datetime(2018, 2, 7, 21, 0, tzinfo=UTC), "2018-02-07"),
        (datetime(2016, 5, 14, 12, 0, tzinfo=UTC), "2016-05-13"),
    ],
)
def test_nothing_later_than_the_last_close_is_served(
    replay: ReplayedBars, at: datetime, newest: str
) -> None:
    assert rows_of(replay, "O", at)[0]["date"] == newest


def test_edition_moves_with_each_close(replay: ReplayedBars) -> None:
    running, closed = datetime(2018, 2, 7, 18, tzinfo=UTC), datetime(2018, 2, 7, 21, tzinfo=UTC)
    assert replay.edition(running) != replay.edition(closed)
    assert replay.edition(running) == replay.edition(datetime(2018, 2, 7, 20, tzinfo=UTC))


def test_symbol_outside_the_file_has_nothing(replay: ReplayedBars) -> None:
    assert rows_of(replay, "MSFT") == []
    assert rows_of(replay, "ZZZZ") == []


def test_there_are_neither_hours_nor_splits(replay: ReplayedBars) -> None:
    assert not replay.hourly("O", date(2018, 1, 1), date(2018, 2, 7), MORNING).labels
    assert replay.splits("O", MORNING) == []


def test_companies_are_those_of_the_file(replay: ReplayedBars) -> None:
    assert [symbol for symbol, _ in replay.companies()] == ["AAL", "DHR", "FTV", "O", "UA"]


def test_open_of_zero_is_served_without_a_percentage(tmp_path: Path) -> None:
    path = tmp_path / "zero.parquet"
    prices = {"open": [0.0], "high": [1.0], "low": [0.0], "close": [1.0], "volume": [5]}
    pl.DataFrame({"symbol": ["O"], "date": [date(2018, 2, 7)], **prices}).write_parquet(path)
    row = rows_of(ReplayedBars(path), "O")[0]
    assert row["changePercent"] is None
    assert row["vwap"] == 0.5


def test_file_without_a_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.parquet"
    pl.DataFrame({"symbol": ["O"], "date": [date(2018, 2, 7)]}).write_parquet(path)
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        ReplayedBars(path)
