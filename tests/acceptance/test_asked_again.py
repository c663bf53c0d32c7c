"""Bars that are late, calls that fail, and the timeframes beside the daily one."""

from __future__ import annotations

from datetime import date, timedelta

from collector.simulator.script import Rule
from tests.acceptance.bars import stored
from tests.acceptance.days import step
from tests.acceptance.program import World


def test_only_closed_bars_are_stored_during_a_session(scene: World) -> None:
    noon = step(scene, "2025-03-10 12:00", "run", "--timeframe", "1d", "--tickers", "HD")
    assert noon.counts == {"stored": 1}
    assert stored(scene, "daily_prices", "HD")[-1][0] == date(2025, 3, 7)
    assert noon.report["rows"]["rejected"] == 0


def test_an_answer_that_lacked_the_newest_bar_is_asked_again_after_an_hour(scene: World) -> None:
    assert scene.server is not None
    words = ["run", "--timeframe", "1d", "--tickers", "KO"]
    scene.server.behind = timedelta(days=1)
    try:
        assert step(scene, "2025-03-05 06:00", *words).counts == {"stored": 1}
        assert stored(scene, "daily_prices", "KO")[-1][0] == date(2025, 3, 3)
        assert step(scene, "2025-03-05 06:45", *words).calls == []
        assert len(step(scene, "2025-03-05 07:05", *words).calls) == 1
    finally:
        scene.server.behind = timedelta()
    late = step(scene, "2025-03-05 08:10", *words)
    assert len(late.calls) == 1
    assert late.report["rows"]["inserted"] == 1


def test_a_ticker_that_failed_is_asked_by_the_next_run_and_no_other(scene: World) -> None:
    assert scene.server is not None
    words = ["run", "--timeframe", "1d", "--tickers", "PEP,JPM"]
    scene.server.script(Rule(symbol="PEP", status=500, body="oops"))
    first = step(scene, "2025-03-05 06:00", *words, COLLECTOR_FMP__ATTEMPTS="1")
    scene.server.script()
    assert first.counts == {"stored": 1, "failed": 1}
    second = step(scene, "2025-03-05 06:01", *words)
    assert [entry.query["symbol"] for entry in second.calls] == ["PEP"]
    assert second.counts == {"stored": 1, "unchanged": 1}


def test_a_ticker_that_has_history_and_fails_is_asked_by_the_next_run_too(scene: World) -> None:
    assert scene.server is not None
    words = ["run", "--timeframe", "1d", "--tickers", "IBM"]
    step(scene, "2025-03-05 06:00", *words)
    scene.server.script(Rule(symbol="IBM", status=503, body="busy"))
    assert step(scene, "2025-03-06 06:00", *words, COLLECTOR_FMP__ATTEMPTS="1").counts == {
        "failed": 1
    }
    (state,) = scene.rows("SELECT * FROM ticker_state WHERE ticker='IBM' AND timeframe='1d'")
    scene.server.script()
    assert step(scene, "2025-03-06 06:01", *words).report["rows"]["inserted"] == 1
    assert state["failures"] == 1
    assert state["last_error"]


def test_an_empty_answer_for_a_known_ticker_is_no_failure(scene: World) -> None:
    assert scene.server is not None
    words = ["run", "--timeframe", "1d", "--tickers", "GE"]
    step(scene, "2025-03-05 06:00", *words)
    scene.server.script(Rule(symbol="GE", body="[]"))
    assert step(scene, "2025-03-06 06:00", *words).counts == {"empty": 1}
    assert step(scene, "2025-03-06 06:30", *words).calls == []
    scene.server.script()
    assert step(scene, "2025-03-06 07:05", *words).counts == {"stored": 1}


def test_a_first_hourly_run_brings_500_bars_in_two_calls_a_ticker(scene: World) -> None:
    words = ["run", "--timeframe", "1h", "--tickers", "AAPL,MSFT"]
    first = step(scene, "2025-03-05 11:35", *words)
    assert len(first.calls) == 4
    assert {entry.path for entry in first.calls} == {"/stable/historical-chart/1hour"}
    assert all(len(stored(scene, "hourly_prices", name)) >= 500 for name in ("AAPL", "MSFT"))
    assert step(scene, "2025-03-05 12:20", *words).calls == []
    later = step(scene, "2025-03-05 12:35", *words)
    assert len(later.calls) == 2
    assert later.report["rows"]["inserted"] == 2


def test_a_weekly_run_closes_the_week_and_publishes_days_and_weeks(scene: World) -> None:
    words = ["run", "--timeframe", "1wk", "--tickers", "CAT"]
    report = step(scene, "2025-03-07 16:15", *words).report
    assert report["timeframe"] == "1wk"
    assert stored(scene, "weekly_prices", "CAT")[-1][0] == date(2025, 3, 3)
    assert stored(scene, "daily_prices", "CAT")[-1][0] == date(2025, 3, 7)
    assert report["cache"]["published"] == 2
    keys = scene.keys()
    assert {"scanner:price:CAT:1wk:500", "scanner:price:CAT:1d:500", "scanner:run:1wk"} <= set(keys)
