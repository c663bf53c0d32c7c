"""The schema: made once, checked by readers, refused where it is not ours."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from collector.errors import DatabaseRejected, DatabaseUnavailable, SchemaMismatch
from collector.store import migrate as migrating
from collector.store.migrate import check, migrate, migrations, tables
from collector.store.pool import Store, open_store, quoted
from tests.servers import PostgresServer
from tests.store.build import bars, execute, put, table

READ_ONLY = "&default_transaction_read_only=on"
NAMES = "SELECT tablename::text FROM pg_tables WHERE schemaname = $1 ORDER BY 1"


@asynccontextmanager
async def opened(dsn: str, schema: str = "public") -> AsyncIterator[Store]:
    async with open_store(dsn, schema=schema, timeout_s=5, outage_s=1) as store:
        yield store


@pytest.fixture
async def empty(any_pg_dsn: str) -> AsyncIterator[Store]:
    async with opened(any_pg_dsn) as store:
        yield store


@pytest.fixture
def role(postgres_server: PostgresServer) -> Iterator[str]:
    """Lend a role of no rights of its own; what it was granted goes with its database."""
    name = f"role_{uuid.uuid4().hex[:8]}"
    postgres_server.sql(f"CREATE ROLE {name} LOGIN")
    yield name
    postgres_server.sql(f"DROP ROLE {name}")


@pytest.fixture
def role_dsn(role: str, pg_dsn: str) -> str:
    return pg_dsn.replace("postgres@", f"{role}@")


def test_the_migrations_are_numbered_from_one_without_a_gap() -> None:
    assert list(migrations()) == list(range(1, len(migrations()) + 1))
    assert {"daily_prices", "runs", "price_revisions"} <= set(tables())


async def test_a_fresh_database_gets_every_table_and_a_repetition_nothing(empty: Store) -> None:
    assert await migrate(empty) == list(migrations())
    await check(empty)
    found = [row[0] for row in await table(empty, NAMES, "public")]
    assert found == sorted((*tables(), "collector_migrations"))
    assert await migrate(empty) == []
    assert len(await table(empty, "SELECT FROM collector_migrations")) == len(migrations())


async def test_of_four_at_once_one_migrates_and_the_others_wait_for_it(
    any_pg_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def one() -> list[int]:
        async with opened(any_pg_dsn, "four") as store:
            applied = await migrate(store)
            await check(store)
            return applied

    results = await asyncio.gather(*(one() for _ in range(4)))
    assert sorted(results) == [[], [], [], list(migrations())]
    assert caplog.text == ""  # nobody ran into another, and tried again


async def test_two_versions_are_applied_one_by_one_and_half_a_one_never(
    empty: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = {**migrations(), 2: "CREATE TABLE second (); SELECT 1 / 0"}
    monkeypatch.setattr(migrating, "migrations", lambda: two)
    with pytest.raises(DatabaseRejected, match="division by zero"):
        await migrate(empty)
    assert await table(empty, "SELECT version FROM collector_migrations") == [(1,)]
    with pytest.raises(SchemaMismatch, match="is of version 1, this program needs 2"):
        await check(empty)
    two[2] = "CREATE TABLE second ()"
    assert await migrate(empty) == [2]
    await check(empty)


async def test_a_newer_schema_is_refused_by_readers_and_writers(empty: Store) -> None:
    await migrate(empty)
    await execute(empty, "INSERT INTO collector_migrations (version) VALUES (99)")
    for work in (check, migrate):
        with pytest.raises(SchemaMismatch, match=r"version 99, newer .* postgres\.schema"):
            await work(empty)


@pytest.mark.parametrize(
    "foreign",
    [
        "CREATE TABLE runs (x int)",
        "CREATE VIEW daily_prices AS SELECT 1",
        "CREATE SEQUENCE tickers",
    ],
)
async def test_foreign_tables_are_refused_and_left_alone(pg_dsn: str, foreign: str) -> None:
    async with opened(pg_dsn) as store:
        await execute(store, foreign)
        name = foreign.split()[2]
        with pytest.raises(SchemaMismatch, match=rf"already holds {name}, .*postgres\.schema"):
            await migrate(store)
        assert await table(store, "SELECT relname::text FROM pg_class WHERE relnamespace = "
                                  "'public'::regnamespace") == [(name,)]  # fmt: skip


async def test_a_foreign_ledger_is_not_ours(pg_dsn: str) -> None:
    async with opened(pg_dsn) as store:
        await execute(store, "CREATE TABLE collector_migrations (id int)")
        for work in (check, migrate):
            with pytest.raises(SchemaMismatch, match=r"not the ones .*postgres\.schema"):
                await work(store)


@pytest.mark.parametrize("schema", ["prices", 'Odd "one" é; --', "select"])
async def test_a_schema_of_any_name_is_made_and_used(any_pg_dsn: str, schema: str) -> None:
    async with opened(any_pg_dsn, schema) as store:
        await store.wait_until_reachable(5)
        await migrate(store)
        await check(store)
        assert (await put(store, bars("A")))["A"].inserted == 5
        rows = f"SELECT count(*) FROM {quoted(schema)}.daily_prices"  # noqa: S608 (the test's own)
        assert await table(store, rows) == [(5,)]
        assert await table(store, NAMES, "public") == []


async def test_two_schemas_side_by_side_do_not_see_each_other(any_pg_dsn: str) -> None:
    async with opened(any_pg_dsn, "one") as one, opened(any_pg_dsn, "two") as two:
        await migrate(one)
        with pytest.raises(SchemaMismatch, match=r"schema two .* holds no tables of ours yet"):
            await check(two)
        await migrate(two)
        await put(one, bars("A"), bars("B"))
        await put(two, bars("A", days=1))
        counts = [await table(store, "SELECT count(*) FROM daily_prices") for store in (one, two)]
        assert counts == [[(10,)], [(1,)]]


async def test_checking_an_empty_database_says_what_to_run_and_writes_nothing(pg_dsn: str) -> None:
    async with opened(pg_dsn) as store:
        with pytest.raises(
            SchemaMismatch, match="holds no tables of ours yet: begin with `collector tickers add`"
        ):
            await check(store)
        assert await table(store, NAMES, "public") == []


async def test_checking_needs_no_right_to_write(any_pg_dsn: str) -> None:
    async with opened(any_pg_dsn) as store:
        await migrate(store)
    async with opened(any_pg_dsn + READ_ONLY) as reader:
        assert await table(reader, "SHOW default_transaction_read_only") == [("on",)]
        await check(reader)


async def test_a_read_only_server_is_told_as_such(pg_dsn: str) -> None:
    async with opened(pg_dsn + READ_ONLY) as store:
        with pytest.raises(DatabaseUnavailable, match="is read-only"):
            await migrate(store)


@pytest.mark.parametrize("schema", ["public", "new"])
async def test_a_role_that_may_not_create_is_told_what_to_grant(role_dsn: str, schema: str) -> None:
    async with opened(role_dsn, schema) as store:
        with pytest.raises(SchemaMismatch, match=f'GRANT USAGE, CREATE ON SCHEMA "{schema}" TO'):
            await migrate(store)


async def test_a_role_without_usage_is_told_too_and_a_grant_helps(
    role: str, role_dsn: str, pg_dsn: str
) -> None:
    async with opened(pg_dsn) as owner, opened(role_dsn, "theirs") as store:
        await execute(owner, "CREATE SCHEMA theirs")
        for work in (check, migrate):
            with pytest.raises(SchemaMismatch, match="GRANT"):
                await work(store)
        await execute(owner, f"GRANT USAGE, CREATE ON SCHEMA theirs TO {role}")
        assert await migrate(store) == list(migrations())


async def test_a_reader_without_select_is_told_of_the_privilege(role_dsn: str, pg_dsn: str) -> None:
    async with opened(pg_dsn) as owner, opened(role_dsn) as store:
        await migrate(owner)
        with pytest.raises(SchemaMismatch, match=r"lacks a privilege .*GRANT it"):
            await check(store)


async def test_a_web_role_needs_select_and_insert_on_requests_alone(
    role: str, role_dsn: str, pg_dsn: str
) -> None:
    async with opened(pg_dsn) as owner, opened(role_dsn) as web:
        await migrate(owner)
        await execute(
            owner,
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
            f"GRANT INSERT ON requests TO {role}",
        )
        await check(web)
        await execute(web, "INSERT INTO requests (ticker) VALUES ('AAPL')")
        for name in set(tables()) - {"requests"}:
            with pytest.raises(SchemaMismatch, match=f"permission denied for table {name}"):
                await execute(web, f"DELETE FROM {name}")  # noqa: S608 (our own tables)
