"""The report, the summary, and what goes to which stream."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import jsonschema
import pytest

from tests.acceptance.program import MORNING, Result, World

KINDS = [
    *("rate_limited", "quota", "auth", "plan", "not_found", "server", "network", "timeout", "tls"),
    *("bad_body", "too_large", "schema", "bad_rows", "mismatch", "db_unavailable", "db_rejected"),
    "cancelled",
]
OUTCOMES = ["stored", "unchanged", "empty", "rejected", "failed", "not_attempted"]


def counts(*names: str) -> dict[str, Any]:
    """An object of exactly these members, each a count."""
    return exactly({name: {"type": "integer", "minimum": 0} for name in names})


def exactly(members: dict[str, Any]) -> dict[str, Any]:
    """An object with these members and no other."""
    return {
        "type": "object",
        "properties": members,
        "required": list(members),
        "additionalProperties": False,
    }


INSTANT = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"}
PROBLEM = exactly(
    {
        "ticker": {"type": "string", "minLength": 1},
        "outcome": {"enum": OUTCOMES[3:]},
        "kind": {"enum": KINDS},
        "message": {"type": "string", "minLength": 1},
    }
)
REPORT = exactly(
    {
        "run": {"type": "string", "minLength": 1},
        "timeframe": {"enum": ["1h", "1d", "1wk"]},
        "status": {"enum": ["ok", "partial", "failed", "interrupted", "skipped"]},
        "started_at": INSTANT,
        "finished_at": INSTANT,
        "seconds": {"type": "number", "minimum": 0},
        "tickers": counts("asked", *OUTCOMES),
        "rows": counts("fetched", "inserted", "revised", "rejected"),
        "api": counts("calls", "retries", "throttled", "bytes"),
        "cache": counts("published", "failed", "round_trips", "bytes"),
        "problems": {"type": "array", "items": PROBLEM},
    }
)


@pytest.fixture(scope="module")
def mixed(scene: World) -> Result:
    """A run with two good tickers and one that FMP does not know."""
    words = ["run", "--timeframe", "1d", "--tickers", "AAPL,MSFT,ZZZZ1", "--json"]
    return scene.run(*words, at=MORNING, code=3)


def test_the_report_has_the_members_of_the_contract_and_no_other(mixed: Result) -> None:
    jsonschema.validate(mixed.json, REPORT)


def test_the_report_keeps_the_order_of_the_contract(mixed: Result) -> None:
    assert list(mixed.json) == list(REPORT["properties"])
    assert list(mixed.json["tickers"]) == ["asked", *OUTCOMES]


def test_stdout_is_exactly_one_json_document(mixed: Result) -> None:
    assert mixed.out.count("\n") == 1
    assert mixed.out.endswith("\n")
    assert json.loads(mixed.out)["timeframe"] == "1d"


def test_outcomes_sum_up_to_the_tickers_asked_for(mixed: Result) -> None:
    tickers = mixed.json["tickers"]
    assert tickers["asked"] == 3 == sum(tickers[name] for name in OUTCOMES)
    assert (tickers["stored"], tickers["failed"]) == (2, 1)
    assert mixed.json["status"] == "partial"


def test_an_unknown_ticker_is_named_with_its_kind(mixed: Result) -> None:
    (problem,) = mixed.json["problems"]
    assert (problem["ticker"], problem["outcome"]) == ("ZZZZ1", "failed")
    assert problem["kind"] == "not_found"


def test_rows_are_those_of_the_database(mixed: Result, scene: World) -> None:
    stored = scene.value("SELECT count(*) FROM daily_prices WHERE ticker <> 'KO'")
    rows = mixed.json["rows"]
    assert rows == {"fetched": stored, "inserted": stored, "revised": 0, "rejected": 0}
    assert stored > 5000


def test_calls_are_those_that_reached_the_server(scene: World, mixed: Result) -> None:
    scene.calls()
    report = scene.report("run", "--timeframe", "1d", "--tickers", "KO,ZZZZ2", at=MORNING)
    calls = scene.calls()
    assert report["api"]["calls"] == len(calls) == 2
    assert report["api"]["retries"] == report["api"]["throttled"] == 0
    assert mixed.json["api"]["calls"] == 3


def test_the_report_lasts_from_start_to_finish(mixed: Result) -> None:
    report = mixed.json
    start, finish = (datetime.fromisoformat(report[f"{at}_at"]) for at in ("started", "finished"))
    assert 0 <= (start - MORNING).total_seconds() < 30
    assert report["seconds"] == pytest.approx((finish - start).total_seconds(), abs=0.002)


def test_logs_go_to_stderr(mixed: Result) -> None:
    assert "AAPL: Stored " in mixed.err
    assert "ZZZZ1" in mixed.err
    assert "{" not in mixed.err


def test_without_json_a_person_reads_a_summary(scene: World, mixed: Result) -> None:
    words = ["run", "--timeframe", "1d", "--tickers", "AAPL,MSFT,ZZZZ1"]
    told = scene.run(*words, at=MORNING, code=3)
    assert mixed.json["tickers"]["stored"] == 2
    assert "2 unchanged" in told.out
    assert "1 failed" in told.out
    assert "ZZZZ1" in told.out
    assert "not_found" in told.out
    assert "{" not in told.out
