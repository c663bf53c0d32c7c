"""Bars that the vendor changes after they were stored: single ones, and whole histories."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from collector.simulator.app import SimulatorConfig
from collector.simulator.history import ReplayedBars
from tests.acceptance.bars import made_up, rows_of, stored, weeks_of, written
from tests.acceptance.program import World, new_york, simulator

FIRST, REVISED = date(2023, 1, 3), date(2025, 2, 28)
PRICES = ["open", "high", "low", "close"]
RUN = ["run", "--timeframe", "1d", "--tickers", "AAPL,MSFT"]
Versions = dict[str, pl.DataFrame]


def made(ticker: str, last: date) -> pl.DataFrame:
    """The bars of a ticker up to ``last``."""
    return made_up(ticker, FIRST, last)


def revised(frame: pl.DataFrame) -> pl.DataFrame:
    """The same with another close and volume on one day."""
    there = pl.col("date") == REVISED
    return frame.with_columns(
        pl.when(there).then(pl.col("high")).otherwise(pl.col("close")).alias("close"),
        pl.when(there).then(pl.col("volume") + 1000).otherwise(pl.col("volume")).alias("volume"),
    )


def split(frame: pl.DataFrame, by: int) -> pl.DataFrame:
    """The same as adjusted for a split of ``by`` new shares for one."""
    return frame.with_columns((pl.col(PRICES) / by).round(4), pl.col("volume") * by)


@pytest.fixture(scope="module")
def versions() -> Versions:
    """What the vendor knows on three mornings: AAPL is revised, then split; MSFT stays."""
    msft = [made("MSFT", date(2025, 3, day)) for day in (4, 4)]
    return {
        "first": pl.concat([made("AAPL", date(2025, 3, 3)), msft[0]]),
        "revised": pl.concat([revised(made("AAPL", date(2025, 3, 4))), msft[0]]),
        "split": pl.concat([split(revised(made("AAPL", date(2025, 3, 4))), 4), msft[1]]),
    }


@contextmanager
def replayed(frame: pl.DataFrame, path: Path) -> Iterator[str]:
    """Lend the address of a simulator that serves ``frame``."""
    config = SimulatorConfig(history=ReplayedBars(written(path, [frame])))
    with simulator(config, new_york("2025-03-06 06:00")) as server:
        yield server.base_url


def of(frame: pl.DataFrame, ticker: str) -> list[tuple[Any, ...]]:
    return rows_of(frame.filter(pl.col("symbol") == ticker))


@pytest.fixture(scope="module")
def reports(
    scene: World, versions: Versions, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """The reports of three runs, one per version, with what the tables held after each."""
    found = {}
    for name, at in (("first", "04 06:00"), ("revised", "05 06:00"), ("split", "06 06:00")):
        path = tmp_path_factory.mktemp("replay") / "bars.parquet"
        with replayed(versions[name], path) as base_url:
            instant = new_york(f"2025-03-{at}")
            report = scene.report(*RUN, at=instant, FMP_BASE_URL=base_url)
        report["daily"] = stored(scene, "daily_prices", "AAPL")
        report["weekly"] = stored(scene, "weekly_prices", "AAPL")
        report["rev"] = scene.value(
            "SELECT rev FROM ticker_state WHERE ticker = 'AAPL' AND timeframe = '1d'"
        )
        report["value"] = scene.cached("scanner:price:AAPL:1d:500")
        found[name] = report
    return found


def revisions(world: World, run: str) -> list[dict[str, Any]]:
    """What ``price_revisions`` says of a run's daily bars."""
    return world.rows(
        "SELECT * FROM price_revisions WHERE run = $1 AND timeframe = '1d' ORDER BY bar", run
    )


def test_a_revised_bar_is_stored_and_counted(
    reports: dict[str, dict[str, Any]], versions: Versions
) -> None:
    report = reports["revised"]
    assert report["rows"]["revised"] == 1
    assert report["daily"] == of(versions["revised"], "AAPL")


def test_a_revision_keeps_old_and_new_values_run_and_reason(
    scene: World, reports: dict[str, dict[str, Any]], versions: Versions
) -> None:
    (row,) = revisions(scene, reports["revised"]["run"])
    assert (row["ticker"], row["reason"]) == ("AAPL", "revised")
    assert row["bar"] == datetime(2025, 2, 28)  # noqa: DTZ001 - a column without zone
    for prefix, name in (("old", "first"), ("new", "revised")):
        (values,) = [bar for bar in of(versions[name], "AAPL") if bar[0] == REVISED]
        told = [row[f"{prefix}_{column}"] for column in (*PRICES, "volume")]
        assert told == list(values[1:])


def test_the_week_of_a_revised_bar_is_derived_again(
    reports: dict[str, dict[str, Any]], versions: Versions
) -> None:
    expected = weeks_of(of(versions["revised"], "AAPL"), date(2025, 3, 3))
    assert reports["revised"]["weekly"] == expected != reports["first"]["weekly"]


def test_a_split_fetches_the_whole_history_again(
    reports: dict[str, dict[str, Any]], versions: Versions
) -> None:
    report = reports["split"]
    assert report["daily"] == of(versions["split"], "AAPL")
    assert report["weekly"] == weeks_of(of(versions["split"], "AAPL"), date(2025, 3, 3))
    assert report["rows"]["revised"] >= 500
    assert report["api"]["calls"] == 3  # the two overlaps, and one history


def test_a_split_is_told_with_its_factor(scene: World, reports: dict[str, dict[str, Any]]) -> None:
    rows = revisions(scene, reports["split"]["run"])
    assert rows
    assert {(row["ticker"], row["reason"]) for row in rows} == {("AAPL", "split")}
    assert rows[-1]["factor"] == pytest.approx(0.25, rel=1e-3)
    assert rows[-1]["new_close"] == pytest.approx(rows[-1]["old_close"] / 4, abs=1e-3)


def test_rev_grows_with_every_change_and_is_published(reports: dict[str, dict[str, Any]]) -> None:
    revs = [reports[name]["rev"] for name in ("first", "revised", "split")]
    assert revs == sorted(set(revs))
    assert [reports[name]["value"]["rev"] for name in reports] == revs


def test_after_a_split_the_cache_holds_adjusted_prices(
    reports: dict[str, dict[str, Any]], versions: Versions
) -> None:
    closes = [row[4] for row in of(versions["split"], "AAPL")][-500:]
    assert reports["split"]["value"]["bars"]["close"] == closes


def test_a_ticker_beside_them_is_not_touched(scene: World, reports: dict[str, Any]) -> None:
    assert reports["split"]["tickers"]["unchanged"] + reports["split"]["tickers"]["empty"] == 1
    count = scene.value("SELECT count(*) FROM price_revisions WHERE ticker = 'MSFT'")
    assert count == 0
