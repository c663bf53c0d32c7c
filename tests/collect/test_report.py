"""The report: every ticker ends once, the sums balance, and the exit code follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.collect.report import Item, Outcome, Report, Status, Tally, exit_code, summarise
from collector.errors import Kind
from collector.market.timeframe import Timeframe

AT = datetime(2026, 11, 24, 11, 0, 4, 250_000, tzinfo=UTC)
outcomes = st.sampled_from(list(Outcome))


def report(status: Status = Status.OK, refused: Kind | None = None, *problems: Item) -> Report:
    """Return a report with that status."""
    return Report(
        run="r",
        timeframe=Timeframe.DAY,
        status=status,
        started_at=AT,
        finished_at=AT + timedelta(seconds=1.2345),
        seconds=1.234,
        tickers={},
        rows={},
        api={},
        cache={},
        problems=problems,
        refused=refused,
    )


def tally_of(*items: Item) -> Tally:
    """Return a tally that was asked for exactly the tickers of ``items``."""
    tally = Tally(tuple(dict.fromkeys(item.ticker for item in items)))
    for item in items:
        tally.add(item)
    return tally


@given(st.lists(outcomes, min_size=1, max_size=30))
def test_the_outcomes_sum_up_to_the_tickers_asked_for(ended: list[Outcome]) -> None:
    tally = tally_of(*(Item(f"T{n}", outcome) for n, outcome in enumerate(ended)))
    _, tickers, _, problems = summarise(tally, interrupted=False)
    assert tickers.pop("asked") == len(ended) == sum(tickers.values())
    assert len(problems) == sum(outcome.is_problem for outcome in ended)


@pytest.mark.parametrize(
    ("ended", "status"),
    [
        ([Outcome.STORED, Outcome.UNCHANGED, Outcome.EMPTY], Status.OK),
        ([Outcome.STORED, Outcome.FAILED], Status.PARTIAL),
        ([Outcome.UNCHANGED, Outcome.REJECTED], Status.PARTIAL),
        ([Outcome.FAILED, Outcome.NOT_ATTEMPTED, Outcome.REJECTED], Status.FAILED),
    ],
)
def test_the_status_follows_from_the_outcomes(ended: list[Outcome], status: Status) -> None:
    tally = tally_of(*(Item(f"T{n}", outcome) for n, outcome in enumerate(ended)))
    assert summarise(tally, interrupted=False)[0] is status
    assert summarise(tally, interrupted=True)[0] is Status.INTERRUPTED


def test_of_several_answers_for_a_ticker_the_graver_stays() -> None:
    tally = Tally(("A",))
    assert tally.add(Item("A", Outcome.STORED)).outcome is Outcome.STORED
    assert tally.add(Item("A", Outcome.EMPTY)).outcome is Outcome.STORED
    assert tally.add(Item("A", Outcome.FAILED, Kind.SERVER, "503")).outcome is Outcome.FAILED
    assert tally.add(Item("A", Outcome.UNCHANGED)).kind is Kind.SERVER
    assert len(tally.items) == 1


def test_tickers_without_an_outcome_are_missing_and_problems_keep_the_order_asked() -> None:
    tally = Tally(("C", "A", "B"))
    tally.add(Item("B", Outcome.FAILED, Kind.TIMEOUT, "slow"))
    tally.add(Item("C", Outcome.REJECTED, Kind.BAD_ROWS, "bad"))
    assert list(tally.missing()) == ["A"]
    assert [item.ticker for item in tally.problems()] == ["C", "B"]


@pytest.mark.parametrize(
    ("status", "refused", "stopped_by", "code"),
    [
        (Status.OK, None, None, 0),
        (Status.PARTIAL, None, None, 3),
        (Status.FAILED, None, None, 4),
        (Status.SKIPPED, None, None, 75),
        (Status.FAILED, Kind.AUTH, None, 5),
        (Status.PARTIAL, Kind.QUOTA, None, 5),
        (Status.PARTIAL, Kind.PLAN, None, 5),
        (Status.PARTIAL, Kind.RATE_LIMITED, None, 5),
        (Status.FAILED, Kind.SERVER, None, 4),
        (Status.INTERRUPTED, None, 15, 143),
        (Status.INTERRUPTED, Kind.AUTH, 2, 130),
    ],
)
def test_the_exit_code_says_what_the_contract_says(
    status: Status, refused: Kind | None, stopped_by: int | None, code: int
) -> None:
    assert exit_code(report(status, refused), stopped_by) == code


def test_the_document_has_the_members_of_the_contract_in_their_order() -> None:
    problem = Item("X", Outcome.FAILED, Kind.SERVER, "503")
    document = report(Status.PARTIAL, None, problem).as_json()
    assert list(document) == [
        "run", "timeframe", "status", "started_at", "finished_at", "seconds",
        "tickers", "rows", "api", "cache", "problems",
    ]  # fmt: skip
    assert document["started_at"] == "2026-11-24T11:00:04.250Z"
    assert document["seconds"] == 1.234
    assert document["problems"] == [
        {"ticker": "X", "outcome": "failed", "kind": "server", "message": "503"}
    ]
    assert orjson.loads(orjson.dumps(document)) == document


def test_a_problem_without_a_kind_is_written_as_null() -> None:
    document = replace(report(), problems=(Item("X", Outcome.NOT_ATTEMPTED),)).as_json()
    assert document["problems"] == [
        {"ticker": "X", "outcome": "not_attempted", "kind": None, "message": ""}
    ]
