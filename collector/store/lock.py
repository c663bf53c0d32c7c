"""One process fetches at a time: an advisory lock on a connection of its own.

PostgreSQL frees the lock when the connection ends, so also when its holder was killed. The lock
belongs to one schema of one database.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import asyncpg
import stamina

from collector.errors import DatabaseUnavailable, LockHeld
from collector.store.classify import DATABASE_ERRORS, RETRIED, remedy, translated
from collector.store.migrate import lock_id
from collector.store.pool import CLOSE_S, WAIT_MAX_S, bad_dsn, connect_options, described

LOCK_CLASS = 0x636F6C6C  # "coll": keeps this lock apart from everybody else's
POLL_S = 1.0
TIMEOUT_S = 10.0
FIRST_RETRY = 2
RELEASE_S = 3.0  # how long the server may take to see that our old connection is gone

TRY = "SELECT pg_try_advisory_lock($1, $2)"
MINE = """
SELECT EXISTS (
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()
    AND objsubid = 2 AND classid::bigint = $1 AND objid::bigint = $2 & 4294967295
)
"""
HOLDER = """
SELECT a.application_name, a.pid, coalesce(host(a.client_addr), 'this host') AS host,
       a.backend_start AS since
FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND l.classid::bigint = $1 AND l.objid::bigint = $2 & 4294967295
"""

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holder:
    """Who holds the lock: what its connection says of it. ``pid`` is that of the server process."""

    application_name: str
    pid: int
    host: str
    since: datetime | None

    def __str__(self) -> str:
        since = f" since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else ""
        name = self.application_name or "another instance"
        return f"{name} on {self.host}{since} (PostgreSQL process {self.pid})"


class FetchLock:
    """The lock of all fetching on one schema. Not to be shared between tasks."""

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = "public",
        timeout_s: float = TIMEOUT_S,
        application_name: str = "collector",
    ) -> None:
        self._dsn = dsn
        self._key = (LOCK_CLASS, lock_id(schema))
        self._options = connect_options(schema, timeout_s, application_name)
        # It idles for hours: the server shall not take that for a hung client.
        self._options["server_settings"]["idle_session_timeout"] = "0"
        self._timeout_s = timeout_s
        self._server = described(dsn)
        self._connection: asyncpg.Connection | None = None

    async def acquire(self, wait_s: float = 0.0) -> None:
        """Return with the lock held; log once for whom it waits.

        Raises `LockHeld`, naming the holder, after ``wait_s``, and `DatabaseUnavailable`.
        """
        give_up_at = time.monotonic() + wait_s
        told = False
        while not await self._guarded(self._try):
            holder = await self._guarded(self._holder)
            left_s = give_up_at - time.monotonic()
            if left_s <= 0:
                await self.close()
                raise LockHeld(f"{holder or 'another instance'} is fetching")
            if not told:
                log.info("waiting for %s, which is fetching", holder or "another instance")
                told = True
            await asyncio.sleep(min(POLL_S, left_s))

    async def ensure(self, outage_s: float = 60.0) -> None:
        """Make sure that the lock is still ours; take it again where its connection was lost.

        Raises `LockHeld` if somebody else has taken it, `DatabaseUnavailable` after ``outage_s``.
        """
        async for attempt in stamina.retry_context(
            on=_may_pass,
            attempts=None,
            timeout=max(0.001, outage_s),
            wait_max=WAIT_MAX_S,
            wait_jitter=0.1,
        ):
            with attempt:
                if attempt.num == FIRST_RETRY:
                    log.info("waiting for PostgreSQL at %s, and for its lock", self._server)
                if await self._guarded(self._is_mine):
                    return
                await self.acquire(RELEASE_S)
                log.info("the connection of the fetcher's lock was lost; the lock is ours again")

    async def close(self) -> None:
        """Free the lock. A frozen server frees it when it sees that the connection is gone."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.close(timeout=min(self._timeout_s, CLOSE_S))
        except DATABASE_ERRORS:
            connection.terminate()

    async def __aenter__(self) -> FetchLock:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _guarded(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Await ``ask()``; after an error of the database the connection is given up."""
        try:
            return await ask()
        except DATABASE_ERRORS as error:
            if self._connection is not None:
                self._connection.terminate()
                self._connection = None
            raise translated(error, self._server) from error

    async def _try(self) -> bool:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        return bool(await self._connection.fetchval(TRY, *self._key))

    async def _connect(self) -> asyncpg.Connection:
        try:
            return await asyncpg.connect(self._dsn, **self._options)
        except ValueError as error:
            raise bad_dsn(error) from None

    async def _holder(self) -> Holder | None:
        if self._connection is None:
            return None
        row = await self._connection.fetchrow(HOLDER, *self._key)
        return Holder(**row) if row is not None else None

    async def _is_mine(self) -> bool:
        if self._connection is None or self._connection.is_closed():
            return False
        return bool(await self._connection.fetchval(MINE, *self._key))


def _may_pass(error: Exception) -> bool:
    return isinstance(error, DatabaseUnavailable) and remedy(error.__cause__ or error) in RETRIED
