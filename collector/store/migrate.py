"""The schema's version: numbered SQL files, applied forward only, each in a transaction.

``migrations/NNNN_name.sql`` holds version NNNN. The table ``collector_migrations`` says which are
applied.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import asyncpg

from collector.errors import SchemaMismatch
from collector.store.pool import Store, Work, quoted

LOCK_CLASS = 0x636F6D69  # "comi": keeps this lock apart from everybody else's
NAME = re.compile(r"(\d{4})_\w+\.sql")

LOCK = "SELECT pg_advisory_xact_lock($1, $2)"
SCHEMA_EXISTS = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)"
MAKE_LEDGER = """
CREATE TABLE collector_migrations (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
HAS_LEDGER = "SELECT to_regclass($1) IS NOT NULL"
VERSION = "SELECT coalesce(max(version), 0) FROM collector_migrations"
APPLIED = "INSERT INTO collector_migrations (version) VALUES ($1)"
FOREIGN = """
SELECT relname FROM pg_class
WHERE relnamespace = to_regnamespace($1) AND relname = ANY ($2::text[]) ORDER BY relname
"""

log = logging.getLogger(__name__)


@cache
def migrations() -> Mapping[int, str]:
    """The SQL of every version, from 1 on."""
    directory = files("collector.store") / "migrations"
    found = [(NAME.fullmatch(entry.name), entry) for entry in directory.iterdir()]
    return {
        int(match[1]): entry.read_text("utf-8")
        for match, entry in sorted(found, key=lambda pair: pair[1].name)
        if match
    }


@cache
def tables() -> tuple[str, ...]:
    """The names of every table that the migrations make."""
    sql = "\n".join(migrations().values())
    return tuple(re.findall(r"^CREATE TABLE (\w+)", sql, re.MULTILINE))


async def migrate(store: Store, *, outage_s: float | None = None) -> list[int]:
    """Bring the schema up to date; return the versions applied now.

    Several processes may do so at once: one works, the others wait for it. Raises `SchemaMismatch`
    where the schema is newer than this program, where tables of our names are somebody else's, and
    where the role may not create.
    """
    applied: list[int] = []
    while True:
        try:
            version = await store.transact_unmarked(_next_step(store.schema), outage_s=outage_s)
        except SchemaMismatch as error:
            raise _explained(error, store) from error
        if version is None:
            return applied
        log.info("database schema %s: version %d applied", store.schema, version)
        applied.append(version)


async def check(store: Store, *, outage_s: float | None = None) -> None:
    """Raise `SchemaMismatch` unless the schema is the one of this program. Writes nothing."""
    newest = max(migrations())
    (row,) = await store.fetch(HAS_LEDGER, _ledger(store.schema), outage_s=outage_s)
    if not row[0]:
        raise SchemaMismatch(
            f"schema {store.schema} of {store.server} holds no tables of ours yet: begin with "
            "`collector tickers add`, or point postgres.schema at the schema that has them"
        )
    (row,) = await store.fetch(VERSION, outage_s=outage_s)
    if row[0] < newest:
        raise SchemaMismatch(
            f"schema {store.schema} of {store.server} is of version {row[0]}, this program needs "
            f"{newest}: `collector run`, `backfill` or `daemon` brings it up to date"
        )
    _refuse_newer(store.schema, row[0])


def _next_step(schema: str) -> Work[int | None]:
    """Return the work that applies the next version: it returns that, or None if there is none."""

    async def step(connection: asyncpg.Connection) -> int | None:
        await connection.execute(LOCK, LOCK_CLASS, lock_id(schema))
        if not await connection.fetchval(HAS_LEDGER, _ledger(schema)):
            await _prepare(connection, schema)
        version = await connection.fetchval(VERSION)
        _refuse_newer(schema, version)
        if version == max(migrations()):
            return None
        await connection.execute(migrations()[version + 1])
        await connection.execute(APPLIED, version + 1)
        return int(version) + 1

    return step


async def _prepare(connection: asyncpg.Connection, schema: str) -> None:
    if not await connection.fetchval(SCHEMA_EXISTS, schema):
        await connection.execute(f"CREATE SCHEMA {quoted(schema)}")
    foreign = [row[0] for row in await connection.fetch(FOREIGN, quoted(schema), list(tables()))]
    if foreign:
        raise SchemaMismatch(
            f"schema {schema} already holds {', '.join(foreign)}, which this program did not make: "
            "choose another schema with postgres.schema"
        )
    await connection.execute(MAKE_LEDGER)


def _refuse_newer(schema: str, version: int) -> None:
    if version > max(migrations()):
        raise SchemaMismatch(
            f"schema {schema} is of version {version}, newer than this program, which knows "
            f"{max(migrations())}: upgrade it, or choose another schema with postgres.schema"
        )


def _explained(error: SchemaMismatch, store: Store) -> SchemaMismatch:
    """Say what to grant where the role may not create."""
    if not isinstance(error.__cause__, asyncpg.InsufficientPrivilegeError):
        return error
    schema = quoted(store.schema)
    return SchemaMismatch(
        f"the role of the DSN may not create tables in schema {store.schema} of {store.server}: "
        f"GRANT USAGE, CREATE ON SCHEMA {schema} TO it (GRANT CREATE ON DATABASE where the schema "
        "is yet to be made), or choose a schema of its own with postgres.schema"
    )


def _ledger(schema: str) -> str:
    return f"{quoted(schema)}.collector_migrations"


def lock_id(schema: str) -> int:
    """Return a number for an advisory lock (a signed 32-bit integer) that goes by the schema."""
    return zlib.crc32(schema.encode()) - 2**31
