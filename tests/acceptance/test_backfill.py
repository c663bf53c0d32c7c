"""All history of a ticker: by windows, newest first, resumed where it was stopped."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

from collector.simulator.app import SimulatorConfig
from collector.simulator.journal import Entry
from collector.simulator.plan import PLANS
from collector.simulator.script import Rule
from tests.acceptance.bars import stored, weeks_of
from tests.acceptance.program import MORNING, World, end, new_york, world_of
from tests.servers import PostgresServer, RedisServer, wait_until

BACKFILL = ["backfill", "AAPL", "--json"]
LATER = new_york("2025-03-05 06:30")
LISTED = date(1980, 12, 12)  # the simulator's first day of AAPL


def windows(calls: Sequence[Entry]) -> list[tuple[str, str]]:
    return [(entry.query["from"], entry.query["to"]) for entry in calls]


def test_all_history_comes_newest_first_and_a_second_backfill_makes_no_call(world: World) -> None:
    report = world.run(*BACKFILL, at=MORNING).json
    asked = windows(world.calls())
    daily = stored(world, "daily_prices", "AAPL")
    assert report["tickers"]["stored"] == 1
    assert report["rows"]["inserted"] == len(daily) > 11_000
    assert (daily[0][0], daily[-1][0]) == (LISTED, date(2025, 3, 4))
    assert 3 <= len(asked) <= 6
    assert all(newer[0] > older[1] for newer, older in pairwise(asked))
    assert stored(world, "weekly_prices", "AAPL") == weeks_of(daily, date(2025, 3, 3))
    again = world.run(*BACKFILL, at=MORNING).json
    assert again["tickers"]["unchanged"] == 1
    assert world.calls() == []
    run = world.report("run", "--timeframe", "1d", "--tickers", "AAPL", at=MORNING)
    assert run["tickers"]["unchanged"] == 1
    assert world.calls() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_backfill_that_was_stopped_goes_on_where_it_stood(
    world: World, number: signal.Signals
) -> None:
    assert world.server is not None
    world.server.script(Rule(symbol="AAPL", call=3, delay_s=25))
    process = world.start(*BACKFILL, at=MORNING)
    try:
        first_two = "SELECT coalesce(min(date) < '2001-01-01', false) FROM daily_prices"
        wait_until(lambda: len(world.server_log()) == 3, "the third window is asked for")
        if number == signal.SIGKILL:
            wait_until(lambda: world.value(first_two), "the second window is stored", step_s=0.3)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    finally:
        end(process)
    before = windows(world.calls())
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number), err
    assert (out == "") == (number == signal.SIGKILL)
    assert stored(world, "daily_prices", "AAPL")[0][0] < date(2001, 1, 1)
    world.server.script()
    world.run(*BACKFILL, at=LATER)
    after = windows(world.calls())
    assert stored(world, "daily_prices", "AAPL")[0][0] == LISTED
    assert not set(after) & set(before[:2])
    assert all(newer[0] > older[1] for newer, older in pairwise([*before[:2], *after]))
    statuses = world.rows("SELECT status FROM runs ORDER BY started_at")
    assert [row["status"] for row in statuses] == ["interrupted", "ok"]


def test_since_and_until_bound_what_is_fetched(world: World) -> None:
    words = ["backfill", "KO", "--since", "2020-01-06", "--until", "2020-12-31", "--json"]
    report = world.run(*words, at=MORNING).json
    daily = stored(world, "daily_prices", "KO")
    assert (daily[0][0], daily[-1][0]) == (date(2020, 1, 6), date(2020, 12, 31))
    assert report["api"]["calls"] == len(world.calls()) == 1
    assert (
        "--until"
        in world.run("backfill", "KO", "--since", "2021-01-01", "--until", "2020-01-01", code=2).err
    )
    later = world.report("run", "--timeframe", "1d", "--tickers", "KO", at=LATER)
    daily = stored(world, "daily_prices", "KO")
    assert later["tickers"]["stored"] == 1
    assert daily[-1][0] == date(2025, 3, 4)
    assert len(daily) == pytest.approx(5.16 * 252, abs=12)  # no hole between


def test_several_tickers_and_one_that_is_unknown(world: World) -> None:
    words = ["backfill", "MSFT", "ko", "ZZZZ1", "--since", "2019-01-01", "--json"]
    report = world.run(*words, at=MORNING, code=3).json
    assert report["tickers"]["asked"] == 3
    assert report["tickers"]["stored"] == 2
    assert [(p["ticker"], p["kind"]) for p in report["problems"]] == [("ZZZZ1", "not_found")]
    assert report["cache"]["published"] == 4
    assert "scanner:price:MSFT:1d:500" in world.keys()  # noqa: SIM118


def test_a_backfill_after_a_run_asks_only_for_what_is_older(world: World) -> None:
    world.run("run", "--timeframe", "1d", "--tickers", "AAPL", at=MORNING)
    world.calls()
    world.run(*BACKFILL, at=LATER)
    asked = windows(world.calls())
    assert max(until for _, until in asked) < "2014-03-10"
    assert stored(world, "daily_prices", "AAPL")[0][0] == LISTED


def test_hourly_history_comes_by_windows_of_at_most_ninety_days(world: World) -> None:
    words = ["backfill", "AAPL", "--timeframe", "1h", "--since", "2024-03-04", "--json"]
    report = world.run(*words, at=MORNING).json
    spans = [
        (date.fromisoformat(until) - date.fromisoformat(since)).days
        for since, until in windows(world.calls())
    ]
    assert max(spans) < 90
    assert len(spans) <= 6
    bars = stored(world, "hourly_prices", "AAPL")
    assert report["rows"]["inserted"] == len(bars)
    assert bars[0][0].date() == date(2024, 3, 4)
    assert len(bars) > 250 * 6.8


@pytest.fixture
def starter(
    tmp_path: Path, postgres_server: PostgresServer, redis_server: RedisServer
) -> Iterator[World]:
    """A world whose plan reaches five years back."""
    config = SimulatorConfig(plan=PLANS["starter"])
    with world_of(tmp_path / "world", postgres_server, redis_server, config) as world:
        yield world


def test_a_plan_of_five_years_is_fallen_back_to_and_told(starter: World) -> None:
    words = ["run", "--timeframe", "1d", "--tickers", "AAPL,MSFT,KO", "--json"]
    result = starter.run(*words, at=MORNING)
    calls = starter.calls()
    assert result.json["tickers"]["stored"] == 3
    assert "does not reach back" in result.err
    assert [entry.status for entry in calls].count(402) <= 3
    for ticker in ("AAPL", "MSFT", "KO"):
        daily = stored(starter, "daily_prices", ticker)
        assert date(2020, 3, 4) <= daily[0][0] <= date(2020, 3, 16)
        assert daily[-1][0] == date(2025, 3, 4)
    next_day = starter.report(*words[:-1], at=new_york("2025-03-06 06:00"))
    assert next_day["rows"]["inserted"] == len(starter.calls()) == 3


def test_a_backfill_beyond_the_plan_ends_where_the_plan_ends(starter: World) -> None:
    result = starter.run("backfill", "AAPL", "--json", at=MORNING)
    assert result.json["tickers"]["stored"] == 1
    assert "does not reach back" in result.err
    assert stored(starter, "daily_prices", "AAPL")[0][0] >= date(2020, 3, 4)
    assert len(starter.calls()) <= 8
