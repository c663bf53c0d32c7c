"""A batch in the database: all of it once, what differs and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from collector.errors import Kind, LockHeld
from collector.market.timeframe import Timeframe
from collector.store.pool import Store
from collector.store.prices import COMPARE, MERGE, PLANNER, STAGE, statement
from collector.store.read import frame_of, last_bars, states
from collector.store.runs import begin
from collector.store.write import TickerBars, store_batch
from tests.store.build import AT, FIRST, THROUGH, bars, put

DIGEST = """
SELECT md5(string_agg(p::text || p.xmin::text, '' ORDER BY ticker, date)) FROM daily_prices AS p
"""


async def test_new_tickers_of_any_length_are_stored_with_their_weeks(store: Store) -> None:
    stored = await put(store, bars("BRK-B", 20), bars("A"), bars("^GSPC", 30))
    assert {name: one.inserted for name, one in stored.items()} == {"A": 5, "BRK-B": 5, "^GSPC": 5}
    (chunk,) = [c async for c in last_bars(store, ["^GSPC", "A", "NONE"], Timeframe.DAY, 3)]
    assert [one.ticker for one in chunk] == ["^GSPC", "A"]
    assert frame_of(chunk[0]).equals(bars("^GSPC", 30).frame.tail(3))
    (weekly,) = [c async for c in last_bars(store, ["A"], Timeframe.WEEK, 9)]
    assert weekly[0].columns["date"] == [FIRST]
    assert weekly[0].columns["volume"] == [35.0]


async def test_the_same_batch_again_writes_no_row(store: Store) -> None:
    await put(store, bars("A"), bars("B"))
    before = await store.fetch(DIGEST)
    again = await put(store, bars("A"), bars("B"), run="r2")
    assert [one.outcome for one in again.values()] == ["unchanged", "unchanged"]
    assert again["A"].rev == 1
    assert await store.fetch(DIGEST) == before


async def test_a_revision_keeps_the_old_values_and_derives_the_week_again(store: Store) -> None:
    await put(store, bars("A"))
    assert (await put(store, bars("A", 11, days=1), run="r2"))["A"].revised == 1
    rows = await store.fetch(
        "SELECT timeframe, old_open, new_open, reason, factor FROM price_revisions ORDER BY id"
    )
    assert [tuple(row) for row in rows] == [
        ("1d", 10.0, 11.0, "revised", None),
        ("1wk", 10.0, 11.0, "revised", None),
    ]
    (week,) = await store.fetch("SELECT open, high, volume FROM weekly_prices")
    assert tuple(week) == (11.0, 12.0, 35.0)


async def test_a_split_is_one_row_of_revisions_a_timeframe(store: Store) -> None:
    await put(store, bars("A"), bars("B"))
    assert (await put(store, bars("A", 5, factor=0.5), bars("B"), run="r2"))["A"].revised == 5
    rows = await store.fetch(
        "SELECT ticker, timeframe, bar, factor FROM price_revisions ORDER BY id"
    )
    assert [tuple(row) for row in rows] == [
        ("A", "1d", datetime(2026, 11, 13), 0.5),  # noqa: DTZ001 (a column without zone)
        ("A", "1wk", datetime(2026, 11, 9), 0.5),  # noqa: DTZ001
    ]


async def test_older_never_overwrites_newer(store: Store) -> None:
    for run in ("r1", "r2"):
        await begin(store, run, Timeframe.DAY, ["A"], AT)
    await put(store, bars("A", 12), run="r2")
    with pytest.raises(LockHeld, match="r1 was closed by the next one"):
        await put(store, bars("A", 10, at=AT + timedelta(seconds=1)), run="r1")
    assert {row[0] for row in await store.fetch("SELECT close FROM daily_prices")} == {12.0}


async def test_a_clock_that_steps_back_loses_no_answer(store: Store) -> None:
    await put(store, bars("A", 10))
    stored = await put(store, bars("A", 12, at=AT - timedelta(seconds=1)), run="r2")
    assert stored["A"].revised == 5


@pytest.mark.parametrize("bad", [bars("BAD", -3), bars("N\0L")], ids=["check", "nul"])
async def test_a_refused_ticker_takes_no_other_with_it(store: Store, bad: TickerBars) -> None:
    stored = await put(store, *(bars(f"G{n}") for n in range(4)), bad)
    assert stored.pop(bad.ticker).kind is Kind.DB_REJECTED
    assert {one.outcome for one in stored.values()} == {"stored"}
    assert len(stored) == 4


async def test_the_state_says_what_is_stored_and_what_was_asked(store: Store) -> None:
    await put(store, bars("A"))
    state = (await states(store, ["A", "B"], Timeframe.DAY))["A"]
    assert (state.first, state.last) == (
        datetime(2026, 11, 9, tzinfo=UTC),
        datetime(2026, 11, 13, tzinfo=UTC),
    )
    assert (state.asked_from, state.asked_through, state.asked_at) == (FIRST, THROUGH, AT)


async def test_a_week_that_closed_without_a_new_bar_is_derived_later(store: Store) -> None:
    early = FIRST - timedelta(days=7)
    await store_batch(store, "r1", [bars("A", days=3)], last_closed_week=early)
    assert await store.fetch("SELECT FROM weekly_prices") == []
    await put(store, bars("A", days=3), run="r2")
    assert len(await store.fetch("SELECT FROM weekly_prices")) == 1


async def test_the_merge_looks_up_the_index_and_never_scans_the_table(store: Store) -> None:
    await put(store, *(bars(f"T{n}") for n in range(200)))
    async with store.connection() as connection, connection.transaction():
        await connection.execute(PLANNER)
        await connection.execute(statement(STAGE, Timeframe.DAY))
        plans = [await connection.fetch("EXPLAIN " + statement(COMPARE, Timeframe.DAY))]
        await connection.execute(statement(COMPARE, Timeframe.DAY))
        plans.append(await connection.fetch("EXPLAIN " + statement(MERGE, Timeframe.DAY)))
    for plan in plans:
        text = "\n".join(row[0] for row in plan)
        assert "using daily_prices_pkey on daily_prices" in text
        assert "Seq Scan on daily_prices" not in text


async def test_a_lost_acknowledgement_does_not_count_twice(store: Store) -> None:
    calls = []

    async def lose_the_answer(connection: object) -> int:
        calls.append(connection)
        return len(calls)

    leased = store._lease

    @asynccontextmanager
    async def cut_after_commit() -> AsyncIterator[object]:
        async with leased() as connection:
            yield connection
            if len(calls) == 1 and store._lease is not leased:
                store._lease = leased  # type: ignore[method-assign]
                raise ConnectionResetError("the answer to COMMIT was lost")

    store._lease = cut_after_commit  # type: ignore[method-assign]
    assert await store.transact(lose_the_answer) == 1
    assert len(calls) == 1
