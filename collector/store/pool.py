"""Connections to PostgreSQL: every wait has a deadline, whole transactions are tried again.

A connection is had in three ways, and no other: `Store.fetch` for one reading statement,
`Store.transact` for a transaction, `Store.connection` for the rest. None lets an asyncpg error out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID, uuid4

import asyncpg
import stamina

from collector.errors import CollectorError, DatabaseUnavailable, UsageError
from collector.store.classify import DATABASE_ERRORS, RETRIED, Remedy, remedy, told, translated

T = TypeVar("T")
Work = Callable[[asyncpg.Connection], Awaitable[T]]

UNKNOWN_TRIES = 2  # an error that nobody knows is tried so often again
WAIT_MAX_S = 1.0  # between two tries
CLOSE_S = 1.0  # for a courtesy: a frozen server sees that we are gone all the same
REMIND_S = 60.0  # how often an outage is told again
IDLE_S = 60.0  # asyncpg sets no keep-alive: an idle connection is not trusted for longer

TOKEN = "INSERT INTO collector_commits (token) VALUES ($1)"  # noqa: S105 (not a secret)
TOKEN_KNOWN = "SELECT EXISTS (SELECT FROM collector_commits WHERE token = $1)"  # noqa: S105
PROBE = """
SELECT current_setting('search_path') AS path, current_setting('fsync') AS fsync,
       current_setting('synchronous_commit') AS commits
"""

log = logging.getLogger(__name__)


class Store:
    """A pool on one schema of one database. `open_store` makes it.

    ``timeout_s`` bounds each statement, and each wait for a connection; ``outage_s`` is how long a
    database that is away is waited for, unless a call says otherwise. ``server`` names host and
    database for messages, without user and password.
    """

    def __init__(
        self, pool: asyncpg.Pool, server: str, schema: str, timeout_s: float, outage_s: float
    ) -> None:
        self._pool = pool
        self.server = server
        self.schema = schema
        self.timeout_s = timeout_s
        self.outage_s = outage_s
        self._told_at: float | None = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection. Raises only `CollectorError` for what the database does."""
        try:
            async with self._lease() as connection:
                yield connection
        except DATABASE_ERRORS as error:
            raise translated(error, self.server) from error

    async def fetch(
        self, sql: str, *values: object, outage_s: float | None = None
    ) -> Sequence[asyncpg.Record]:
        """Return the rows of one statement that only reads; a lost connection is tried again."""

        async def once() -> Sequence[asyncpg.Record]:
            async with self._lease() as connection:
                rows: Sequence[asyncpg.Record] = await connection.fetch(sql, *values)
                return rows

        return await self._retried(once, outage_s)

    async def transact(self, work: Work[T], *, outage_s: float | None = None) -> T:
        """Run ``work`` in a transaction, and again until it is committed once.

        Between tries the connection is new, so ``work`` may keep nothing. When the answer to COMMIT
        was lost, the next try finds the token of the first and returns what that had returned.
        Raises `DatabaseUnavailable` after ``outage_s``, `DatabaseRejected`, `SchemaMismatch`.
        """
        token, results = uuid4(), list[T]()

        async def once() -> T:
            async with self._lease() as connection:
                if results and await connection.fetchval(TOKEN_KNOWN, token):
                    return results[-1]
                return await in_transaction(connection, _noting(work, token, results))

        return await self._retried(once, outage_s)

    async def transact_unmarked(self, work: Work[T], *, outage_s: float | None = None) -> T:
        """Do as `transact`, for work that may be committed twice or makes the marks' table."""

        async def once() -> T:
            async with self._lease() as connection:
                return await in_transaction(connection, work)

        return await self._retried(once, outage_s)

    async def wait_until_reachable(self, limit_s: float) -> None:
        """Return when the database answers; raise `DatabaseUnavailable` after ``limit_s``.

        A refused password, role or database is raised at once. Warns of a server whose settings
        make acknowledged rows mortal.
        """
        try:
            # the deadline is also for one that accepts, and is silent
            async with asyncio.timeout(limit_s + WAIT_MAX_S):
                (row,) = await self.fetch(PROBE, outage_s=limit_s)
        except TimeoutError:
            text = f"PostgreSQL at {self.server} does not answer within {limit_s:g} s"
            raise DatabaseUnavailable(text) from None
        if row["path"] != quoted(self.schema):
            raise UsageError(
                f"{self.server} ignores our search_path (a connection pooler in between?): "
                "connect to PostgreSQL directly, or let the pooler pass start-up parameters"
            )
        if "off" in (row["fsync"], row["commits"]):
            log.warning("%s may lose stored rows in a crash: fsync or synchronous_commit is off",
                        self.server)  # fmt: skip

    async def close(self) -> None:
        """Close every connection; what does not close within the deadline is cut."""
        try:
            async with asyncio.timeout(min(self.timeout_s, CLOSE_S)):
                await self._pool.close()
        except (TimeoutError, *DATABASE_ERRORS):
            self._pool.terminate()

    @asynccontextmanager
    async def _lease(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection; one that an error left in doubt is cut: nothing waits for it."""
        connection = await self._acquire()
        try:
            yield connection
        except BaseException as error:
            with suppress(asyncpg.InterfaceError):  # the pool has let go of one that was lost
                if not isinstance(error, asyncpg.PostgresError) or connection.is_in_transaction():
                    connection.terminate()
            raise
        finally:
            await self._pool.release(connection, timeout=self.timeout_s)

    async def _acquire(self) -> asyncpg.Connection:
        try:
            return await self._pool.acquire(timeout=self.timeout_s)
        except ValueError as error:
            raise bad_dsn(error) from None

    async def _retried(self, once: Callable[[], Awaitable[T]], outage_s: float | None) -> T:
        limit_s = max(0.001, self.outage_s if outage_s is None else outage_s)
        unknown = iter(range(UNKNOWN_TRIES))

        def is_worth_it(error: BaseException) -> bool:
            kind = remedy(error)
            # stamina asks about a cancellation too, and would swallow it.
            if isinstance(error, CollectorError) or not isinstance(error, Exception):
                return False
            self._tell(kind, error)
            return kind in RETRIED or (kind is Remedy.UNKNOWN and next(unknown, None) is not None)

        try:
            async for attempt in stamina.retry_context(
                on=is_worth_it,
                attempts=None,
                timeout=limit_s,
                wait_initial=0.05,
                wait_max=WAIT_MAX_S,
                wait_jitter=0.1,
            ):
                with attempt:
                    result = await once()
        except DATABASE_ERRORS as error:
            raise translated(error, self.server) from error
        self._tell_back()
        return result

    def _tell(self, kind: Remedy, error: Exception) -> None:
        """Log an outage once, then once a minute; a lock in the way each time."""
        now = time.monotonic()
        if kind is Remedy.AGAIN:
            log.warning("another transaction is in the way: %s", told(error))
        elif kind is Remedy.RECONNECT and now >= (self._told_at or -REMIND_S) + REMIND_S:
            log.info("waiting for PostgreSQL at %s: %s", self.server, told(error))
            self._told_at = now

    def _tell_back(self) -> None:
        if self._told_at is not None:
            log.info("PostgreSQL at %s is back", self.server)
            self._told_at = None


@asynccontextmanager
async def open_store(
    dsn: str,
    *,
    schema: str = "public",
    pool_size: int = 4,
    timeout_s: float = 30.0,
    outage_s: float = 60.0,
    application_name: str = "collector",
) -> AsyncIterator[Store]:
    """Lend a `Store`. Connects only when a connection is first asked for."""
    pool = asyncpg.create_pool(
        dsn,
        min_size=0,  # a floor is restored in the background, with a traceback a try
        max_size=pool_size,
        max_inactive_connection_lifetime=IDLE_S,
        **connect_options(schema, timeout_s, application_name),
    )
    store = Store(await pool, described(dsn), schema, timeout_s, outage_s)
    try:
        yield store
    finally:
        await store.close()


def connect_options(schema: str, timeout_s: float, application_name: str) -> dict[str, Any]:
    """The arguments that every connection is opened with: deadlines on both sides of the wire.

    The server's come first, so that a slow statement ends with an error that says so; ours are for
    a server that does not answer at all.
    """
    milliseconds = timeout_s * 1000
    return {
        "timeout": timeout_s,
        "command_timeout": timeout_s,
        "server_settings": {
            "application_name": application_name,
            "search_path": quoted(schema),
            "timezone": "UTC",
            "jit": "off",  # compiles for a second what runs for a millisecond
            "statement_timeout": f"{max(1, 0.9 * milliseconds):.0f}",
            "lock_timeout": f"{max(1, 0.5 * milliseconds):.0f}",
            "idle_in_transaction_session_timeout": f"{max(1, 2 * milliseconds):.0f}",
            "tcp_keepalives_idle": "30",
            "tcp_keepalives_interval": "10",
            "tcp_keepalives_count": "3",
        },
    }


async def in_transaction(connection: asyncpg.Connection, work: Work[T]) -> T:
    """Run ``work`` between BEGIN and COMMIT; an error of the server is rolled back."""
    await connection.execute("BEGIN")
    try:
        result = await work(connection)
        await connection.execute("COMMIT")
    except asyncpg.PostgresError:
        with suppress(asyncpg.InterfaceError):  # the pool has let go of one that was lost
            if not connection.is_closed():
                await connection.execute("ROLLBACK")
        raise
    return result


def _noting(work: Work[T], token: UUID, results: list[T]) -> Work[T]:
    """Mark the transaction of ``work`` with ``token``, and keep its result before the COMMIT."""

    async def noting(connection: asyncpg.Connection) -> T:
        # A try that is still being committed holds this key: we wait for it, and then fail on it.
        await connection.execute(TOKEN, token)
        result = await work(connection)
        results.append(result)
        return result

    return noting


def bad_dsn(error: ValueError) -> UsageError:
    """Return our error for asyncpg's, which may quote the password: it is not to be chained."""
    return UsageError(
        f"the DSN of PostgreSQL is not understood ({type(error).__name__}): "
        "postgresql://user:password@host:5432/database is the form, with every special character "
        "of the password percent-encoded"
    )


def quoted(name: str) -> str:
    """Return ``name`` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def described(dsn: str) -> str:
    """Return host, port and database of ``dsn``: what a message may show of it."""
    try:
        parts = urlsplit(dsn)
        host = parts.hostname or parse_qs(parts.query).get("host", ["localhost"])[0]
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the configured server"
    return f"{host}{port}/{unquote(parts.path.lstrip('/'))}"
