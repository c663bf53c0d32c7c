"""What the tests of the market are built from: instants, calendars and frames."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
from hypothesis import settings

from collector.market.bars import schema
from collector.market.sessions import Calendar, calendar
from collector.market.timeframe import Timeframe

FIXTURES = Path(__file__).parent.parent / "fixtures"
NEW_YORK = ZoneInfo("America/New_York")
AT = datetime(2026, 11, 24, 11, tzinfo=UTC)  # Tuesday 06:00 in New York

QUIET = settings(deadline=None, database=None)  # calendars open slowly; no file is left behind

GOOD = (10.0, 11.0, 9.0, 10.5, 1000.0)
Row = tuple[date | None, float | None, float | None, float | None, float | None, float | None]


def xnys() -> Calendar:
    """The New York Stock Exchange up to 2027."""
    return calendar("XNYS", AT)


def utc(text: str) -> datetime:
    """An instant in UTC from ISO text."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def new_york(text: str) -> datetime:
    """An instant in UTC from ISO text on New York's wall clock."""
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).astimezone(UTC)


def frame(timeframe: Timeframe, rows: Sequence[Row]) -> pl.DataFrame:
    """Rows as a decoder hands them on."""
    return pl.DataFrame(rows, schema=schema(timeframe), orient="row")


def days(*rows: Row) -> pl.DataFrame:
    """Daily rows as a decoder hands them on."""
    return frame(Timeframe.DAY, rows)


def hours(*instants: datetime) -> pl.DataFrame:
    """Good hourly rows at ``instants``."""
    return frame(Timeframe.HOUR, [(at, *GOOD) for at in instants])
