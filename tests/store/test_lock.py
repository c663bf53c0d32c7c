"""One process fetches at a time, and everybody is told which one."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import pytest

from collector.errors import DatabaseUnavailable, LockHeld, UsageError
from collector.store import lock as locking
from collector.store.lock import FetchLock
from tests.servers import PostgresServer
from tests.store.build import until

HOLD = """
import asyncio, sys
from collector.store.lock import FetchLock
async def hold():
    async with FetchLock(sys.argv[1], application_name="the other") as lock:
        await lock.acquire()
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(hold())
"""
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1"


@contextmanager
def other_process(dsn: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds the lock until its input ends or it is killed."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, dsn], stdin=pipe, stdout=pipe, text=True, env=dict(os.environ)
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


async def test_a_second_process_is_refused_at_once_and_told_whom_it_met(any_pg_dsn: str) -> None:
    with other_process(any_pg_dsn):
        async with FetchLock(any_pg_dsn) as lock:
            begun = time.monotonic()
            with pytest.raises(LockHeld, match=r"the other on this host since 20.* UTC \(Postgre"):
                await lock.acquire()
            assert time.monotonic() - begun < 5


async def test_who_waits_says_so_and_has_the_lock_when_the_holder_is_killed(
    pg_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with other_process(pg_dsn) as process:
        async with FetchLock(pg_dsn) as lock:
            waiting = asyncio.create_task(lock.acquire(wait_s=30))
            await until(lambda: "waiting for the other on" in caplog.text)
            assert not waiting.done()
            process.kill()
            await waiting
            await lock.ensure()
    assert caplog.text.count("waiting for") == 1


async def test_who_waits_gives_up_after_its_time(any_pg_dsn: str) -> None:
    async with FetchLock(any_pg_dsn, application_name="first") as first:
        await first.acquire()
        async with FetchLock(any_pg_dsn) as second:
            begun = time.monotonic()
            with pytest.raises(LockHeld, match="first on"):
                await second.acquire(wait_s=0.3)
            assert 0.3 <= time.monotonic() - begun < 5
            await first.close()
            await second.acquire()  # a refusal leaves nothing behind


async def test_the_lock_belongs_to_one_schema_of_one_database(
    postgres_server: PostgresServer, pg_dsn: str
) -> None:
    elsewhere = postgres_server.create_database()
    try:
        async with FetchLock(pg_dsn) as one, FetchLock(pg_dsn, schema="other") as two:
            await one.acquire()
            await two.acquire()
            async with FetchLock(elsewhere) as three:
                await three.acquire()
                await three.ensure()
    finally:
        postgres_server.drop_database(elsewhere)


async def test_ensuring_is_quiet_while_the_lock_is_ours(
    any_pg_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with FetchLock(any_pg_dsn) as lock:
        await lock.acquire()
        await lock.ensure()
        await lock.acquire()  # once more is once: a close frees it
        await lock.close()
        async with FetchLock(any_pg_dsn) as other:
            await other.acquire()
    assert caplog.text == ""


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_the_lock_outlives_a_restart_of_the_server(
    victim: PostgresServer, victim_dsn: str, mode: str
) -> None:
    async with FetchLock(victim_dsn, application_name="first") as first:
        await first.acquire()
        await asyncio.to_thread(victim.restart, mode)
        await first.ensure()
        async with FetchLock(victim_dsn) as second:
            with pytest.raises(LockHeld, match="first on"):
                await second.acquire()


async def test_ensuring_waits_for_a_server_that_is_away_and_no_longer_than_asked(
    victim: PostgresServer, victim_dsn: str
) -> None:
    async with FetchLock(victim_dsn, timeout_s=2) as lock:
        await lock.acquire()
        await asyncio.to_thread(victim.kill9)
        begun = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="does not answer"):
            await lock.ensure(outage_s=0.5)
        assert time.monotonic() - begun < 5
        ensuring = asyncio.create_task(lock.ensure(outage_s=30))
        await asyncio.to_thread(victim.start)
        await ensuring


async def test_a_frozen_server_holds_nobody_longer_than_the_deadline(
    victim: PostgresServer, victim_dsn: str
) -> None:
    async with FetchLock(victim_dsn, timeout_s=1) as lock:
        await lock.acquire()
        victim.freeze()
        begun = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            await lock.ensure(outage_s=1)
        await lock.close()
        assert time.monotonic() - begun < 8
        victim.thaw()


async def test_a_frozen_server_does_not_hold_up_the_end(
    victim: PostgresServer, victim_dsn: str
) -> None:
    lock = FetchLock(victim_dsn, timeout_s=1)
    await lock.acquire()
    victim.freeze()
    begun = time.monotonic()
    await lock.close()
    assert time.monotonic() - begun < 5
    victim.thaw()


async def test_who_lost_the_lock_to_another_is_told_by_whom(
    any_pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking, "RELEASE_S", 0.3)
    admin = await asyncpg.connect(any_pg_dsn)
    async with FetchLock(any_pg_dsn, application_name="first") as first:
        await first.acquire()
        async with FetchLock(any_pg_dsn, application_name="second") as second:
            await admin.execute(CUT, "first")
            await second.acquire(wait_s=5)
            with pytest.raises(LockHeld, match="second on"):
                await first.ensure(outage_s=5)
            await second.ensure()
    await admin.close()


async def test_a_bad_dsn_is_told_without_its_password() -> None:
    lock = FetchLock("postgresql://u:hunter2@localhost:port/x")
    with pytest.raises(UsageError) as caught:
        await lock.acquire()
    assert "hunter2" not in f"{caught.value!r}{caught.value.__cause__!r}"
