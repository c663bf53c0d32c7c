"""What a history holds: bars as columns, oldest first, and splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bars:
    """Bars of one ticker, oldest first; NaN is a value that is missing.

    ``labels`` are what FMP writes as ``date``: ``2024-01-02``, or the opening of an hourly bar on
    the exchange's clock, ``2024-01-02 15:30:00``.
    """

    labels: Sequence[str]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __len__(self) -> int:
        return len(self.labels)

    def newest(self, rows: int) -> Bars:
        """The last ``rows`` bars."""
        return self if len(self) <= rows else self._slice(slice(len(self) - rows, None))

    def oldest(self, rows: int) -> Bars:
        """The first ``rows`` bars."""
        return self._slice(slice(0, rows))

    def then(self, later: Bars) -> Bars:
        """These bars, followed by ``later``."""
        joined = [
            np.concatenate(pair) for pair in zip(self._values(), later._values(), strict=True)
        ]
        return Bars([*self.labels, *later.labels], *joined)

    def as_one(self, label: str) -> Bars:
        """One bar over all of these, of which there is at least one."""
        values = (
            self.open[:1],
            self.high.max(),
            self.low.min(),
            self.close[-1:],
            self.volume.sum(),
        )
        return Bars([label], *(np.reshape(value, 1) for value in values))

    def _values(self) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        return self.open, self.high, self.low, self.close, self.volume

    def _slice(self, part: slice) -> Bars:
        return Bars(self.labels[part], *(column[part] for column in self._values()))


@dataclass(frozen=True)
class Split:
    """``numerator`` new shares for ``denominator`` old ones, in force from the open of ``day``."""

    day: date
    numerator: int
    denominator: int


def no_bars() -> Bars:
    """No bar at all."""
    nothing = np.empty(0)
    return Bars([], nothing, nothing, nothing, nothing, nothing)
