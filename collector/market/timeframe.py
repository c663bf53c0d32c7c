"""The three timeframes, and what the outside calls them."""

from __future__ import annotations

from enum import StrEnum


class Timeframe(StrEnum):
    """The period of a bar."""

    HOUR = "1h"
    DAY = "1d"
    WEEK = "1wk"

    @property
    def adjective(self) -> str:
        """``hourly``, ``daily`` or ``weekly``, as in table names and log lines."""
        return {"1h": "hourly", "1d": "daily", "1wk": "weekly"}[self]

    @property
    def instant(self) -> str:
        """The column that names a bar: ``ts``, its opening, or ``date``, of a week the Monday."""
        return "ts" if self is Timeframe.HOUR else "date"

    @property
    def fetched_as(self) -> Timeframe:
        """The timeframe that FMP is asked for: weekly bars are derived from daily ones."""
        return Timeframe.DAY if self is Timeframe.WEEK else self

    @property
    def published(self) -> tuple[Timeframe, ...]:
        """The timeframes that a run of this one publishes: daily bars bring their weeks along."""
        return (Timeframe.HOUR,) if self is Timeframe.HOUR else (Timeframe.DAY, Timeframe.WEEK)
