"""What the tests compare with, made without the program: rows of tables, weeks by pandas, files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl

from collector.simulator.history import GeneratedBars
from tests.acceptance.program import MORNING, World

COLUMNS = ["open", "high", "low", "close", "volume"]
RULES = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
Row = tuple[Any, ...]


def stored(world: World, table: str, ticker: str, schema: str = "public") -> list[Row]:
    """The rows of a ticker, oldest first: instant, then the five values."""
    instant = "ts" if table == "hourly_prices" else "date"
    sql = f"SELECT {instant}, {', '.join(COLUMNS)} FROM {schema}.{table} WHERE ticker = $1"  # noqa: S608 - names of ours
    return [tuple(row.values()) for row in world.rows(f"{sql} ORDER BY 1", ticker)]


def weeks_of(daily: Iterable[Row], before: date) -> list[Row]:
    """The weeks that begin before ``before``, by pandas, which shares no code with polars."""
    table = pd.DataFrame(list(daily), columns=["date", *COLUMNS])
    table["date"] = pd.to_datetime(table["date"])
    made = table.resample("W-MON", on="date", label="left", closed="left").agg(RULES).dropna()
    rows = [(label.date(), *values) for label, *values in made.itertuples()]
    return [row for row in rows if row[0] < before]


def made_up(ticker: str, first: date, last: date) -> pl.DataFrame:
    """Daily bars for a file that the simulator replays."""
    bars = GeneratedBars().daily(ticker, first, last, MORNING)
    values = {name: getattr(bars, name) for name in COLUMNS}
    dates = [date.fromisoformat(label) for label in bars.labels]
    return pl.DataFrame({"symbol": [ticker] * len(dates), "date": dates, **values})


def rows_of(frame: pl.DataFrame) -> list[Row]:
    """A file's rows as `stored` gives them."""
    return frame.sort("date").select("date", *COLUMNS).rows()


def written(path: Path, frames: Sequence[pl.DataFrame]) -> Path:
    """The frames as one file for a replay."""
    pl.concat(frames).write_parquet(path)
    return path
