"""What an overlap tells: the stored bars beside the same bars fetched again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from collector.market.bars import PRICES

ROUNDING = 0.0051  # vendors round to cents, before and after they adjust
RELATIVE_ROUNDING = 2e-4  # and volumes and old prices to about five digits
SMALLEST_SPLIT = 0.005  # a smaller factor is a revision: no listed split or spin-off comes near


class Verdict(StrEnum):
    """How the vendor's bars of today differ from the stored ones."""

    UNCHANGED = "unchanged"
    REVISED = "revised"
    SPLIT = "split"


@dataclass(frozen=True)
class Overlap:
    """The verdict; ``factor`` is new price / stored price, 1 unless the verdict is a split."""

    verdict: Verdict
    factor: float = 1.0


def compare(stored: pl.DataFrame, fetched: pl.DataFrame, instant: str) -> Overlap:
    """Compare the bars that both bar frames hold; ``instant`` is the column that names a bar.

    A split shows as one factor over all prices of all common bars. A single common bar is enough,
    because its four prices must agree on the factor. No common bar tells nothing: unchanged.
    """
    common = stored.join(fetched, on=instant, how="inner", suffix="_new")
    changed = [
        name for name in (*PRICES, "volume") if not common[name].equals(common[name + "_new"])
    ]
    if not changed:
        return Overlap(Verdict.UNCHANGED)
    factor = _factor(common)
    return Overlap(Verdict.REVISED) if factor is None else Overlap(Verdict.SPLIT, factor)


def _factor(common: pl.DataFrame) -> float | None:
    """The one factor between all old and new prices, or None where there is none or it is 1."""
    old = pl.concat([common[name] for name in PRICES])
    new = pl.concat([common[name + "_new"].rename(name) for name in PRICES])
    factor = _total(new) / _total(old)
    if abs(factor - 1) < SMALLEST_SPLIT:
        return None
    slack = ROUNDING * (1 + factor) + RELATIVE_ROUNDING * new
    return factor if bool(((new - old * factor).abs() <= slack).all()) else None


def _total(prices: pl.Series) -> float:
    return float(prices.sum())
