"""SIGTERM and SIGINT at any instant: a clean end within ten seconds, with a report."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.faults.conftest import ASKED, FaultFree, NewProgram
from tests.faults.program import Ended, Process, Program
from tests.faults.tables import Tables
from tests.faults.test_postgres import prices_locked
from tests.faults.vendor import Fmp
from tests.servers import PostgresServer, RedisServer, wait_until

STOP_S = 10.0
AT_ONCE_S = 1.0
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
BOTH = pytest.mark.parametrize("number", list(CODES), ids=lambda number: number.name)


def stopped_cleanly(ended: Ended, number: signal.Signals) -> Counter[str]:
    """Assert that the program ended as it should, and return the outcomes that it reported."""
    assert ended.code == CODES[number]
    report = ended.report
    assert report["status"] == "interrupted"
    tickers = dict(report["tickers"])
    assert tickers.pop("asked") == sum(tickers.values()) == len(ASKED)
    assert tickers["failed"] + tickers["not_attempted"] == len(ended.problems)
    assert tickers["stored"] == len(ended.acknowledged)
    assert not set(ended.acknowledged) & set(ended.problems)
    assert not [line for line in ended.log if line.level == "raw"]
    return Counter(tickers)


def noted(ended: Ended, tables: Tables) -> None:
    """Assert that the database knows of the run what the report says."""
    run = ended.report["run"]
    assert tables.runs()[run] == "interrupted"
    items = tables.items(run)
    assert [item[0] for item in items] == sorted(ASKED)
    reported = {name: count for name, count in ended.report["tickers"].items() if count}
    assert Counter(item[1] for item in items) | {"asked": len(ASKED)} == reported
    rows = tables.rows()
    assert {name: rows[name] for name in ended.acknowledged} == ended.acknowledged


def stop(process: Process, number: signal.Signals) -> Ended:
    """Send the signal, and require the end in time."""
    return process.stop(number, STOP_S)


@pytest.mark.parametrize(
    ("calls", "number"),
    [(1, signal.SIGTERM), (1, signal.SIGINT), (100, signal.SIGINT), (300, signal.SIGTERM)],
)
def test_a_stop_while_fetching_ends_with_a_report(
    calls: int, number: signal.Signals, program: Program, fmp: Fmp, tables: Tables,
    redis_server: RedisServer, fault_free: FaultFree,
) -> None:  # fmt: skip
    with program.start_run(ASKED) as process:
        wait_until(lambda: fmp.calls >= calls, "calls", step_s=0.005)
        ended = stop(process, number)
    outcomes = stopped_cleanly(ended, number)
    assert outcomes["stored"] > 0
    assert set(ended.problems.values()) == {("not_attempted", "cancelled")}
    noted(ended, tables)
    assert ended.report["cache"]["published"] == 2 * outcomes["stored"]
    for name in list(ended.acknowledged)[:5]:
        assert redis_server.call(f"EXISTS scanner:price:{name}:1d:500") == ":1"
    assert fmp.calls < len(ASKED)
    same = fault_free.sum_by_ticker
    assert tables.sum_by_ticker() == {name: same[name] for name in ended.acknowledged}


def test_a_stop_in_the_middle_of_a_transaction_gives_it_up(
    program: Program, tables: Tables, fault_free: FaultFree
) -> None:
    with program.start_run(ASKED) as process:
        process.wait_for("Stored")
        with prices_locked(tables):
            wait_until(lambda: tables.blocked_backend() is not None, "a transaction is under way")
            ended = stop(process, signal.SIGTERM)
    outcomes = stopped_cleanly(ended, signal.SIGTERM)
    assert 250 <= outcomes["stored"] < len(ASKED)
    noted(ended, tables)
    assert program.run(ASKED).code == 0
    assert tables.sums() == fault_free.sums


FROZEN_AT: dict[str, Callable[[Process, Fmp], None]] = {
    "before the first ticker": lambda process, _: process.wait_for("may lose stored rows"),
    "while fetching": lambda _, fmp: wait_until(lambda: fmp.calls > 100, "calls"),
    "while storing": lambda process, _: process.wait_for("Stored"),
}


@pytest.mark.parametrize("instant", list(FROZEN_AT))
def test_a_stop_while_postgresql_is_frozen_ends_in_time(
    instant: str, lone_program: Program, lone_tables: Tables, fmp: Fmp,
    lone_postgres: PostgresServer, fault_free: FaultFree,
) -> None:  # fmt: skip
    with lone_program.start_run(ASKED) as process:
        FROZEN_AT[instant](process, fmp)
        lone_postgres.freeze()
        if instant == "while fetching":  # a batch is full then, and the storer waits
            wait_until(lambda: fmp.calls > 260, "more calls")
        ended = stop(process, signal.SIGTERM)
    lone_postgres.thaw()
    outcomes = stopped_cleanly(ended, signal.SIGTERM)
    assert outcomes["not_attempted"] + outcomes["failed"] + outcomes["stored"] == len(ASKED)
    rows = lone_tables.rows() if outcomes["stored"] else {}
    assert {name: rows[name] for name in ended.acknowledged} == ended.acknowledged
    assert lone_program.run(ASKED).code == 0
    assert lone_tables.sums() == fault_free.sums
    assert {"running"} & set(lone_tables.runs().values()) == set()


@BOTH
def test_a_stop_while_redis_is_frozen_ends_in_time(
    number: signal.Signals, lone_redis: RedisServer, pg_dsn: str, fmp: Fmp,
    new_program: NewProgram, tables: Tables,
) -> None:  # fmt: skip
    with new_program(pg_dsn, lone_redis.url, fmp).start_run(ASKED) as process:
        process.wait_for("Stored")
        lone_redis.freeze()
        ended = stop(process, number)
    outcomes = stopped_cleanly(ended, number)
    noted(ended, tables)
    cache = ended.report["cache"]
    assert cache["published"] + cache["failed"] == 2 * outcomes["stored"]


@pytest.mark.parametrize("seed", range(3))
def test_a_stop_at_any_instant_accounts_for_every_ticker(
    seed: int, program: Program, fmp: Fmp, tables: Tables, fault_free: FaultFree
) -> None:
    dice = random.Random(seed)
    number, calls = dice.choice(list(CODES)), dice.randrange(len(ASKED))
    late_s = dice.uniform(0, 0.1)
    with program.start_run(ASKED) as process:
        wait_until(lambda: fmp.calls >= calls and process.says("to fetch"), "calls", step_s=0.005)
        at = time.monotonic() + late_s
        wait_until(lambda: time.monotonic() >= at, "the instant", step_s=0.002)
        ended = stop(process, number)
    stopped_cleanly(ended, number)
    noted(ended, tables)
    assert program.run(ASKED).code == 0
    assert tables.sums() == fault_free.sums


@BOTH
def test_a_stop_before_the_run_began_says_so(
    number: signal.Signals, program: Program, tables: Tables, fmp: Fmp
) -> None:
    """It waits for the lock of another one then, or for the database."""
    with program.start_run(ASKED) as first, ExitStack() as stack:
        wait_until(lambda: fmp.calls > 0, "the first one fetches")
        first.send(signal.SIGSTOP)
        second = stack.enter_context(program.start_run(ASKED))
        second.wait_for("waiting for")
        ended = stop(second, number)
    outcomes = stopped_cleanly(ended, number)
    assert outcomes["not_attempted"] == len(ASKED)
    assert ended.report["run"] not in tables.runs()


@BOTH
def test_a_second_signal_ends_at_once(number: signal.Signals, program: Program, fmp: Fmp) -> None:
    fmp.script()
    with program.start_run(ASKED, "--force") as process:
        wait_until(lambda: fmp.calls > 0, "the first call")
        process.send(number)
        process.wait_for("stopping")
        began_at = time.monotonic()
        ended = process.stop(number, STOP_S)
    assert time.monotonic() - began_at < AT_ONCE_S
    assert ended.code == CODES[number]
