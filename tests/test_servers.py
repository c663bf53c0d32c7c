"""The tests' own servers: fresh databases, crashes and freezes are what they say."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio
import uvloop

from tests.servers import AS_ROOT, PostgresServer, RedisServer, children_of, is_running


async def fetch(dsn: str, statement: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        return await connection.fetchval(statement, timeout=5)
    finally:
        await connection.close(timeout=5)


async def test_every_version_gives_an_empty_database(
    any_pg_dsn: str, request: pytest.FixtureRequest
) -> None:
    major = int(str(await fetch(any_pg_dsn, "SHOW server_version_num"))) // 10_000
    assert f"pg{major}" in request.node.name
    assert await fetch(any_pg_dsn, "SELECT count(*) FROM pg_stat_user_tables") == 0


@pytest.mark.parametrize("turn", [1, 2])
async def test_no_table_of_another_test_is_seen(pg_dsn: str, turn: int) -> None:
    await fetch(pg_dsn, f"CREATE TABLE mine AS SELECT {turn} AS turn")
    assert await fetch(pg_dsn, "SELECT turn FROM mine") == turn


async def test_an_open_connection_does_not_hinder_the_drop(
    postgres_server: PostgresServer,
) -> None:
    dsn = postgres_server.create_database()
    connection = await asyncpg.connect(dsn, timeout=5)
    postgres_server.drop_database(dsn)
    with pytest.raises(asyncpg.PostgresError):
        await connection.fetchval("SELECT 1", timeout=5)
    connection.terminate()


async def test_a_crash_loses_no_acknowledged_row(lone_postgres: PostgresServer) -> None:
    dsn = lone_postgres.tcp_dsn()
    await fetch(dsn, "CREATE TABLE kept AS SELECT 7 AS n")
    helpers = children_of(lone_postgres.pid)
    lone_postgres.kill9()
    assert helpers
    assert not any(map(is_running, helpers))
    lone_postgres.start()
    assert await fetch(dsn, "SELECT n FROM kept") == 7


async def test_a_frozen_postgres_accepts_and_never_answers(lone_postgres: PostgresServer) -> None:
    lone_postgres.freeze()
    with pytest.raises(TimeoutError):
        await asyncpg.connect(lone_postgres.dsn(), timeout=0.3)
    lone_postgres.thaw()
    assert await fetch(lone_postgres.dsn(), "SELECT 1") == 1


async def test_a_restart_keeps_the_rows(lone_postgres: PostgresServer) -> None:
    lone_postgres.sql("CREATE TABLE kept AS SELECT 7 AS n")
    lone_postgres.restart("immediate")
    assert lone_postgres.sql("SELECT n FROM kept") == "7"


@pytest.mark.parametrize("turn", [1, 2])
async def test_redis_is_empty_for_each_test(redis_url: str, turn: int) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert await client.dbsize() == 0
        assert await client.set("turn", turn)


async def test_redis_can_be_killed_and_comes_back_empty(lone_redis: RedisServer) -> None:
    lone_redis.call("SET a 1")
    lone_redis.kill9()
    assert not lone_redis.answers()
    lone_redis.start()
    async with redis.asyncio.Redis.from_url(lone_redis.tcp_url) as client:
        assert await client.get("a") is None


def test_closing_a_frozen_server_leaves_no_process_and_no_file() -> None:
    server = RedisServer()
    with server:
        pid = server.pid
        server.freeze()
    assert not is_running(pid)
    assert not server.root.exists()


def test_a_server_that_cannot_start_shows_its_log() -> None:
    server = RedisServer(options={"maxmemory": "nonsense"})
    with pytest.raises(RuntimeError, match="maxmemory"):
        server.__enter__()
    assert not server.root.exists()


@pytest.mark.skipif(not AS_ROOT, reason="a normal user's servers are his")
def test_as_root_the_servers_are_not_root(
    postgres_server: PostgresServer, redis_server: RedisServer
) -> None:
    owners = {
        Path(f"/proc/{server.pid}").stat().st_uid for server in (postgres_server, redis_server)
    }
    assert os.geteuid() not in owners


async def test_tests_run_on_the_loop_of_production() -> None:
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_test_may_ask_for_the_other_loop() -> None:
    assert not isinstance(asyncio.get_running_loop(), uvloop.Loop)
