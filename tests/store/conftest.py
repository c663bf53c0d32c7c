"""Migrated databases on the session's servers, and a server of the module's own to break."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from collector.store.migrate import migrate
from collector.store.pool import Store, open_store
from tests.servers import PostgresServer, database_of


@pytest.fixture
async def store(any_pg_dsn: str) -> AsyncIterator[Store]:
    """Lend a store on an up-to-date schema: the test runs on PostgreSQL 16 and on 18."""
    async with open_store(any_pg_dsn, timeout_s=5, outage_s=5) as opened:
        await migrate(opened)
        yield opened


@pytest.fixture
async def store_18(pg_dsn: str) -> AsyncIterator[Store]:
    """Lend a store on an up-to-date schema on PostgreSQL 18 alone."""
    async with open_store(pg_dsn, timeout_s=5, outage_s=5) as opened:
        await migrate(opened)
        yield opened


@pytest.fixture(scope="module")
def victim() -> Iterator[PostgresServer]:
    """Lend a PostgreSQL 18 that the tests of a module freeze, kill and restart."""
    with PostgresServer(18, tcp=True) as server:
        yield server


@pytest.fixture
def victim_dsn(victim: PostgresServer) -> Iterator[str]:
    """Lend the DSN of an empty database on the server that may be broken."""
    with database_of(victim) as dsn:
        yield dsn


@pytest.fixture
async def victim_store(victim_dsn: str) -> AsyncIterator[Store]:
    """Lend a store on an up-to-date schema on the server that may be broken."""
    async with open_store(victim_dsn, timeout_s=4, outage_s=20) as opened:
        await migrate(opened)
        yield opened
