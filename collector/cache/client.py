"""The Redis client: tight time-outs, a bounded pool, and the one net around every call.

redis-py's own defaults wait 54.7 s for a frozen server. Here each read ends within ``timeout_s``,
with one retry and no back-off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

TIMEOUT_S = 1.0
POOL_SIZE = 8
CLOSE_S = 1.0
WRITE_BUFFER = 64 * 2**20  # bytes; above any pipeline
REASON_CHARS = 200

T = TypeVar("T")


class _Prompt(AbstractConnection):
    """A connection that gives up at once, and whose time-outs measure progress.

    redis-py bounds the write of a whole pipeline by the time-out of one read: on a slow link 6 MB
    would never pass. With a write buffer above any pipeline the write returns at once, and each
    reply must come within the time-out after the one before.

    On an error redis-py closes the transport, which first sends what is buffered, however late. The
    transport is aborted instead: megabytes of values that were given up shall neither stay in
    memory nor arrive later, over newer ones. (The kernel delivers the little that it holds.)
    """

    async def connect_check_health(
        self, check_health: bool = True, retry_socket_connect: bool = True
    ) -> None:
        await super().connect_check_health(check_health, retry_socket_connect)
        if self._writer is not None:
            self._writer.transport.set_write_buffer_limits(high=WRITE_BUFFER)

    async def disconnect(
        self,
        nowait: bool = False,
        error: Exception | None = None,
        failure_count: int | None = None,
        health_check_failed: bool = False,
    ) -> None:
        if (nowait or error) and self._writer is not None:
            self._writer.transport.abort()
        await super().disconnect(nowait, error, failure_count, health_check_failed)


class _Tcp(_Prompt, Connection):
    pass


class _Tls(_Prompt, SSLConnection):
    pass


class _Unix(_Prompt, UnixDomainSocketConnection):
    pass


def build_client(url: str, timeout_s: float = TIMEOUT_S, max_connections: int = POOL_SIZE) -> Redis:
    """Return a client for a ``redis://``, ``rediss://`` or ``unix://`` URL; nothing is connected.

    RESP 2, without HELLO and CLIENT SETINFO: no further round trip, no further permission.
    Raises ``ValueError`` for any other URL.
    """
    options: dict[str, Any] = dict(parse_url(url))
    kind = options.pop("connection_class", Connection)
    pool = BlockingConnectionPool(
        max_connections=max_connections,
        timeout=timeout_s,
        connection_class={SSLConnection: _Tls, UnixDomainSocketConnection: _Unix}.get(kind, _Tcp),
        **options
        | {
            "decode_responses": False,
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "retry": Retry(NoBackoff(), 1),
            "protocol": 2,
            "driver_info": None,
        },
    )
    return Redis.from_pool(pool)


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that failed: the error, and the reason as one short line without a secret."""

    error: Exception
    reason: str


async def attempt(call: Awaitable[T], deadline_s: float) -> T | Failure:
    """Await ``call`` for at most ``deadline_s``, and return what it raised as a `Failure`.

    This is the cache's one broad net: a broken cache may raise anything (``RedisClusterException``
    is no ``RedisError``; a reset idle connection is an ``AttributeError`` on some Pythons), and
    nothing of it may reach a run. Cancelling passes.
    """
    try:
        async with asyncio.timeout(deadline_s):
            return await call
    except Exception as error:  # noqa: BLE001 - the one broad net around the cache
        return Failure(error, reason_of(error))


def reason_of(error: Exception) -> str:
    """Return an error's first line, cut; its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    if lines:
        return lines[0][:REASON_CHARS]
    return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__


async def close_client(client: Redis) -> None:
    """Close every connection, within `CLOSE_S`; the program is ending, so nothing is raised."""
    await attempt(client.aclose(), CLOSE_S)
