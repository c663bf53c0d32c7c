"""Made-up prices: a daily bar from its ordinal alone, and the hourly bars that add up to it.

Prices are of two decimals, of four in one bar of ten. The hourly bars of a session begin at the
daily open, end at the daily close, touch its high and its low, and their volumes sum up to its
volume.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collector.simulator.bars import Bars
from collector.simulator.chance import Floats, Ints, share, uniform, walk
from collector.simulator.timetable import Sessions

STEP = 0.008  # of the finest wave: a daily close moves by about 1 %
GROWTH = 0.04 / 365  # a day, in the logarithm
REFERENCE = 737_425  # ordinal of 2020-01-01, where a ticker costs about its anchor
DRAWS = 8
FINE = 0.1  # share of the bars that have four decimals
ODD_LOTS = 0.01  # share of the sessions with fractional hourly volumes (FMP.md, section 4)
U_SHAPE = np.array([2.2, 1.2, 0.9, 0.8, 0.8, 1.1, 2.0])  # a session trades most at its ends


def daily(name: str, sessions: Sessions) -> Bars:
    """The complete daily bars of ``sessions``."""
    at = sessions.ordinals
    level = _level(name, np.concatenate(([sessions.before], at)))
    fine, gap, rise, fall, *spread = _draws(name, at)
    start, end = level[:-1] * (1.0 + (gap - 0.5) * 0.012), level[1:]
    top = np.maximum(start, end) * (1.0 + 0.015 * rise)
    bottom = np.minimum(start, end) * (1.0 - 0.015 * fall)
    # Rounding keeps the order of two prices, so that the bar stays one.
    opens, highs, lows, closes = _rounded(np.stack((start, top, bottom, end)), fine < FINE)
    return Bars(sessions.labels, opens, highs, lows, closes, _volume(name, spread))


def hourly(name: str, sessions: Sessions) -> Bars:
    """The complete hourly bars of ``sessions``; the last one of a session ends with it."""
    width = int(sessions.hours.max(initial=2))
    column = np.arange(width)
    valid = column < sessions.hours[:, None]
    grid = _Grid(name, daily(name, sessions), sessions, column)
    opens, closes = grid.ends()
    highs, lows = grid.extremes(opens, closes)
    values = [part[valid] for part in (opens, highs, lows, closes, grid.volumes(valid))]
    return Bars(hour_labels(sessions), *values)


def hour_labels(sessions: Sessions) -> list[str]:
    """``2024-01-02 09:30:00`` and so on, one text a bar."""
    rows = zip(sessions.labels, sessions.opening, sessions.hours.tolist(), strict=True)
    return [
        f"{label} {opening // 60 + hour:02d}:{opening % 60:02d}:00"
        for label, opening, hours in rows
        for hour in range(hours)
    ]


class _Grid:
    """Hourly values as a table: one row a session, one column an hour."""

    def __init__(self, name: str, days: Bars, sessions: Sessions, column: Ints) -> None:
        self._name = name
        self._column = column
        self._hours = sessions.hours[:, None]
        self._at = sessions.ordinals[:, None] * 8 + column  # at most seven hours a session
        self._fine = (_draws(name, sessions.ordinals)[0] < FINE)[:, None]
        self._days = days
        self._open, self._high = days.open[:, None], days.high[:, None]
        self._low, self._close = days.low[:, None], days.close[:, None]

    def ends(self) -> tuple[Floats, Floats]:
        """From the day's open to its close by way of chance, each bar from where the last ended."""
        way = (self._column + 1) / self._hours
        swing = (self._chance("swing") - 0.5) * 0.7 * (self._high - self._low)
        path = self._open + (self._close - self._open) * way + swing
        closes = _rounded(np.clip(path, self._low, self._high), self._fine)
        closes = np.where(self._column == self._hours - 1, self._close, closes)
        return np.concatenate((self._open, closes[:, :-1]), axis=1), closes

    def extremes(self, opens: Floats, closes: Floats) -> tuple[Floats, Floats]:
        """Highs and lows within the day's; one hour touches each."""
        top, bottom = np.maximum(opens, closes), np.minimum(opens, closes)
        highs = _rounded(top + (self._high - top) * 0.5 * self._chance("top"), self._fine)
        lows = _rounded(bottom - (bottom - self._low) * 0.5 * self._chance("bottom"), self._fine)
        highs = np.where(self._column == self._hour_of("peak"), self._high, highs)
        return highs, np.where(self._column == self._hour_of("trough"), self._low, lows)

    def volumes(self, valid: NDArray[np.bool_]) -> Floats:
        """The day's volume, spread over its hours; in a few sessions with fractions."""
        weights = U_SHAPE[self._column] * (0.7 + 0.6 * self._chance("weight")) * valid
        reached = np.cumsum(weights, axis=1)
        total = self._days.volume[:, None]
        shares = np.diff(np.rint(reached / reached[:, -1:] * total), axis=1, prepend=0.0)
        odd = np.where(uniform(self._name, "odd", self._at[:, 0]) < ODD_LOTS, 0.25, 0.0)
        shares[:, 0] += odd
        shares[:, 1] -= odd
        return shares

    def _chance(self, purpose: str) -> Floats:
        return uniform(self._name, purpose, self._at)

    def _hour_of(self, purpose: str) -> Floats:
        return np.floor(uniform(self._name, purpose, self._at[:, :1]) * self._hours)


def _level(name: str, at: Ints) -> Floats:
    """The unrounded price: 15 to 400 about 2020, growing slowly, with a walk upon it."""
    anchor = 15.0 * (400.0 / 15.0) ** share(name, "anchor")
    prices: Floats = anchor * np.exp(GROWTH * (at - REFERENCE) + STEP * walk(name, "price", at))
    return prices


def _volume(name: str, spread: list[Floats]) -> Floats:
    usual = 200_000.0 * 400.0 ** share(name, "volume")
    # A few even chances added are near enough to a normal one, and exact on every machine.
    volumes: Floats = np.rint(usual * (0.2 + 0.1 * np.square(sum(spread[1:], spread[0]))))
    return volumes


def _draws(name: str, at: Ints) -> Floats:
    """Eight chances a day, one a row: the first says whether the bar is a fine one."""
    return uniform(name, "day", at * DRAWS + np.arange(DRAWS)[:, None])


def _rounded(values: Floats, fine: NDArray[np.bool_]) -> Floats:
    return np.where(fine, values.round(4), values.round(2))
