"""SIGKILL at any instant needs no hand afterwards."""

from __future__ import annotations

import random
import signal
from contextlib import ExitStack

import pytest

from collector.simulator.script import Rule
from tests.faults.conftest import ASKED, FaultFree
from tests.faults.program import Program, instants
from tests.faults.tables import Tables
from tests.faults.vendor import Fmp
from tests.servers import wait_until

KILLS = 13  # by seed; a killed process costs its start-up
STARTING_S = (0.3, 2.0)  # after the start of the process: before it nothing is touched


def accounted_for(tables: Tables, run: str) -> None:
    """Assert that every ticker of a run has one item, and that a problem says what it is."""
    items = tables.items(run)
    assert [item[0] for item in items] == sorted(ASKED)
    assert all(kind for _, outcome, kind, *_ in items if outcome == "not_attempted")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [1, 2])
def test_runs_killed_at_random_instants_leave_nothing_to_do(
    seed: int, program: Program, tables: Tables, fault_free: FaultFree
) -> None:
    dice, working_s = random.Random(seed), fault_free.ended.report["seconds"]
    for number in range(KILLS):
        with program.start_run(ASKED, *["--force"] * (number % 2)) as process:
            early = number % 4 == 0
            if not early:
                process.wait_for("to fetch")
            since_s = 0.0 if early else process.age_s
            for _at in instants(
                process, since_s + dice.uniform(*STARTING_S if early else (0, working_s))
            ):
                process.send(signal.SIGKILL)
            assert process.end().code in (-signal.SIGKILL, 0)
    last = program.run(ASKED)
    assert (last.code, last.report["status"]) == (0, "ok")
    assert tables.sums() == fault_free.sums
    runs = tables.runs()
    assert set(runs.values()) <= {"interrupted", "ok"}
    assert "interrupted" in runs.values()
    for run in runs:
        accounted_for(tables, run)
    assert tables.ask("SELECT count(*) FROM pg_class WHERE relpersistence = 't'") == "0"


def test_one_that_waits_takes_over_from_one_that_is_killed(
    program: Program, tables: Tables, fmp: Fmp, fault_free: FaultFree
) -> None:
    fmp.script(Rule(delay_s=1.0))  # so that the first is still at it when the second comes
    with ExitStack() as stack:
        first = stack.enter_context(program.start_run(ASKED))
        first.wait_for("to fetch")
        second = stack.enter_context(program.start_run(ASKED))
        second.wait_for("waiting for")
        assert not second.says("to fetch")
        refused = program.run(ASKED, "--no-wait")
        assert (refused.code, refused.report["status"]) == (75, "skipped")
        fmp.script()
        first.send(signal.SIGKILL)
        killed, ended = first.end(), second.end()
    assert (killed.code, ended.code) == (-signal.SIGKILL, 0)
    assert list(tables.runs().values()) == ["interrupted", "ok"]
    for run in tables.runs():
        accounted_for(tables, run)
    assert len(ended.said("which had died")) == 1
    assert tables.sums() == fault_free.sums


def test_one_that_waits_begins_when_the_other_is_done(
    program: Program, tables: Tables, fmp: Fmp, fault_free: FaultFree
) -> None:
    with program.start_run(ASKED) as first, program.start_run(ASKED) as second:
        wait_until(lambda: first.says("waiting for") or second.says("waiting for"), "one waits")
        ends = [first.end(), second.end()]
    assert [end.code for end in ends] == [0, 0]
    assert sorted(end.report["tickers"]["stored"] for end in ends) == [0, len(ASKED)]
    assert fmp.calls == len(ASKED)
    assert tables.sums() == fault_free.sums
