"""What FMP answers: a bad answer fails its ticker and no other, a refusal stops the calls."""

from __future__ import annotations

import json

import pytest

from collector.simulator.refusals import BAD_KEY, PATH_NOT_IN_PLAN, SYMBOL_NOT_IN_PLAN
from collector.simulator.script import Rule
from tests.faults.conftest import ASKED, FaultFree
from tests.faults.program import Program
from tests.faults.tables import Tables
from tests.faults.vendor import LAST, Fmp
from tests.servers import wait_until

SOME = ASKED[:150]
WORKERS = 8


def row(symbol: str, **changes: object) -> dict[str, object]:
    """A row as FMP sends it."""
    good = {"open": 10.0, "high": 11.0, "low": 9.0, "close": 10.5, "volume": 100}
    return {"symbol": symbol, "date": LAST.isoformat(), **good, **changes}


def body(*rows: dict[str, object]) -> str:
    """The body of an answer."""
    return json.dumps(rows)


# What becomes of the ticker: its outcome and kind, and how the simulator brings it about.
BAD: dict[str, tuple[str, str, dict[str, object]]] = {
    "500 again and again": ("failed", "server", {"status": 500, "body": "oops"}),
    "503 again and again": ("failed", "server", {"status": 503, "body": ""}),
    "404": ("failed", "not_found", {"status": 404, "body": "[]"}),
    "HTML": (
        "failed",
        "bad_body",
        {"body": "<html>maintenance</html>", "content_type": "text/html"},
    ),
    "truncated": ("failed", "bad_body", {"truncate_to": 300}),
    "garbage": ("failed", "bad_body", {"body": "\x00\x01 no json {["}),
    "dropped": ("failed", "network", {"close": True}),
    "another symbol": ("failed", "mismatch", {"body": body(row("OTHER"))}),
    "not in the plan": (
        "failed",
        "plan",
        {"status": 402, "body": SYMBOL_NOT_IN_PLAN.body.decode()},
    ),
    "nothing": ("failed", "not_found", {"body": "[]"}),
    "an error with 200": ("failed", "server", {"body": '{"Error Message": "Oh no"}'}),
    "no prices": (
        "failed",
        "schema",
        {"body": json.dumps([{"symbol": "?", "date": "2018-02-09"}])},
    ),
    "one bad row": ("rejected", "bad_rows", {"body": "", "bad_rows": 1}),
}


def rule(name: str, symbol: str) -> Rule:
    """The simulator's part in the fault ``name`` of ``symbol``."""
    change = dict(BAD[name][2])
    if change.pop("bad_rows", None):
        change["body"] = body(row(symbol, low=-1.0))
    return Rule(symbol=symbol, **change)  # type: ignore[arg-type]


def test_bad_answers_fail_their_tickers_and_no_other(
    program: Program, tables: Tables, fmp: Fmp, fault_free: FaultFree
) -> None:
    ill = dict(zip(BAD, SOME[3::11], strict=False))
    assert len(ill) == len(BAD)
    fmp.script(*(rule(name, symbol) for name, symbol in ill.items()))
    ended = program.run(SOME)
    assert (ended.code, ended.report["status"]) == (3, "partial")
    found = {name: ended.problems[symbol] for name, symbol in ill.items()}
    outcome_of_one_row = found["one bad row"]
    assert outcome_of_one_row[0] in ("rejected", "failed")
    expected = {name: (outcome, kind) for name, (outcome, kind, _) in BAD.items()}
    assert found | {"one bad row": None} == expected | {"one bad row": None}
    assert set(ended.problems) == set(ill.values())
    good = {name: fault_free.sum_by_ticker[name] for name in SOME if name not in ill.values()}
    assert tables.sum_by_ticker() == good
    fmp.script()
    again = program.run(SOME)
    assert again.code == 0
    assert tables.sum_by_ticker() == {name: fault_free.sum_by_ticker[name] for name in SOME}


def test_bad_answers_destroy_no_stored_row(program: Program, tables: Tables, fmp: Fmp) -> None:
    few = SOME[: len(BAD)]
    assert program.run(few).code == 0
    stored = tables.sum_by_ticker()
    fmp.script(*(rule(name, symbol) for name, symbol in zip(BAD, few, strict=True)))
    ended = program.run(few, "--force")
    assert ended.code in (3, 4)
    assert ended.report["tickers"]["empty"] == 1  # the ticker of "[]" has history
    assert tables.sum_by_ticker() == stored


SUSPENDED = '{"Error Message": "Your account has been suspended"}'
BANDWIDTH = '{"Error Message": "Bandwidth Limit Reach . Please upgrade your plan"}'
REFUSALS = {
    "401": (Rule(status=401, body=BAD_KEY.body.decode()), "auth"),
    "403 suspended": (Rule(status=403, body=SUSPENDED), "auth"),
    "429 bandwidth": (Rule(status=429, body=BANDWIDTH), "quota"),
    "402 restricted": (Rule(status=402, body=PATH_NOT_IN_PLAN.body.decode()), "plan"),
}


@pytest.mark.parametrize("name", list(REFUSALS))
def test_a_refusal_in_the_middle_of_a_run_stops_the_calls(
    name: str, program: Program, tables: Tables, fmp: Fmp, fault_free: FaultFree
) -> None:
    refusal, kind = REFUSALS[name]
    with program.start_run(SOME, fmp__concurrency=str(WORKERS)) as process:
        wait_until(lambda: fmp.calls >= 50, "calls")
        fmp.script(refusal)
        ended = process.end()
    refused = [entry for entry in fmp.entries() if entry.status == refusal.status]
    assert 1 <= len(refused) <= WORKERS + 3
    answered = {entry.query["symbol"] for entry in fmp.entries() if entry.status == 200}
    assert (ended.code, ended.report["status"]) == (5, "partial")
    assert set(ended.acknowledged) == answered
    same = fault_free.sum_by_ticker
    assert tables.sum_by_ticker() == {symbol: same[symbol] for symbol in answered}
    called = {entry.query["symbol"] for entry in refused}
    assert {ended.problems[symbol] for symbol in called} == {("failed", kind)}
    rest = set(SOME) - answered - called
    assert {ended.problems[symbol] for symbol in rest} == {("not_attempted", kind)}
    assert len(tables.items(ended.report["run"])) == len(SOME)
    assert len(ended.said("FMP refuses further calls")) == 1
