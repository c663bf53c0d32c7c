"""Connections: what the server is told, what it is asked, and how long anybody waits."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from collector.errors import CollectorError, DatabaseRejected, DatabaseUnavailable, UsageError
from collector.store.pool import Store, connect_options, open_store, quoted
from tests.servers import PostgresServer
from tests.store.build import table

SETTINGS = """
SELECT current_setting(name) FROM unnest($1::text[]) WITH ORDINALITY AS n (name, place)
ORDER BY place
"""


async def test_every_connection_has_deadlines_on_the_server_too(any_pg_dsn: str) -> None:
    async with open_store(any_pg_dsn, schema="s", timeout_s=10, application_name="me") as store:
        names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
        names += ["search_path", "TimeZone", "application_name"]
        found = [row[0] for row in await table(store, SETTINGS, names)]
    assert found == ["9s", "5s", "20s", '"s"', "UTC", "me"]


def test_the_server_gives_up_before_we_do() -> None:
    options = connect_options("public", 0.001, "x")
    assert options["command_timeout"] == 0.001
    assert options["server_settings"]["statement_timeout"] == "1"  # nought would be no limit


@pytest.mark.parametrize(("name", "expected"), [("a", '"a"'), ('a"; DROP', '"a""; DROP"')])
def test_a_name_is_quoted(name: str, expected: str) -> None:
    assert quoted(name) == expected


async def test_a_server_that_may_lose_what_it_acknowledged_is_warned_of(
    pg_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_store(pg_dsn) as store:  # the tests' server runs without fsync
        await store.wait_until_reachable(5)
    assert "may lose stored rows in a crash: fsync or synchronous_commit is off" in caplog.text


async def test_a_durable_server_is_no_cause_for_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with PostgresServer(18, durable=True) as server:
        async with open_store(server.dsn()) as store:
            await store.wait_until_reachable(5)
    assert caplog.text == ""


async def test_a_pooler_that_drops_our_schema_is_refused(pg_dsn: str) -> None:
    async with open_store(pg_dsn, schema="ours") as store:
        other = Store(store._pool, store.server, "theirs", 5, 5)
        with pytest.raises(UsageError, match="ignores our search_path"):
            await other.wait_until_reachable(5)


async def test_a_server_that_accepts_and_is_silent_is_given_up_in_time() -> None:
    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(be_silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with open_store(f"postgresql://u@127.0.0.1:{port}/x", timeout_s=30) as store:
        begun = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match=r"does not answer within 0\.2 s"):
            await store.wait_until_reachable(0.2)
        assert time.monotonic() - begun < 5
    server.close()
    await server.wait_closed()


async def test_an_outage_is_told_once_and_its_end_too(
    victim: PostgresServer, victim_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_store(victim_dsn, timeout_s=2, outage_s=30) as store:
        await store.fetch("SELECT 1")
        await asyncio.to_thread(victim.kill9)
        asking = [asyncio.create_task(store.fetch("SELECT 1")) for _ in range(3)]
        await asyncio.to_thread(victim.start)
        await asyncio.gather(*asking)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert told[0].startswith("waiting for PostgreSQL at ")
    assert told[1].endswith(" is back")


async def test_a_restart_while_idle_is_not_noticed(victim: PostgresServer, victim_dsn: str) -> None:
    async with open_store(victim_dsn, timeout_s=5, outage_s=20) as store:
        before = await table(store, "SELECT pg_backend_pid()")
        await asyncio.to_thread(victim.restart)
        assert await table(store, "SELECT pg_backend_pid()") != before


async def test_an_error_inside_a_lent_connection_is_ours_and_the_connection_stays_good(
    any_pg_dsn: str,
) -> None:
    async with open_store(any_pg_dsn, pool_size=1, timeout_s=5) as store:
        for statement, error in (("SELECT 1/0", DatabaseRejected), ("SELEC", CollectorError)):
            with pytest.raises(error):
                async with store.connection() as connection:
                    await connection.execute(statement)
        assert await table(store, "SELECT 1") == [(1,)]


async def test_a_transaction_left_open_by_an_error_is_cut(pg_dsn: str) -> None:
    async with open_store(pg_dsn, pool_size=1, timeout_s=5) as store:

        async def forget_to_commit() -> None:
            async with store.connection() as connection:
                await connection.execute("BEGIN")
                await connection.execute("CREATE TABLE public.left_over ()")
                raise KeyError

        with pytest.raises(KeyError):
            await forget_to_commit()
        assert await table(store, "SELECT to_regclass('public.left_over')::text") == [(None,)]


async def test_a_pool_that_is_all_in_use_is_not_waited_for_without_end(pg_dsn: str) -> None:
    async with open_store(pg_dsn, pool_size=1, timeout_s=0.3, outage_s=0.3) as store:
        async with store.connection():
            begun = time.monotonic()
            with pytest.raises(DatabaseUnavailable):
                await store.fetch("SELECT 1")
            assert time.monotonic() - begun < 5
        assert await table(store, "SELECT 1") == [(1,)]
