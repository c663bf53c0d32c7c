"""Publishers and clients that are closed after the test, and the check that every key expires."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from collector.cache.client import build_client, close_client
from collector.cache.publish import Publisher
from tests.cache.values import publisher_at
from tests.servers import RedisServer

Publish = Callable[..., Publisher]
Connect = Callable[..., Redis]


def ttls(server: RedisServer) -> dict[str, int]:
    """Return the seconds that each key has left; −1 means for ever."""
    script = (
        "local t = {} for _, k in ipairs(redis.call('KEYS', '*')) do "
        "t[#t + 1] = k .. ' ' .. redis.call('TTL', k) end return table.concat(t, '\\n')"
    )
    with SyncRedis(unix_socket_path=str(server.socket), decode_responses=True) as client:
        lines = str(client.eval(script, 0)).splitlines()
    return {key: int(left) for key, left in (line.rsplit(" ", 1) for line in lines)}


@pytest.fixture
def redis_url(redis_url: str, redis_server: RedisServer) -> Iterator[str]:
    """Lend the session's Redis, and require that every key that the test left expires."""
    yield redis_url
    assert [key for key, left in ttls(redis_server).items() if left < 0] == []


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Lend `build_client`; what it built is closed after the test."""
    clients: list[Redis] = []

    def build(url: str, *arguments: Any) -> Redis:  # noqa: ANN401 - build_client's arguments
        clients.append(build_client(url, *arguments))
        return clients[-1]

    yield build
    for client in clients:
        await close_client(client)


@pytest.fixture
async def publisher(connect: Connect) -> Publish:
    """Lend a maker of publishers whose clients are closed after the test."""

    def make(url: str, timeout_s: float = 1.0, **options: Any) -> Publisher:  # noqa: ANN401
        return publisher_at(**{"client": connect(url, timeout_s)} | options)

    return make
