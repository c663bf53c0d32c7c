"""Weekly bars from daily ones. A week starts on Monday and is named by it."""

from __future__ import annotations

import sys
from datetime import date

import polars as pl

LARGEST = sys.float_info.max  # volumes that are absurd, but finite, stay finite


def weeks(daily: pl.DataFrame, last_closed_week: date) -> pl.DataFrame:
    """Derive the closed weeks of ``daily``, a bar frame with a ``ticker`` column before it.

    Returns the same columns, ``date`` being the Monday, sorted by ticker and date: first open,
    highest high, lowest low, last close, summed volume. Weeks after ``last_closed_week``, a
    Monday, are left out. Give whole weeks: a week is made of the days it finds.
    """
    return (
        daily.sort("ticker", "date")
        .group_by("ticker", pl.col("date").dt.truncate("1w"), maintain_order=True)
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").sum().clip(upper_bound=LARGEST),
        )
        .filter(pl.col("date") <= last_closed_week)
    )
