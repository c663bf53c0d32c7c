"""Unchanged, revised and split, told apart on real vintages and on made ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.market.overlap import Overlap, Verdict, compare
from collector.market.timeframe import Timeframe
from tests.market.build import FIXTURES, QUIET, days, hours, xnys

PRICES = ["open", "high", "low", "close"]
UNCHANGED, REVISED = Overlap(Verdict.UNCHANGED), Overlap(Verdict.REVISED)


def series(count: int = 6, price: float = 100.0, seed: int = 1) -> pl.DataFrame:
    """Daily bars around ``price``, printed to the cent."""
    dice = np.random.default_rng(seed)
    low = np.round(price * dice.uniform(0.95, 1.0, count), 2)
    steps = np.round(price * dice.uniform(0.005, 0.02, (count, 3)), 2)
    table = zip(low, low + steps[:, 0], low + steps[:, 1], steps.sum(axis=1), strict=True)
    sessions = xnys().dates[-500:][:count]
    return days(
        *[
            (day, float(one), float(least + total), float(least), float(other), 1000.0 * (n + 1))
            for n, (day, (least, one, other, total)) in enumerate(zip(sessions, table, strict=True))
        ]
    )


def scaled(bars: pl.DataFrame, factor: float, digits: int = 2, volume: bool = True) -> pl.DataFrame:
    """The bars as a vendor prints them after a split."""
    return bars.with_columns(
        pl.col(PRICES).mul(factor).round(digits),
        (pl.col("volume") / factor).round() if volume else pl.col("volume"),
    )


def changed(bars: pl.DataFrame, row: int, **values: float) -> pl.DataFrame:
    """The bars with some values of one row changed."""
    here = pl.int_range(pl.len()) == row % bars.height
    return bars.with_columns(
        pl.when(here).then(pl.lit(value)).otherwise(name).alias(name)
        for name, value in values.items()
    )


def one_by(
    bars: pl.DataFrame, factor: float, volume: bool = False
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One bar before and after a factor."""
    return bars[:1], scaled(bars[:1], factor, volume=volume)


def vintage(name: str, ticker: str) -> pl.DataFrame:
    """Real bars of the summer of 2017 or so, as one vendor once served them."""
    table = pl.read_parquet(FIXTURES / "vintage_slice.parquet")
    return table.filter(vintage=name, ticker=ticker).drop("vintage", "ticker").sort("date")


@pytest.mark.parametrize(
    ("ticker", "old", "new", "factor"),
    [
        ("ISRG", "google", "kaggle", 1 / 3),
        ("ISRG", "google", "yahoo", 1 / 3),
        ("HSIC", "google", "kaggle", 1 / 2),
        ("HSIC", "google", "yahoo", 1 / 2),
        ("LEN", "google", "kaggle", 0.9804),  # a stock dividend of one in fifty
        ("DISCK", "google", "kaggle", 2),
        ("XRX", "yahoo", "kaggle", 1.518),  # spin-offs, booked as splits by one vendor
        ("BAX", "google", "yahoo", 0.5432),
        ("YUM", "google", "yahoo", 0.7189),
    ],
)
def test_real_splits_between_two_vintages_are_found(
    ticker: str, old: str, new: str, factor: float
) -> None:
    found = compare(vintage(old, ticker), vintage(new, ticker), "date")
    assert found.verdict is Verdict.SPLIT
    assert found.factor == pytest.approx(factor, rel=1e-3)


@pytest.mark.parametrize(
    ("ticker", "old", "new"),
    [
        ("A", "google", "kaggle"),
        ("A", "yahoo", "kaggle"),
        ("ISRG", "yahoo", "kaggle"),
        ("YUM", "google", "kaggle"),
    ],
)
def test_real_revisions_and_other_printing_are_no_split(ticker: str, old: str, new: str) -> None:
    assert compare(vintage(old, ticker), vintage(new, ticker), "date") == REVISED


@pytest.mark.parametrize(
    "factor",
    [1 / 2, 1 / 3, 2 / 3, 1 / 20, 8, 1 / 8, 1000 / 1239, 500 / 511, 16877 / 10000, 50, 1000],
)
@pytest.mark.parametrize("price", [1.2, 35.0, 2500.0])
def test_a_split_of_any_ratio_is_found(factor: float, price: float) -> None:
    stored = series(price=price)
    found = compare(stored, scaled(stored, factor, digits=4), "date")
    assert found.verdict is Verdict.SPLIT
    assert found.factor == pytest.approx(factor, rel=2e-3)


def test_rounding_to_cents_hides_no_split_of_a_cheap_share() -> None:
    stored = series(price=1.23)
    found = compare(stored, scaled(stored, 1 / 8), "date")
    assert found.verdict is Verdict.SPLIT
    assert found.factor == pytest.approx(1 / 8, rel=0.05)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda bars: bars, UNCHANGED),
        (lambda bars: scaled(bars, 1 + 1e-12, digits=15), UNCHANGED),
        (lambda bars: changed(bars, -1, close=99.99), REVISED),
        (lambda bars: changed(bars, -1, volume=7.0), REVISED),
        (lambda bars: changed(bars, 0, high=250.0), REVISED),
        (lambda bars: scaled(bars, 1.002), REVISED),
        (lambda bars: bars.with_columns(pl.col(PRICES) + 10), REVISED),
        (lambda bars: pl.concat([bars[:3], scaled(bars[3:], 1.1)]), REVISED),
    ],
    ids=["same", "noise", "close", "volume", "print", "small", "shift", "young"],
)
def test_what_is_no_split_is_told_from_what_is_unchanged(
    change: Callable[[pl.DataFrame], pl.DataFrame], why: Overlap
) -> None:
    stored = series()
    assert compare(stored, change(stored), "date") == why


def test_a_penny_share_that_moves_by_a_cent_is_revised() -> None:
    stored = series(price=0.5)
    dearer = stored.with_columns(pl.col(PRICES) + 0.01)
    assert compare(stored, dearer, "date") == REVISED


def test_a_split_is_found_beside_a_revised_bar() -> None:
    stored = series()
    for row in (0, 2, -1):
        fetched = changed(scaled(stored, 0.5), row, high=70.0)
        assert compare(stored, fetched, "date").factor == pytest.approx(0.5, rel=1e-3)


def test_bars_stored_after_the_split_may_stand() -> None:
    stored = series()
    late = pl.concat([scaled(stored[:4], 0.25), stored[4:]])
    assert compare(stored, late, "date").factor == pytest.approx(0.25, rel=1e-3)


def test_of_two_splits_the_oldest_bars_tell_both() -> None:
    stored = series()
    twice = pl.concat([scaled(stored[:3], 0.1, 4), scaled(stored[3:5], 0.5, 4), stored[5:]])
    assert compare(stored, twice, "date").factor == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize(
    ("pair", "verdict"),
    [
        (one_by(series(), 1.01), Verdict.REVISED),
        (one_by(series(), 1.02, volume=True), Verdict.SPLIT),
        (one_by(series(), 0.5), Verdict.SPLIT),
        (one_by(changed(series(), 0, volume=0.0), 1.02), Verdict.REVISED),
    ],
    ids=["small", "with volume", "large", "no volume"],
)
def test_one_bar_alone_needs_better_evidence(
    pair: tuple[pl.DataFrame, pl.DataFrame], verdict: Verdict
) -> None:
    assert compare(*pair, "date").verdict is verdict


def test_without_a_common_bar_nothing_is_told() -> None:
    stored = series()
    assert compare(stored[:3], stored[3:], "date") == UNCHANGED
    assert compare(stored[:0], stored, "date") == UNCHANGED


def test_absurd_prices_make_no_factor_and_no_warning() -> None:
    stored = days((date(2026, 11, 20), 1e308, 1e308, 1e308, 1e308, 1.0))
    fetched = stored.with_columns(pl.col(PRICES) / 2)
    assert compare(stored, fetched, "date") == REVISED


def test_hourly_bars_are_compared_by_their_instants() -> None:
    stored = hours(*xnys().hours_of(date(2026, 11, 20)))
    assert compare(stored, scaled(stored, 0.5)[2:], Timeframe.HOUR.instant).factor == 0.5


@QUIET
@given(
    seed=st.integers(0, 2**31),
    price=st.floats(5, 5000),
    ratio=st.sampled_from([(1, 2), (1, 3), (3, 2), (1, 10), (8, 1), (20, 1)]),
    order=st.permutations(range(6)),
)
def test_a_made_split_is_found_whatever_the_prices(
    seed: int, price: float, ratio: tuple[int, int], order: Sequence[int]
) -> None:
    stored = series(price=price, seed=seed)
    factor = ratio[0] / ratio[1]
    found = compare(stored, scaled(stored, factor)[list(order)], "date")
    assert found.verdict is Verdict.SPLIT
    assert found.factor == pytest.approx(factor, rel=0.01)
