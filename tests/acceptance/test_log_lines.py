"""The wording that people grep for."""

from __future__ import annotations

import json
from datetime import date

import pytest

from tests.acceptance.bars import stored
from tests.acceptance.program import MORNING, Result, World, new_york

RUN = ["run", "--timeframe", "1d", "--tickers", "AAPL,MSFT"]


@pytest.fixture(scope="module")
def first(scene: World) -> Result:
    """A first run, at level debug."""
    return scene.run(*RUN, at=MORNING, COLLECTOR_LOG__LEVEL="debug")


def line_with(err: str, text: str) -> str:
    (line,) = [line for line in err.splitlines() if text in line]
    return line


def test_a_stored_ticker_is_told_at_info(scene: World, first: Result) -> None:
    rows = stored(scene, "daily_prices", "AAPL")
    count = sum(row[0] < date(2025, 3, 5) for row in rows)  # a later test may add a bar
    assert "INFO" in line_with(first.err, f"AAPL: Stored {count} daily records")


def test_a_cached_value_is_told_at_debug(first: Result) -> None:
    line = line_with(first.err, "AAPL: Cached 1d data (500 rows, TTL: 3600s)")
    assert "DEBUG" in line
    assert "DEBUG" in line_with(first.err, "MSFT: Cached 1wk data (500 rows, TTL: 7200s)")


def test_the_next_bar_is_one_record(scene: World, first: Result) -> None:
    assert first.code == 0
    result = scene.run(*RUN, at=new_york("2025-03-06 06:00"))
    assert "AAPL: Stored 1 daily records" in result.err
    assert "DEBUG" not in result.err


def test_a_value_that_cannot_be_cached_is_told_at_debug(scene: World, first: Result) -> None:
    assert first.code == 0
    result = scene.run(*RUN, at=MORNING, COLLECTOR_LOG__LEVEL="debug",
                       REDIS_URL="unix:///nowhere/redis.sock")  # fmt: skip
    line = line_with(result.err, "MSFT: Failed to cache daily data: ")
    assert "DEBUG" in line
    assert not line.endswith(": ")


def test_lines_of_single_tickers_can_be_turned_off(scene: World) -> None:
    result = scene.run("run", "--timeframe", "1d", "--tickers", "KO,ZZZZ1", at=MORNING, code=3,
                       COLLECTOR_LOG__PER_TICKER="false")  # fmt: skip
    assert "KO: Stored" not in result.err
    assert "ZZZZ1" in result.err  # a failure is told all the same


def test_every_line_can_be_json(scene: World) -> None:
    result = scene.run("run", "--timeframe", "1d", "--tickers", "PEP", "--json", at=MORNING,
                       COLLECTOR_LOG__FORMAT="json")  # fmt: skip
    lines = [json.loads(line) for line in result.err.splitlines()]
    (told,) = [line for line in lines if "PEP: Stored" in line["message"]]
    assert told["level"] == "info"
    assert result.json["tickers"]["stored"] == 1


def test_hourly_bars_are_hourly_records(scene: World) -> None:
    words = ["run", "--timeframe", "1h", "--tickers", "BA"]
    err = scene.run(*words, at=MORNING, COLLECTOR_LOG__LEVEL="debug").err
    assert " hourly records" in line_with(err, "BA: Stored")
    assert "BA: Cached 1h data (500 rows, TTL: 300s)" in err
