"""Real servers, one per test session (and xdist worker), started when a test first asks for them.

``pg_dsn``            a fresh database on PostgreSQL 18
``any_pg_dsn``        the same on PostgreSQL 16 and 18: the test runs twice
``postgres_server``   the PostgreSQL 18 of the session, for SQL beside the code under test
``redis_url``         the Redis of the session, emptied before the test
``redis_server``      the same as an object
``lone_postgres``, ``lone_redis``   a server for this test alone, to freeze, kill and restart

Tests run on uvloop, as the program does. ``@pytest.mark.asyncio(loop_factories=["asyncio"])``, or
with both names, asks for another loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
import uvloop

from tests.servers import PostgresServer, RedisServer, database_of

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give every test uvloop, and both loops to choose from where its marker names loops."""
    marker = item.get_closest_marker("asyncio")
    if marker is not None and marker.kwargs.get("loop_factories"):
        return LOOPS
    return {"uvloop": LOOPS["uvloop"]}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Lend the session's PostgreSQL 18."""
    with PostgresServer(18) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server_16() -> Iterator[PostgresServer]:
    """Lend the session's PostgreSQL 16."""
    with PostgresServer(16) as server:
        yield server


@pytest.fixture
def pg_dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """Lend the DSN of an empty database on PostgreSQL 18, dropped after the test."""
    with database_of(postgres_server) as dsn:
        yield dsn


@pytest.fixture(params=[16, 18], ids=["pg16", "pg18"])
def any_pg_dsn(request: pytest.FixtureRequest) -> Iterator[str]:
    """Lend the DSN of an empty database, on PostgreSQL 16 and on 18."""
    name = "postgres_server" if request.param == 18 else "postgres_server_16"
    with database_of(request.getfixturevalue(name)) as dsn:
        yield dsn


@pytest.fixture
def lone_postgres() -> Iterator[PostgresServer]:
    """Lend a PostgreSQL 18 of this test alone, on a socket and on loopback TCP."""
    with PostgresServer(18, tcp=True) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Lend the session's Redis."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Return the URL of a running Redis without a key."""
    redis_server.start()
    redis_server.thaw()
    redis_server.flush()
    return redis_server.url


@pytest.fixture
def lone_redis() -> Iterator[RedisServer]:
    """Lend a Redis of this test alone, on a socket and on loopback TCP."""
    with RedisServer(tcp=True) as server:
        yield server
