"""A batch while the server breaks, or while others are in its way: all of it, once, or an error."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest

from collector.errors import DatabaseUnavailable, Kind
from collector.store.migrate import migrate
from collector.store.pool import Store, open_store
from collector.store.write import store_batch
from tests.servers import PostgresServer, wait_until
from tests.store.build import AT, WEEK, bars, execute, items_of, put, table, until

# A row of 2026-11-12 waits in the middle of its COPY or MERGE while somebody holds the gate.
GATE = (
    "CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS "
    "'BEGIN PERFORM pg_advisory_xact_lock_shared(77); RETURN NEW; END'",
    "CREATE TRIGGER gate BEFORE INSERT ON daily_prices FOR EACH ROW "
    "WHEN (NEW.date = '2026-11-12') EXECUTE FUNCTION public.wait()",
)
AT_GATE = """
SELECT pid FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()
"""
SLOW = (
    "CREATE FUNCTION public.dawdle() RETURNS trigger LANGUAGE plpgsql AS "
    "'BEGIN PERFORM pg_sleep(0.4); RETURN NEW; END'",
    "CREATE TRIGGER slow BEFORE INSERT ON daily_prices FOR EACH ROW "
    "WHEN (NEW.date = '2026-11-09' AND NEW.ticker < 'T') EXECUTE FUNCTION public.dawdle()",
    "CREATE TRIGGER slower BEFORE INSERT ON daily_prices FOR EACH ROW "
    "WHEN (NEW.ticker >= 'T') EXECUTE FUNCTION public.dawdle()",
)
LATER = AT + timedelta(seconds=1)
Break = Callable[[PostgresServer, int, Store], None]


def kill_backend(_: PostgresServer, pid: int, __: Store) -> None:
    os.kill(pid, signal.SIGKILL)  # the server cuts all connections, and recovers


def terminate_backend(server: PostgresServer, pid: int, _: Store) -> None:
    server.sql(f"SELECT pg_terminate_backend({pid})")


def restart(server: PostgresServer, _: int, __: Store) -> None:
    server.restart("fast")


def restart_at_once(server: PostgresServer, _: int, __: Store) -> None:
    server.restart("immediate")


def crash(server: PostgresServer, _: int, __: Store) -> None:
    server.kill9()
    server.start()


def freeze_until_given_up(server: PostgresServer, _: int, store: Store) -> None:
    server.freeze()
    wait_until(lambda: store._told_at is not None, "the try is given up")
    server.thaw()


BREAKS: list[Break] = [
    kill_backend, terminate_backend, restart, restart_at_once, crash, freeze_until_given_up,
]  # fmt: skip


@asynccontextmanager
async def held_gate(dsn: str) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Close the gate; lend what waits for somebody to stand before it, and names his process."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("SELECT pg_advisory_lock(77)")

    async def arrived() -> int:
        async with asyncio.timeout(10):
            return int(await anext(pid async for pid in asked() if pid is not None))

    async def asked() -> AsyncIterator[int | None]:
        while True:
            yield await connection.fetchval(AT_GATE)

    try:
        yield arrived
    finally:
        connection.terminate()


@asynccontextmanager
async def locked_table(dsn: str) -> AsyncIterator[None]:
    """Lock the daily prices in another session, which ends with the context."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("BEGIN")
        await connection.execute("LOCK TABLE daily_prices")
        yield
    finally:
        connection.terminate()


@pytest.mark.parametrize("known", [False, True], ids=["copied", "merged"])
@pytest.mark.parametrize("fault", BREAKS, ids=lambda fault: fault.__name__)
async def test_a_fault_in_the_middle_of_a_batch_stores_it_once(
    victim: PostgresServer,
    victim_store: Store,
    victim_dsn: str,
    caplog: pytest.LogCaptureFixture,
    fault: Break,
    *,
    known: bool,
) -> None:
    caplog.set_level(logging.INFO)
    if known:
        await put(victim_store, bars("A", days=2), bars("B", days=2), run="r0")
    await execute(victim_store, *GATE)
    async with held_gate(victim_dsn) as arrived:
        writing = asyncio.create_task(put(victim_store, bars("A", at=LATER), bars("B", at=LATER)))
        pid = await arrived()
        await asyncio.to_thread(fault, victim, pid, victim_store)
    stored = await writing
    assert "waiting for PostgreSQL" in caplog.text
    assert "released back to the pool" not in caplog.text  # the cause is told, not what followed
    new, rev = (3, 2) if known else (5, 1)
    assert {(one.outcome, one.inserted, one.rev) for one in stored.values()} == {
        ("stored", new, rev)
    }
    rows = "SELECT ticker, count(*) FROM daily_prices GROUP BY 1 ORDER BY 1"
    assert await table(victim_store, rows) == [("A", 5), ("B", 5)]
    counts = "SELECT ticker, inserted FROM run_items WHERE run = 'r1' ORDER BY 1"
    assert await table(victim_store, counts) == [("A", new), ("B", new)]
    assert len(await table(victim_store, "SELECT FROM weekly_prices")) == 2
    revised = [("1wk",), ("1wk",)] if known else []  # the weeks that had been made of two days
    assert await table(victim_store, "SELECT timeframe FROM price_revisions") == revised


@pytest.mark.parametrize("known", [False, True], ids=["copied", "merged"])
async def test_a_reader_sees_all_of_a_batch_or_nothing(
    store: Store, any_pg_dsn: str, *, known: bool
) -> None:
    before = 2 if known else 0
    if known:
        await put(store, bars("A", days=2), bars("B", days=2))
    await execute(store, *GATE)
    async with held_gate(any_pg_dsn) as arrived:
        writing = asyncio.create_task(put(store, bars("A", 20, at=LATER), bars("B", 20, at=LATER)))
        await arrived()
        seen = "SELECT count(*), count(*) FILTER (WHERE close = 20) FROM daily_prices"
        assert await table(store, seen) == [(2 * before, 0)]
        weeks = await table(store, "SELECT count(*) FROM weekly_prices")
        states = await table(store, "SELECT coalesce(max(rev), 0) FROM ticker_state")
        assert (weeks, states) == ([(before,)], [(int(known),)])
    await writing
    assert await table(store, seen) == [(10, 10)]


async def test_four_writers_of_the_same_tickers_never_deadlock(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    dice, tickers = random.Random(7), [f"T{n}" for n in range(30)]

    async def writer(number: int) -> None:
        for turn in range(6):
            at = AT + timedelta(seconds=turn)
            batch = [bars(ticker, 10 + number + turn, at=at) for ticker in tickers]
            dice.shuffle(batch)
            stored = await put(store, *batch, run=f"r{number}")
            assert len(stored) == 30

    await asyncio.gather(*(writer(number) for number in range(4)))
    assert caplog.text == ""
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert await table(store, deadlocks) == [(0,)]
    closes = "SELECT count(*), count(DISTINCT close) FROM daily_prices GROUP BY ticker"
    assert set(await table(store, closes)) == {(5, 1)}


async def test_a_locked_table_is_waited_for_with_a_word(
    pg_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_store(pg_dsn, timeout_s=1, outage_s=30) as store:
        await migrate(store)
        async with locked_table(pg_dsn):
            writing = asyncio.create_task(put(store, bars("A")))
            await until(lambda: "LockNotAvailableError 55P03" in caplog.text)
        assert (await writing)["A"].inserted == 5
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


async def test_a_locked_table_is_not_waited_for_without_end(pg_dsn: str) -> None:
    async with open_store(pg_dsn, timeout_s=1, outage_s=1) as store:
        await migrate(store)
        async with locked_table(pg_dsn):
            with pytest.raises(DatabaseUnavailable, match="LockNotAvailableError"):
                await put(store, bars("A"))
        assert (await put(store, bars("A")))["A"].inserted == 5


async def test_a_frozen_server_is_given_up_in_time_and_served_again_after(
    victim: PostgresServer, victim_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_store(victim_dsn, timeout_s=1, outage_s=1) as store:
        await migrate(store)
        caplog.clear()
        victim.freeze()
        begun = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="does not answer"):
            await put(store, bars("A"))
        with pytest.raises(DatabaseUnavailable):
            await store.wait_until_reachable(1)
        assert time.monotonic() - begun < 12
        victim.thaw()
        assert (await put(store, bars("A")))["A"].inserted == 5
    told = [record.getMessage() for record in caplog.records]
    assert [text.partition(" at ")[0] for text in told] == ["waiting for PostgreSQL", "PostgreSQL"]


async def test_closing_the_store_does_not_wait_for_a_frozen_server(
    victim: PostgresServer, victim_dsn: str
) -> None:
    async with open_store(victim_dsn, timeout_s=2, outage_s=1) as store:
        await store.fetch("SELECT 1")
        victim.freeze()
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    victim.thaw()


async def test_a_server_that_stays_away_fails_the_batch_within_the_outage_allowed(
    victim: PostgresServer, victim_store: Store
) -> None:
    await asyncio.to_thread(victim.kill9)
    begun = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await store_batch(victim_store, "r1", [bars("A")], last_closed_week=WEEK, outage_s=0.5)
    assert time.monotonic() - begun < 5
    await asyncio.to_thread(victim.start)
    assert await items_of(victim_store, "r1") == []


async def test_what_takes_too_long_is_stored_in_halves(pg_dsn: str) -> None:
    async with open_store(pg_dsn, timeout_s=2.5, outage_s=10) as store:
        await migrate(store)
        await execute(store, *SLOW)
        stored = await put(store, *(bars(f"A{n}") for n in range(6)))  # 2.4 s; 2.25 are allowed
        assert [one.outcome for one in stored.values()] == ["stored"] * 6
        stamps = "SELECT count(*), count(DISTINCT xmin::text) FROM daily_prices"
        assert await table(store, stamps) == [(30, 2)]


async def test_one_ticker_that_takes_too_long_is_an_outage_and_the_half_before_it_stays(
    pg_dsn: str,
) -> None:
    async with open_store(pg_dsn, timeout_s=1, outage_s=2) as store:
        await migrate(store)
        await execute(store, *SLOW)
        with pytest.raises(DatabaseUnavailable, match="57014"):
            await put(store, bars("A"), bars("T"))
        assert await table(store, "SELECT DISTINCT ticker FROM daily_prices") == [("A",)]


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE daily_prices DROP COLUMN volume CASCADE",
        "ALTER TABLE daily_prices ALTER COLUMN volume TYPE int",
        "DROP TABLE ticker_state",
    ],
)
async def test_a_table_changed_by_hand_is_told_and_fails_every_ticker(
    store_18: Store, change: str
) -> None:
    await execute(store_18, change)
    stored = await put(store_18, bars("A"), bars("B"))
    assert {(one.outcome, one.kind) for one in stored.values()} == {("failed", Kind.DB_REJECTED)}


async def test_an_error_that_nobody_knows_is_tried_thrice_and_then_fails_its_ticker(
    store_18: Store,
) -> None:
    await execute(
        store_18,
        "CREATE SEQUENCE public.tries",
        "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM nextval(''public.tries''); RAISE EXCEPTION ''no''; END'",
        "CREATE TRIGGER refuse BEFORE INSERT ON daily_prices FOR EACH ROW "
        "WHEN (NEW.ticker = 'A') EXECUTE FUNCTION public.refuse()",
    )
    stored = await put(store_18, bars("A"))
    assert (stored["A"].kind, stored["A"].message) == (Kind.DB_REJECTED, "RaiseError P0001: no")
    assert await table(store_18, "SELECT last_value FROM public.tries") == [(3,)]


async def test_a_cancelled_batch_leaves_nothing_and_the_pool_whole(
    store_18: Store, pg_dsn: str
) -> None:
    await execute(store_18, *GATE)
    async with held_gate(pg_dsn) as arrived:
        writing = asyncio.create_task(put(store_18, bars("A")))
        await arrived()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    assert await table(store_18, "SELECT FROM daily_prices") == []
    results = await asyncio.gather(*(put(store_18, bars(f"A{n}")) for n in range(8)))
    assert len(results) == 8
