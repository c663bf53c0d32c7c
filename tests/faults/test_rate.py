"""Never more than the quota, whatever window the server counts in."""

from __future__ import annotations

from itertools import combinations

from collector.simulator.quota import SlidingWindow
from collector.simulator.script import Rule
from tests.faults.conftest import ASKED
from tests.faults.program import Program
from tests.faults.tables import Tables
from tests.faults.vendor import Fmp

A_MINUTE = 600
SPACING_S = 60 / A_MINUTE
SOME = ASKED[:60]
JITTER_S = 0.15  # what the two machines' schedulers may make of an even spacing
# A strict sliding window of the same rate over a shorter time refuses a burst that a minute's would
# let through. One more call fits a window than spaces do; the rest is for the jitter.
STRICT = [(60.0, A_MINUTE), (5.0, 52), (2.0, 23)]


def assert_even(arrivals: list[float]) -> None:
    """Assert that no stretch of time holds more calls than the rate has room for."""
    for (first, began_at), (last, ended_at) in combinations(enumerate(arrivals), 2):
        assert last - first <= (ended_at - began_at + JITTER_S) / SPACING_S


def test_two_runs_in_a_row_with_retries_are_never_throttled(
    program: Program, tables: Tables, fmp: Fmp
) -> None:
    rules = [Rule(symbol=name, call=1, status=500, body="oops") for name in SOME[5::10]]
    fmp.script(*rules)
    fmp.enforce(*(SlidingWindow(limit, period_s) for period_s, limit in STRICT))
    program.settings["COLLECTOR_FMP__REQUESTS_PER_MINUTE"] = str(A_MINUTE)
    half = len(SOME) // 2
    first = program.run(SOME[:half])
    second = program.run(SOME[half:])
    assert (first.code, second.code) == (0, 0)
    entries = fmp.entries()
    assert [entry for entry in entries if entry.status == 429] == []
    retries = first.report["api"]["retries"] + second.report["api"]["retries"]
    assert retries == len(rules)
    assert len(entries) == len(SOME) + len(rules)
    assert_even([entry.monotonic for entry in entries])
    assert set(tables.rows()) == set(SOME)


def test_a_429_pauses_all_calls_once_and_every_ticker_is_stored(
    program: Program, tables: Tables, fmp: Fmp
) -> None:
    pause_s = 2.0
    limit = Rule(path="full", call=20, status=429, body="", headers={"Retry-After": "2"})
    fmp.script(limit, Rule(delay_s=0.05))
    ended = program.run(SOME, fmp__concurrency="4")
    assert ended.code == 0
    assert ended.report["api"]["throttled"] == 1
    assert ended.report["tickers"]["stored"] == len(SOME)
    assert len(ended.said("rate limited, pausing all requests 2 s")) == 1
    arrivals = [entry.monotonic for entry in fmp.entries()]
    throttled_at = next(entry.monotonic for entry in fmp.entries() if entry.status == 429)
    later = [at for at in arrivals if at > throttled_at]
    in_flight = [at for at in later if at < throttled_at + pause_s]
    assert len(in_flight) <= 4
    assert later[len(in_flight)] >= throttled_at + pause_s
    # The pause is shared: after it the calls go on, and none waits for one of its own.
    assert later[-1] < throttled_at + 2 * pause_s
    assert set(tables.rows()) == set(SOME)
