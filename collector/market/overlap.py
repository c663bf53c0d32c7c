"""What an overlap tells: the stored bars beside the same bars fetched again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import polars as pl
from numpy.typing import NDArray

from collector.market.bars import VALUES

ROUNDING = 0.0051  # vendors round to cents, before and after they adjust
RELATIVE_ROUNDING = 2e-4  # and volumes and old prices to about five digits
NOISE = 1e-9  # relative: what a sum of floats may differ by, and no vendor's revision
SMALLEST_SPLIT = 0.005  # a smaller factor is a revision: no listed split or spin-off comes near
SURE_ALONE = 0.05  # a factor this far from 1 is believed of one bar; no vendor corrects so much
SAME_VOLUME = 1e-3  # relative: a volume that was adjusted with the prices

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


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

    A split has moved the oldest common bars, all prices of a bar by one factor, and at least two
    bars by the same. Younger bars may stand (they were stored after the split, or between two
    splits) or be revised besides. One bar alone is believed if the factor is large or its volume
    moved the other way. A change within the rounding to cents is a revision, and a change of the
    volume alone too. No common bar tells nothing: unchanged.
    """
    old, new = _common(stored, fetched, instant)
    if (np.abs(new - old) <= NOISE * np.abs(old)).all():
        return Overlap(Verdict.UNCHANGED)
    with np.errstate(all="ignore"):  # absurd prices make an infinite sum, which is no factor
        factor = _factor(old, new)
    return Overlap(Verdict.REVISED) if factor is None else Overlap(Verdict.SPLIT, factor)


def _common(stored: pl.DataFrame, fetched: pl.DataFrame, instant: str) -> tuple[Floats, Floats]:
    """The values of the bars that both frames hold, oldest first: one row a bar."""
    instants = stored[instant].to_numpy(), fetched[instant].to_numpy()
    _, here, there = np.intersect1d(*instants, assume_unique=True, return_indices=True)
    return _values(stored)[here], _values(fetched)[there]


def _values(frame: pl.DataFrame) -> Floats:
    return np.column_stack([frame[name].to_numpy() for name in VALUES])


def _factor(old: Floats, new: Floats) -> float | None:
    """The factor between the oldest old and new prices; None where there is none or it is 1."""
    moved = ~_scaled(old, new, np.ones(len(old)))
    reach = len(moved) if moved.all() else int(np.argmin(moved))
    old, new = old[:reach], new[:reach]
    each = _ratio(old, new)
    steady = _scaled(old, new, each) & (np.abs(each - 1) >= SMALLEST_SPLIT)
    if not steady.any():
        return None
    first = each[np.argmax(steady)]
    alike = steady & _scaled(old, new, np.full(len(old), first), ease=2)
    factor = float(new[alike, :4].sum() / old[alike, :4].sum())
    return factor if alike.sum() > 1 or _sure_alone(old[alike][0], new[alike][0]) else None


def _ratio(old: Floats, new: Floats) -> Floats:
    ratio: Floats = new[:, :4].sum(axis=1) / old[:, :4].sum(axis=1)
    return ratio


def _scaled(old: Floats, new: Floats, factor: Floats, ease: float = 1) -> Mask:
    """Which bars' four prices are the old ones by ``factor`` (one a bar), but for rounding."""
    before, after, by = old[:, :4], new[:, :4], factor[:, np.newaxis]
    slack = ROUNDING * (1 + by) + RELATIVE_ROUNDING * after
    within: Mask = np.abs(after - before * by) <= ease * slack
    scaled: Mask = np.logical_and.reduce(within, axis=1)
    return scaled


def _sure_alone(old: Floats, new: Floats) -> bool:
    factor = new[:4].sum() / old[:4].sum()
    volumes = np.array([old[4], new[4]]) * (1, factor)
    inverse = bool(np.ptp(volumes) <= SAME_VOLUME * volumes[0] and old[4] > 0)
    return inverse or bool(abs(factor - 1) >= SURE_ALONE)
