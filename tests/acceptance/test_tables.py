"""The tables that users write SQL against."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import asyncpg
import pytest

from tests.acceptance.bars import stored, weeks_of
from tests.acceptance.program import MORNING, World, new_york

FLOATS = dict.fromkeys(("open", "high", "low", "close", "volume"), "double precision")
DAILY = {"ticker": "text", "date": "date", **FLOATS}
HOURLY = {"ticker": "text", "ts": "timestamp with time zone", **FLOATS}
TABLES = {"daily_prices": DAILY, "weekly_prices": DAILY, "hourly_prices": HOURLY}
OTHERS = {
    "tickers": {"ticker", "active", "added_at", "timeframes"},
    "ticker_state": {"ticker", "timeframe", "asked_through", "rev"},
    "requests": {"ticker"},
    "runs": {"run", "timeframe", "status", "started_at", "finished_at", "report"},
    "run_items": {"run", "ticker", "outcome", "kind", "message"},
    "api_usage": {"calls", "bytes", "refusals"},
    "price_revisions": {"ticker", "timeframe", "bar", "run", "reason"},
}
GOOD = {"open": "10", "high": "11", "low": "9", "close": "10", "volume": "5"}
BAD = [
    {"open": "'NaN'"},
    {"high": "'Infinity'"},
    {"low": "0"},
    {"low": "-1"},
    {"low": "10.5"},
    {"high": "9.5"},
    {"open": "11.5"},
    {"close": "8.5"},
    {"volume": "-1"},
    {"volume": "'NaN'"},
    {"volume": "'Infinity'"},
    {"close": "NULL"},
]


@pytest.fixture(scope="module")
def done(scene: World) -> dict[str, Any]:
    """The report of a run of two good tickers and an unknown one."""
    words = ["run", "--timeframe", "1d", "--tickers", "AAPL,MSFT,ZZZZ1"]
    return scene.report(*words, at=MORNING)


def columns(world: World, table: str) -> dict[str, str]:
    rows = world.rows(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = $1 ORDER BY ordinal_position",
        table,
    )
    return {row["column_name"]: row["data_type"] for row in rows}


@pytest.mark.parametrize("table", TABLES)
def test_a_price_table_has_exactly_the_columns_of_the_contract(
    scene: World, done: dict[str, Any], table: str
) -> None:
    assert done["timeframe"] == "1d"
    found = columns(scene, table)
    assert found == TABLES[table]
    assert list(found) == list(TABLES[table])


@pytest.mark.parametrize("table", TABLES)
def test_the_primary_key_covers_the_values(scene: World, done: dict[str, Any], table: str) -> None:
    assert done["status"] == "partial"
    instant = "ts" if table == "hourly_prices" else "date"
    definition = scene.value(
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index"
        " WHERE indrelid = $1::text::regclass AND indisprimary",
        table,
    )
    assert f"(ticker, {instant}) INCLUDE (open, high, low, close, volume)" in definition


@pytest.mark.parametrize("table", OTHERS)
def test_the_other_tables_are_there(scene: World, done: dict[str, Any], table: str) -> None:
    assert done["run"]
    assert set(columns(scene, table)) >= OTHERS[table]


@pytest.mark.parametrize("table", TABLES)
def test_what_is_not_a_bar_is_kept_out(scene: World, done: dict[str, Any], table: str) -> None:
    assert done["run"]
    for wrong in BAD:
        values = ", ".join((GOOD | wrong).values())
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            scene.rows(f"INSERT INTO {table} VALUES ('X', '2024-01-01', {values})")  # noqa: S608
    good = ", ".join(GOOD.values())
    scene.rows(f"INSERT INTO {table} VALUES ('X', '2024-01-01', {good})")  # noqa: S608
    assert scene.value(f"SELECT count(*) FROM {table} WHERE ticker = 'X'") == 1  # noqa: S608


@pytest.mark.parametrize("ticker", ["AAPL", "MSFT"])
def test_weeks_are_the_closed_weeks_of_the_daily_bars(
    scene: World, done: dict[str, Any], ticker: str
) -> None:
    assert done["tickers"]["stored"] == 2
    weekly = stored(scene, "weekly_prices", ticker)
    assert weekly == weeks_of(stored(scene, "daily_prices", ticker), date(2025, 3, 3))
    assert weekly[-1][0] == date(2025, 2, 24)
    assert len(weekly) > 500
    assert {row[0].weekday() for row in weekly} == {0}


def test_the_first_run_brings_eleven_years(scene: World, done: dict[str, Any]) -> None:
    assert done["tickers"]["stored"] == 2
    daily = stored(scene, "daily_prices", "AAPL")
    assert date(2014, 2, 24) <= daily[0][0] <= date(2014, 3, 4)
    assert daily[-1][0] == date(2025, 3, 4)
    assert len(daily) == pytest.approx(11 * 251.6, abs=12)


def test_a_run_has_a_row_with_its_report(scene: World, done: dict[str, Any]) -> None:
    (row,) = scene.rows("SELECT * FROM runs WHERE run = $1", done["run"])
    assert (row["timeframe"], row["status"]) == ("1d", "partial")
    assert row["started_at"] >= MORNING
    assert row["finished_at"] >= row["started_at"]
    same = {name: value for name, value in done.items() if name not in ("finished_at", "seconds")}
    assert {name: row["report"][name] for name in same} == same


def test_every_ticker_of_a_run_has_one_item(scene: World, done: dict[str, Any]) -> None:
    rows = scene.rows("SELECT * FROM run_items WHERE run = $1 ORDER BY ticker", done["run"])
    outcomes = [(row["ticker"], row["outcome"], row["kind"]) for row in rows]
    assert outcomes == [
        ("AAPL", "stored", None),
        ("MSFT", "stored", None),
        ("ZZZZ1", "failed", "not_found"),
    ]
    assert rows[2]["message"]


def test_the_state_knows_first_and_last_bar_and_what_was_asked(
    scene: World, done: dict[str, Any]
) -> None:
    assert done["run"]
    rows = scene.rows("SELECT * FROM ticker_state WHERE ticker = 'AAPL' ORDER BY timeframe")
    day, week = rows
    assert [row["timeframe"] for row in rows] == ["1d", "1wk"]
    assert day["last_bar"] == day["asked_through"] == datetime(2025, 3, 4)  # noqa: DTZ001
    assert week["last_bar"] == datetime(2025, 2, 24)  # noqa: DTZ001
    assert day["first_bar"].date() == stored(scene, "daily_prices", "AAPL")[0][0]
    assert day["rev"] >= 1
    assert day["last_success_at"] >= MORNING
    assert (day["last_error"], day["failures"]) == (None, 0)


def test_what_the_calls_cost_is_kept_by_day(scene: World, done: dict[str, Any]) -> None:
    (row,) = scene.rows("SELECT * FROM api_usage")
    assert row["day"] == date(2025, 3, 5)
    assert row["calls"] == done["api"]["calls"] == 3
    assert row["bytes"] == done["api"]["bytes"] > 100_000


def test_hourly_bars_have_their_opening_instant_and_are_closed(scene: World) -> None:
    at = new_york("2025-03-05 14:40")
    report = scene.report("run", "--timeframe", "1h", "--tickers", "KO", at=at,
                          COLLECTOR_POSTGRES__SCHEMA="hours")  # fmt: skip
    bars = stored(scene, "hourly_prices", "KO", "hours")
    assert report["rows"]["inserted"] == len(bars) >= 500
    assert report["api"]["calls"] == 2
    assert bars[-1][0] == datetime(2025, 3, 5, 18, 30, tzinfo=UTC)  # 13:30, closed at 14:30
    assert {row[0].minute for row in bars} == {30}
    assert len(scene.calls()) >= 2
