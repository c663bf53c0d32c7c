"""One ticker's answers: what they say of it, and what is asked next. Against the simulator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import polars as pl
import pytest

from collector.collect.answers import EMPTY_WINDOWS, Asker, Fetched, Work, split_factor
from collector.collect.report import Outcome
from collector.errors import Failed, Kind
from collector.fmp.client import FmpClient
from collector.market import plan as planning
from collector.market.bars import VALUES, Checked, bar_instant, empty, schema
from collector.market.plan import Plan, Rules, TickerState
from collector.market.schedule import Schedule
from collector.market.sessions import calendar
from collector.market.timeframe import Timeframe
from collector.simulator.app import Simulator, SimulatorConfig
from collector.simulator.history import ReplayedBars
from collector.simulator.script import Rule

AT = datetime(2026, 11, 24, 11, 0, tzinfo=UTC)
NEWEST = bar_instant(date(2026, 11, 23))
RULES = Rules(calendar("XNYS", AT), Schedule(ZoneInfo("America/New_York")))


@asynccontextmanager
async def asking(simulator: Simulator, rules: Rules = RULES) -> AsyncIterator[Asker]:
    """Lend an asker of ``simulator`` at `AT`."""
    async with (
        simulator.serve() as base_url,
        FmpClient(base_url, "key", requests_per_minute=None) as client,
    ):
        yield Asker(client, rules, AT, lambda: AT)


def generated() -> Simulator:
    """Return a simulator of made-up bars, whose clock stands at `AT`."""
    return Simulator(SimulatorConfig(clock=lambda: AT))


def state(ticker: str, last: date | None = None) -> TickerState:
    """Return the state of a ticker that has everything up to ``last``, or nothing."""
    if last is None:
        return TickerState(ticker, Timeframe.DAY)
    first, newest = bar_instant(date(2016, 1, 4)), bar_instant(last)
    return TickerState(ticker, Timeframe.DAY, first, newest, date(2016, 1, 4), newest, newest)


def work(state: TickerState, stored: pl.DataFrame | None = None) -> Work:
    """Return a run's work for ``state``."""
    plan = planning.plan(state, RULES, AT)
    return Work(state, plan, Plan(state.ticker, state.timeframe), stored)


def going_back(state: TickerState, since: date) -> Work:
    """Return a backfill's work for ``state``."""
    older = planning.backfill(state, RULES, AT, since)
    return Work(state, Plan(state.ticker, state.timeframe), older)


def days(fetched: Fetched) -> list[date]:
    """Return the dates of an answer's bars."""
    return fetched.checked.frame["date"].to_list()


async def test_a_first_run_brings_the_history_in_one_call() -> None:
    simulator = generated()
    async with asking(simulator) as asker:
        (fetched,) = [each async for each in asker.answers(work(state("AAPL")))]
    assert len(simulator.log) == 1
    assert days(fetched)[-1] == date(2026, 11, 23)
    assert fetched.asked_from == date(2015, 11, 23)
    assert fetched.asked_through == NEWEST
    assert fetched.verdict() is None


async def test_a_later_run_asks_for_the_overlap_only() -> None:
    async with asking(generated()) as asker:
        held = work(state("AAPL", last=date(2026, 11, 20)))
        (fetched,) = [each async for each in asker.answers(held)]
    assert days(fetched) == [date(2026, 11, day) for day in (16, 17, 18, 19, 20, 23)]


async def test_an_unknown_ticker_is_not_found() -> None:
    async with asking(generated()) as asker:
        (fetched,) = [each async for each in asker.answers(work(state("ZZZZ9")))]
    verdict = fetched.verdict()
    assert verdict is not None
    assert (verdict.outcome, verdict.kind) == (Outcome.FAILED, Kind.NOT_FOUND)


async def test_no_answer_for_a_ticker_with_history_is_empty() -> None:
    async with asking(generated()) as asker:
        held = work(state("ZZZZ9", last=date(2026, 11, 20)))
        (fetched,) = [each async for each in asker.answers(held)]
    verdict = fetched.verdict()
    assert verdict is not None
    assert (verdict.outcome, verdict.kind) == (Outcome.EMPTY, None)


async def test_a_split_fetches_the_whole_history_again() -> None:
    simulator = generated()
    async with asking(simulator) as asker:
        held = work(state("AAPL", last=date(2026, 11, 20)))
        (plain,) = [each async for each in asker.answers(held)]
        before = plain.checked.frame.head(5).with_columns(pl.col(VALUES[:4]) * 4)
        (fetched,) = [each async for each in asker.answers(replace(held, stored=before))]
    assert fetched.factor == pytest.approx(0.25, rel=1e-3)
    assert days(fetched)[0] <= date(2016, 1, 4)
    assert len(simulator.log) == 3


async def test_a_backfill_goes_back_until_the_vendor_has_nothing() -> None:
    simulator = generated()
    async with asking(simulator) as asker:
        task = going_back(state("AAPL"), date(1900, 1, 1))
        answers = [each async for each in asker.answers(task)]
    starts = [each.asked_from for each in answers]
    assert starts == sorted(starts, reverse=True)
    assert starts[-1] == date(1900, 1, 1), "what lies before an empty window need not be asked for"
    assert answers[-1].rows == 0
    assert len(simulator.log) == len(answers) < len(task.older.windows)


async def test_windows_without_a_bar_are_held_back_until_older_ones_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ticker that stopped trading a while ago is not unknown."""
    monkeypatch.setitem(EMPTY_WINDOWS, Timeframe.DAY, 2)
    old = date(1999, 3, 1)
    rows = pl.DataFrame(
        {"symbol": ["OLD"], "date": [old], "open": [1.0], "high": [1.0],
         "low": [1.0], "close": [1.0], "volume": [1.0]}
    )  # fmt: skip
    windows = planning.split(planning.Window(date(1995, 1, 1), date(2020, 1, 1)), Timeframe.DAY)
    older = Plan("OLD", Timeframe.DAY, windows[:2])
    async with asking(replayed(tmp_path / "old.parquet", rows)) as asker:
        task = Work(state("OLD"), Plan("OLD", Timeframe.DAY), older)
        answers = [each async for each in asker.answers(task)]
    assert [each.verdict() for each in answers] == [None]
    assert days(answers[0]) == [old]
    assert answers[0].asked_from == windows[0].start
    assert answers[0].asked_through == bar_instant(date(2019, 12, 31))


async def test_a_backfill_ends_though_the_server_ignores_from_and_to() -> None:
    simulator = generated()
    body = orjson.dumps([{"date": "2026-11-20 10:30:00", "open": 1, "low": 1, "high": 1,
                          "close": 1, "volume": 1}]).decode()  # fmt: skip
    simulator.script(Rule(status=200, body=body))
    hourly = TickerState("AAPL", Timeframe.HOUR)
    older = planning.backfill(hourly, RULES, AT, date(1900, 1, 1))
    async with asking(simulator) as asker:
        task = Work(hourly, Plan("AAPL", Timeframe.HOUR), older)
        answers = [each async for each in asker.answers(task)]
    assert len(simulator.log) == 3, "the newest window, and two that hold nothing of their own"
    assert answers[0].verdict() is None


def test_a_forced_run_looks_for_a_split_where_older_bars_stay() -> None:
    forced = replace(RULES, force=True, history_years=2)
    long, short = state("A", date(2026, 11, 20)), TickerState("A", Timeframe.DAY)
    for held, leaves in ((long, True), (short, False)):
        plan = planning.plan(held, forced, AT)
        assert plan.whole
        assert Work(held, plan, Plan("A", Timeframe.DAY)).leaves_history is leaves


async def test_a_backfill_of_an_unknown_ticker_is_not_found_after_one_call() -> None:
    simulator = generated()
    async with asking(simulator) as asker:
        task = going_back(state("ZZZZ9"), date(1900, 1, 1))
        (fetched,) = [each async for each in asker.answers(task)]
    verdict = fetched.verdict()
    assert verdict is not None
    assert verdict.kind is Kind.NOT_FOUND
    assert len(simulator.log) == 1


async def test_a_window_that_ends_in_the_past_says_how_far_it_could_answer() -> None:
    async with asking(generated()) as asker:
        older = planning.backfill(state("AAPL"), RULES, AT, date(2020, 1, 1), date(2020, 2, 1))
        task = Work(state("AAPL"), Plan("AAPL", Timeframe.DAY), older)
        (fetched,) = [each async for each in asker.answers(task)]
    assert fetched.asked_through == bar_instant(date(2020, 1, 31))


async def test_a_refused_call_is_raised_not_returned() -> None:
    simulator = Simulator(SimulatorConfig(clock=lambda: AT, keys=frozenset({"other"})))
    async with asking(simulator) as asker:
        with pytest.raises(Exception, match="Invalid API KEY"):
            _ = [each async for each in asker.answers(work(state("AAPL")))]


def replayed(path: Path, rows: pl.DataFrame) -> Simulator:
    """Return a simulator that replays ``rows``, written to ``path``."""
    rows.write_parquet(path)
    return Simulator(SimulatorConfig(history=ReplayedBars(path), clock=lambda: AT))


async def test_an_answer_of_bad_rows_only_is_rejected(tmp_path: Path) -> None:
    rows = pl.DataFrame(
        {"symbol": ["BAD"], "date": [date(2026, 11, 23)], "open": [1.0], "high": [0.5],
         "low": [2.0], "close": [1.0], "volume": [1.0]}
    )  # fmt: skip
    async with asking(replayed(tmp_path / "bad.parquet", rows)) as asker:
        (fetched,) = [each async for each in asker.answers(work(state("BAD")))]
    verdict = fetched.verdict()
    assert verdict is not None
    assert (verdict.outcome, verdict.kind) == (Outcome.REJECTED, Kind.BAD_ROWS)
    assert verdict.message.startswith("1 of 1 rows rejected (1 outside_low_high)")


def fetched_of(checked: Checked, *, rows: int, had_history: bool = False) -> Fetched:
    """Return an answer with ``checked`` rows."""
    day = date(2026, 11, 23)
    return Fetched("A", Timeframe.DAY, checked, rows, day, NEWEST, AT, had_history)


def test_an_answer_with_too_many_bad_rows_is_not_believed() -> None:
    checked = Checked(empty(Timeframe.DAY), {"missing_value": 40}, 0, "missing_value: …")
    verdict = fetched_of(checked, rows=100).verdict()
    assert verdict is not None
    assert (verdict.outcome, verdict.kind) == (Outcome.FAILED, Kind.SCHEMA)
    assert len(verdict.message) <= 500


def test_a_ticker_that_has_only_a_forming_bar_is_empty_not_unknown() -> None:
    checked = Checked(empty(Timeframe.DAY), {}, 1, "")
    verdict = fetched_of(checked, rows=1).verdict()
    assert verdict is not None
    assert verdict.outcome is Outcome.EMPTY


def bars(closes: list[float]) -> pl.DataFrame:
    """Return daily bars with ``closes`` from 2026-11-16 on; open, high and low equal the close."""
    dates = [date(2026, 11, 16 + n) for n in range(len(closes))]
    columns = {"date": dates} | dict.fromkeys(VALUES[:4], closes) | {"volume": [1e6] * len(closes)}
    return pl.DataFrame(columns, schema=schema(Timeframe.DAY))


@pytest.mark.parametrize(
    ("stored", "fetched", "factor"),
    [
        ([100.0, 101.0], [100.0, 101.0, 102.0], None),
        ([100.0, 101.0], [25.0, 25.25, 25.5], 0.25),
        ([100.0, 101.0], [100.0, 101.5, 102.0], None),
        ([], [1.0], None),
    ],
    ids=["unchanged", "split", "revised", "nothing stored"],
)
def test_a_split_is_one_factor_over_the_overlap(
    stored: list[float], fetched: list[float], factor: float | None
) -> None:
    found = split_factor(bars(stored), bars(fetched), Timeframe.DAY)
    assert found == (None if factor is None else pytest.approx(factor, rel=1e-3))


async def test_a_failing_window_ends_the_backfill_with_its_error() -> None:
    simulator = generated()
    simulator.script(Rule(call=2, status=404, body="[]"))
    async with asking(simulator) as asker:
        answers = asker.answers(going_back(state("AAPL"), date(1900, 1, 1)))
        assert (await anext(answers)).rows > 0
        with pytest.raises(Failed) as caught:
            await anext(answers)
    assert caught.value.kind is Kind.NOT_FOUND
