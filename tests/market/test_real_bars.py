"""Five years of real bars with their real defects, and the weeks made of them."""

from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from collector.market.bars import VALUES, check, schema
from collector.market.timeframe import Timeframe
from collector.market.weekly import weeks
from tests.market.build import AT, FIXTURES, GOOD, days, xnys

WHOLE = Path(__file__).parents[3] / "shared/data/daily/sp500_kaggle_2018-02-09.parquet"
DEFECTS = {
    "BBY": {"outside_low_high": 1},
    "CHK": {"outside_low_high": 1},
    "DHR": {"missing_value": 2, "outside_low_high": 1},
    "FTV": {"missing_value": 1},
    "LNT": {"outside_low_high": 1},
    "O": {"missing_value": 2, "outside_low_high": 2},
    "SPG": {"outside_low_high": 1},
    "UA": {"missing_value": 1, "outside_low_high": 1},
}


@cache
def bars(path: Path = FIXTURES / "kaggle_slice.parquet") -> dict[str, pl.DataFrame]:
    """The rows of each ticker, as a decoder hands them on."""
    table = pl.read_parquet(path)
    name = table.columns[0]
    parts = table.partition_by(name, as_dict=True)
    return {
        str(key[0]): part.select(*schema(Timeframe.DAY)).cast({"volume": pl.Float64})
        for key, part in parts.items()
    }


@pytest.mark.parametrize("ticker", sorted(DEFECTS))
def test_real_defects_are_rejected_with_their_reasons(ticker: str) -> None:
    rows = bars()[ticker]
    result = check(rows, Timeframe.DAY, xnys(), AT)
    assert result.rejected == DEFECTS[ticker]
    assert result.frame.height == rows.height - sum(DEFECTS[ticker].values())
    assert not result.untrustworthy


def test_a_clean_series_is_kept_whole_and_in_order() -> None:
    rows = bars()["ACN"]
    assert check(rows.reverse(), Timeframe.DAY, xnys(), AT).frame.equals(rows.sort("date"))


@pytest.mark.skipif(not WHOLE.exists(), reason="../shared/data is not here")
def test_the_whole_file_has_no_other_defect() -> None:
    found = {
        ticker: result.rejected
        for ticker, rows in bars(WHOLE).items()
        if (result := check(rows, Timeframe.DAY, xnys(), AT)).rejected
    }
    assert found == DEFECTS


def resampled(rows: pl.DataFrame) -> list[tuple[object, ...]]:
    """Weeks by pandas, which shares no code with polars."""
    table = pd.DataFrame(rows.to_dict(as_series=False))
    table["date"] = pd.to_datetime(table["date"])
    rules = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    made = table.resample("W-MON", on="date", label="left", closed="left").agg(rules).dropna()
    return [(label.date(), *values) for label, *values in made.itertuples()]


def with_ticker(rows: pl.DataFrame, ticker: str = "T") -> pl.DataFrame:
    """A bar frame with the ticker before it."""
    return rows.select(pl.lit(ticker).alias("ticker"), pl.all())


@pytest.mark.parametrize("ticker", ["ACN", "DHR", "UA"])
def test_weeks_equal_a_resampling_by_pandas(ticker: str) -> None:
    rows = check(bars()[ticker], Timeframe.DAY, xnys(), AT).frame
    made = weeks(with_ticker(rows, ticker), date(2018, 1, 1))
    assert [row[1:] for row in made.iter_rows()] == resampled(rows)
    assert set(made["ticker"]) == {ticker}
    assert made.columns == ["ticker", "date", *VALUES]


def test_weeks_that_are_not_closed_are_left_out() -> None:
    rows = with_ticker(days(*[(date(2026, 11, day), *GOOD) for day in (20, 19, 23, 24)]))
    assert weeks(rows, date(2026, 11, 16))["date"].to_list() == [date(2026, 11, 16)]
    assert weeks(rows, date(2026, 11, 9)).is_empty()


def test_weeks_of_several_tickers_do_not_mix_and_are_sorted() -> None:
    parts = [
        with_ticker(days((date(1969, 12, day), *GOOD)), name) for name in "BA" for day in (29, 30)
    ]
    made = weeks(pl.concat(parts), date(2000, 1, 3))
    assert made.select("ticker", "date", "volume").rows() == [
        ("A", date(1969, 12, 29), 2000.0),
        ("B", date(1969, 12, 29), 2000.0),
    ]


def test_an_absurd_volume_stays_finite_over_the_week() -> None:
    rows = [(date(2026, 11, day), 10, 11, 9, 10, 1.5e308) for day in (16, 17)]
    made = weeks(with_ticker(days(*rows)), date(2026, 11, 16))
    assert made["volume"].is_finite().all()
