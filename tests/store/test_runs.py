"""Runs and their items: every asked ticker has one outcome, also of a run that died."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from collector.collect.report import Item, Outcome
from collector.errors import Kind
from collector.market.timeframe import Timeframe
from collector.store.pool import Store
from collector.store.runs import Run, begin, finish, last_runs, prune, record
from tests.store.build import AT, answer, bars, execute, items_of, put, table

LATER = AT + timedelta(hours=1)
STATE = "SELECT timeframe, last_error, last_error_at, failures FROM ticker_state WHERE ticker = 'A'"


def item(ticker: str, outcome: Outcome, message: str = "") -> Item:
    kind = Kind.SERVER if outcome.is_problem else None
    return Item(ticker, outcome, kind, message or outcome)


async def begun(store: Store, run: str = "r1", asked: Sequence[str] = ("A", "B")) -> list[str]:
    return await begin(store, run, Timeframe.DAY, asked, AT)


async def test_a_run_that_begins_says_who_runs_it_and_for_what(store: Store) -> None:
    assert await begun(store) == []
    (row,) = await table(store, "SELECT status, started_at, asked, pid, finished_at FROM runs")
    assert row == ("running", AT, ["A", "B"], os.getpid(), None)


async def test_a_dead_run_is_closed_and_gives_every_asked_ticker_an_item(store: Store) -> None:
    await begun(store, "dead", ["A", "B", "B", "C"])
    await put(store, bars("A"), run="dead")
    await begun(store, "done")
    await finish(store, "done", "ok", AT, {})
    assert await begun(store, "next") == []  # the one before it has closed the dead one
    died = "the process died before this ticker"
    assert await items_of(store, "dead") == [
        ("A", "stored", None, ""),
        ("B", "not_attempted", "cancelled", died),
        ("C", "not_attempted", "cancelled", died),
    ]
    assert {run.run: run.status for run in await last_runs(store, 9)} == {
        "dead": "interrupted",
        "done": "ok",
        "next": "running",
    }
    assert await items_of(store, "done") == []


async def test_all_dead_runs_are_named_by_the_next_start(store: Store) -> None:
    await begun(store, "dead-b")
    await execute(store, "UPDATE runs SET run = 'dead-a'")
    await execute(
        store,
        "INSERT INTO runs (run, timeframe, status, started_at) "
        "VALUES ('b', '1h', 'running', now())",
    )
    assert await begun(store, "next") == ["b", "dead-a"]
    (row,) = await table(store, "SELECT finished_at FROM runs WHERE run = 'b'")
    assert row == (AT,)


@pytest.mark.parametrize("first", [Outcome.EMPTY, Outcome.STORED, Outcome.FAILED])
@pytest.mark.parametrize("second", list(Outcome))
async def test_of_several_answers_the_graver_outcome_stays(
    store_18: Store, first: Outcome, second: Outcome
) -> None:
    await begun(store_18)
    order = ["empty", "unchanged", "stored", "not_attempted", "rejected", "failed"]
    await record(store_18, "r1", [item("A", first, "first")], AT)
    await record(store_18, "r1", [item("A", second, "second")], LATER)
    graver = first if order.index(first) > order.index(second) else second
    (row,) = await items_of(store_18, "r1")
    kind = "server" if graver.is_problem else None
    assert row == ("A", graver, kind, "first" if graver != second else "second")


async def test_failures_in_a_row_are_counted_and_a_success_ends_them(store: Store) -> None:
    await begun(store)
    for number, at in enumerate((AT, LATER)):
        await record(store, "r1", [item("A", Outcome.FAILED, f"no {number}")], at)
    assert await table(store, STATE) == [("1d", "no 1", LATER, 2)]
    await put(store, bars("A", at=LATER))
    assert await table(store, f"{STATE} AND timeframe = '1d'") == [("1d", None, None, 0)]


@pytest.mark.parametrize("outcome", [Outcome.UNCHANGED, Outcome.NOT_ATTEMPTED])
async def test_what_is_no_failure_counts_none(store_18: Store, outcome: Outcome) -> None:
    await begun(store_18)
    await record(store_18, "r1", [item("A", outcome)], AT)
    assert await table(store_18, STATE) == []
    assert len(await items_of(store_18, "r1")) == 1


async def test_a_weekly_run_counts_its_failures_for_the_daily_bars(store_18: Store) -> None:
    await begin(store_18, "w", Timeframe.WEEK, ["A"], AT)
    await record(store_18, "w", [item("A", Outcome.REJECTED, "bad")], AT)
    assert await table(store_18, STATE) == [("1d", "bad", AT, 1)]


async def test_a_ticker_noted_twice_at_once_has_one_item_and_one_failure(store_18: Store) -> None:
    await begun(store_18)
    twice = [item("A", Outcome.FAILED, "first"), item("A", Outcome.FAILED, "last")]
    await record(store_18, "r1", twice, AT)
    assert await items_of(store_18, "r1") == [("A", "failed", "server", "last")]
    assert await table(store_18, STATE) == [("1d", "last", AT, 1)]


HOSTILE = "nul \0, surrogate \ud800, quote ', $1, %s, \\, é 😀"


async def test_hostile_messages_are_stored_as_they_are_or_cleaned(store: Store) -> None:
    await begun(store)
    await record(store, "r1", [item("A", Outcome.FAILED, HOSTILE)], AT)
    await put(store, answer("B", "rejected", Kind.BAD_ROWS, HOSTILE))
    clean = "nul , surrogate ?, quote ', $1, %s, \\, é 😀"
    assert [row[3] for row in await items_of(store, "r1")] == [clean, clean]
    errors = "SELECT last_error, failures FROM ticker_state WHERE timeframe = '1d' ORDER BY ticker"
    assert await table(store, errors) == [(clean, 1), (clean, 1)]


async def test_no_items_are_no_transaction(store_18: Store) -> None:
    await record(store_18, "r1", [], AT)
    assert await table(store_18, "SELECT FROM collector_commits") == []


async def test_a_finished_run_holds_its_report(store: Store) -> None:
    await begun(store)
    report = {"run": "r1", "problems": [{"ticker": "É", "message": "a \"b\" \\ 'c'"}], "x": 1.5}
    await finish(store, "r1", "partial", LATER, report)
    assert await last_runs(store, 1) == [Run("r1", Timeframe.DAY, "partial", AT, LATER, report)]


async def test_the_last_runs_are_the_newest_of_the_timeframe_asked_for(store: Store) -> None:
    for hour, timeframe in enumerate([Timeframe.DAY, Timeframe.HOUR, Timeframe.DAY]):
        await begin(store, f"r{hour}", timeframe, [], AT + timedelta(hours=hour))
    assert [run.run for run in await last_runs(store, 2)] == ["r2", "r1"]
    daily = await last_runs(store, 9, Timeframe.DAY)
    assert [(run.run, run.report) for run in daily] == [("r2", None), ("r0", None)]
    assert await last_runs(store, 9, Timeframe.WEEK) == []


async def test_items_are_forgotten_after_thirty_days_and_runs_are_not(store: Store) -> None:
    at = datetime(2026, 11, 20, tzinfo=UTC)
    for run, age in (("old", timedelta(days=30, seconds=1)), ("young", timedelta(days=30))):
        await begin(store, run, Timeframe.DAY, ["A"], at - age)
        await record(store, run, [item("A", Outcome.UNCHANGED)], at)
    await prune(store, at)
    assert await items_of(store, "old") == []
    assert len(await items_of(store, "young")) == 1
    assert len(await last_runs(store, 9)) == 2


async def test_marks_of_transactions_are_forgotten_after_a_day(store_18: Store) -> None:
    await execute(
        store_18,
        "INSERT INTO collector_commits SELECT gen_random_uuid(), now() - interval '25 hours'",
        "INSERT INTO collector_commits SELECT gen_random_uuid(), now() - interval '23 hours'",
    )
    await prune(store_18, AT)
    (row,) = await table(
        store_18, "SELECT count(*) FROM collector_commits WHERE at < now() - interval '1 hour'"
    )
    assert row == (1,)
