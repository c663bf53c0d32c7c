"""What a database error means, and what a person reads of it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import asyncpg
import pytest

from collector.errors import (
    CollectorError,
    DatabaseRejected,
    DatabaseUnavailable,
    LockHeld,
    SchemaMismatch,
    UsageError,
)
from collector.store.classify import Remedy, remedy, told, translated
from collector.store.pool import described, open_store
from tests.servers import PostgresServer, free_port

SECRET = "hunter2"  # noqa: S105 (not a secret)
STATES = {
    "08006": Remedy.RECONNECT,  # connection_failure
    "57P01": Remedy.RECONNECT,  # admin_shutdown
    "57P02": Remedy.RECONNECT,  # crash_shutdown
    "57P03": Remedy.RECONNECT,  # cannot_connect_now
    "53100": Remedy.RECONNECT,  # disk_full
    "53300": Remedy.RECONNECT,  # too_many_connections
    "25006": Remedy.RECONNECT,  # read_only_sql_transaction
    "25P03": Remedy.RECONNECT,  # idle_in_transaction_session_timeout
    "40001": Remedy.AGAIN,  # serialization_failure
    "40P01": Remedy.AGAIN,  # deadlock_detected
    "55P03": Remedy.AGAIN,  # lock_not_available
    "23505": Remedy.AGAIN,  # unique_violation
    "0A000": Remedy.AGAIN,  # cached plan must not change result type
    "57014": Remedy.HALVE,  # query_canceled
    "22021": Remedy.REJECT,  # character_not_in_repertoire
    "23514": Remedy.REJECT,  # check_violation
    "42P01": Remedy.SCHEMA,  # undefined_table
    "42703": Remedy.SCHEMA,  # undefined_column
    "42804": Remedy.SCHEMA,  # datatype_mismatch
    "42501": Remedy.SCHEMA,  # insufficient_privilege
    "3F000": Remedy.SCHEMA,  # invalid_schema_name
    "28P01": Remedy.CONFIGURE,  # invalid_password
    "28000": Remedy.CONFIGURE,  # invalid_authorization_specification
    "3D000": Remedy.CONFIGURE,  # invalid_catalog_name
    "XX000": Remedy.UNKNOWN,  # internal_error
    "P0001": Remedy.UNKNOWN,  # raise_exception
}
TYPES = [
    (asyncpg.ConnectionDoesNotExistError("gone"), Remedy.RECONNECT),
    (asyncpg.InterfaceError("connection is closed"), Remedy.RECONNECT),
    (asyncpg.InternalClientError("cannot switch to state 15"), Remedy.RECONNECT),
    (ConnectionRefusedError(111, "refused"), Remedy.RECONNECT),
    (TimeoutError(), Remedy.RECONNECT),
    (asyncpg.DataError("invalid input for query argument"), Remedy.REJECT),
    (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), Remedy.REJECT),
    (OverflowError("too large"), Remedy.REJECT),
    (ValueError("no"), Remedy.REJECT),
    (AttributeError("a defect"), Remedy.UNKNOWN),
]
TRANSLATED: list[tuple[str, type[CollectorError], str]] = [
    ("57P03", DatabaseUnavailable, "at db:5432/p does not answer: "),
    ("57014", DatabaseUnavailable, "does not answer"),
    ("25006", DatabaseUnavailable, "is read-only"),
    ("28P01", DatabaseUnavailable, "refused us"),
    ("3D000", DatabaseUnavailable, "refused us"),
    ("22021", DatabaseRejected, "22021: said"),
    ("XX000", DatabaseRejected, "XX000: said"),
    ("42501", SchemaMismatch, "lacks a privilege at db:5432/p"),
    ("42P01", SchemaMismatch, "not the ones that this program made"),
]


def of_state(state: str) -> asyncpg.PostgresError:
    """Build the error that asyncpg makes of the server's answer."""
    built: asyncpg.PostgresError = asyncpg.PostgresError.new({"C": state, "M": "said"})
    return built


@pytest.mark.parametrize(("state", "expected"), STATES.items())
def test_a_sqlstate_has_a_remedy(state: str, expected: Remedy) -> None:
    assert remedy(of_state(state)) is expected


@pytest.mark.parametrize(("error", "expected"), TYPES, ids=lambda one: type(one).__name__)
def test_an_error_that_never_came_from_the_server_goes_by_its_type(
    error: Exception, expected: Remedy
) -> None:
    assert remedy(error) is expected


@pytest.mark.parametrize(("state", "expected", "text"), TRANSLATED)
def test_a_translated_error_says_what_happened_where(
    state: str, expected: type[CollectorError], text: str
) -> None:
    error = translated(of_state(state), "db:5432/p")
    assert type(error) is expected
    assert text in str(error)


def test_our_own_errors_are_not_translated_again() -> None:
    ours = LockHeld("x is fetching")
    assert translated(ours, "db") is ours


def test_an_error_is_told_in_one_short_line() -> None:
    error = asyncpg.PostgresError.new({"C": "22021", "M": "two\nlines\t" + "x" * 1000})
    assert told(error).startswith("CharacterNotInRepertoireError 22021: two lines x")
    assert len(told(error)) < 400
    assert told(TimeoutError()) == "TimeoutError"


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        (f"postgresql://u:{SECRET}@db:5432/prices", "db:5432/prices"),
        (f"postgresql://u:{SECRET}@db/prices?sslmode=require", "db/prices"),
        (f"postgresql://u:{SECRET}@/prices?host=/run/pg&port=1", "/run/pg/prices"),
        (f"postgresql://u:{SECRET}@[::1]:5432/my%20prices", "::1:5432/my prices"),
        ("postgresql:///prices", "localhost/prices"),
        (f"postgresql://u:{SECRET}@db:port/prices", "the configured server"),
        (f"postgresql://u:{SECRET}@[db/prices", "the configured server"),
    ],
)
def test_a_message_names_the_server_and_never_the_password(dsn: str, expected: str) -> None:
    assert described(dsn) == expected


async def refusal(dsn: str) -> tuple[CollectorError, float]:
    """Return the error of the first query, and how long it took, in seconds."""
    begun = time.monotonic()
    async with open_store(dsn, timeout_s=5, outage_s=30) as store:
        with pytest.raises(CollectorError) as caught:
            await store.wait_until_reachable(30)
    return caught.value, time.monotonic() - begun


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://u:{SECRET}@localhost:port/x",
        f"postgresql://u:{SECRET}@[localhost/x",
        f"mysql://u:{SECRET}@localhost/x",
        f"u:{SECRET}@localhost",
        f"postgresql://u:{SECRET}@localhost/x?sslmode=often",
    ],
)
async def test_a_bad_dsn_is_an_error_of_usage_without_the_password(dsn: str) -> None:
    error, took_s = await refusal(dsn)
    assert isinstance(error, UsageError)
    assert "postgresql://user:password@host" in str(error)
    assert SECRET not in f"{error!r}{error.__cause__!r}"
    assert took_s < 5


@pytest.fixture
def guarded(victim: PostgresServer) -> Iterator[PostgresServer]:
    """Lend the server while it asks everybody on TCP for a password."""
    rules = victim.data / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"host all all 127.0.0.1/32 scram-sha-256\n{before}")
    victim.sql("CREATE ROLE clerk LOGIN PASSWORD 'right'")
    victim.sql("SELECT pg_reload_conf()")
    yield victim
    rules.write_text(before)
    victim.sql("DROP ROLE clerk")
    victim.sql("SELECT pg_reload_conf()")


@pytest.mark.parametrize(
    ("credentials", "database", "text"),
    [
        (f"clerk:{SECRET}", "postgres", "InvalidPasswordError 28P01"),
        (f"nobody:{SECRET}", "postgres", "InvalidPasswordError 28P01"),
        ("clerk:right", "missing", 'InvalidCatalogNameError 3D000: database "missing"'),
    ],
)
async def test_what_only_the_operator_can_mend_is_told_at_once(
    guarded: PostgresServer, credentials: str, database: str, text: str
) -> None:
    host = f"127.0.0.1:{guarded.port}/{database}"
    error, took_s = await refusal(f"postgresql://{credentials}@{host}")
    assert isinstance(error, DatabaseUnavailable)
    assert f"PostgreSQL at {host} refused us: {text}" in str(error)
    assert SECRET not in f"{error!r}{error.__cause__!r}"
    assert took_s < 5
    assert guarded.log.count("scram") < 20  # no storm of tries


async def test_a_role_that_does_not_exist_is_named(victim_dsn: str) -> None:
    error, took_s = await refusal(victim_dsn.replace("postgres@", "stranger@"))
    assert 'role "stranger" does not exist' in str(error)
    assert took_s < 5


async def test_a_server_that_is_not_there_is_waited_for_and_then_named() -> None:
    port = free_port()
    async with open_store(f"postgresql://u:{SECRET}@127.0.0.1:{port}/x", outage_s=0.5) as store:
        with pytest.raises(DatabaseUnavailable, match=f"127.0.0.1:{port}/x does not answer") as got:
            await store.fetch("SELECT 1")
    assert SECRET not in str(got.value)
