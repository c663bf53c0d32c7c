"""The client: what it is told by the URL, and what it never tells."""

from __future__ import annotations

import asyncio
import random
from time import monotonic

import pytest
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection
from redis.exceptions import RedisClusterException

from collector.cache.client import Failure, attempt, build_client, close_client, reason_of
from tests.cache.conftest import Connect
from tests.cache.tap import tapped
from tests.servers import RedisServer


@pytest.mark.parametrize("url", ["unix", "tcp"])
async def test_it_speaks_over_a_socket_and_over_tcp(
    lone_redis: RedisServer, connect: Connect, url: str
) -> None:
    client = connect(lone_redis.url if url == "unix" else lone_redis.tcp_url)
    await client.set("k", b"\xff", ex=60)
    assert await client.get("k") == b"\xff"


def test_each_scheme_has_its_connection_and_tls_is_verified() -> None:
    assert issubclass(
        build_client("unix:///x.sock").connection_pool.connection_class, UnixDomainSocketConnection
    )
    pool = build_client("rediss://example.invalid").connection_pool
    connection = pool.connection_class(**pool.connection_kwargs)
    assert isinstance(connection, SSLConnection)
    assert connection.check_hostname
    assert connection.cert_reqs.name == "CERT_REQUIRED"


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", ""])
def test_another_scheme_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="scheme"):
        build_client(url)


async def test_the_url_cannot_loosen_the_time_outs() -> None:
    pool = build_client("redis://localhost?socket_timeout=99&decode_responses=1").connection_pool
    assert pool.connection_kwargs["socket_timeout"] == 1.0
    assert pool.connection_kwargs["decode_responses"] is False


async def test_no_password_in_any_text(lone_redis: RedisServer, connect: Connect) -> None:
    lone_redis.call("CONFIG SET requirepass right")
    client = connect(f"redis://user:CANARY9f@127.0.0.1:{lone_redis.port}/0")
    answer = await attempt(client.ping(), 2.0)
    assert isinstance(answer, Failure)
    assert "WRONGPASS" in repr(answer) or "invalid username" in answer.reason
    assert "CANARY9f" not in f"{client!r} {client.connection_pool!r} {answer!r} {answer.error!s}"


async def test_a_connection_needs_no_further_round_trip(
    redis_server: RedisServer, redis_url: str, connect: Connect
) -> None:
    assert redis_url == redis_server.url
    async with tapped(redis_server.socket) as (tap, url):
        client = connect(url)
        assert await client.ping()
        assert (tap.connections, tap.round_trips) == (1, 1)
        await close_client(client)


async def test_a_full_pool_is_waited_for(redis_url: str, connect: Connect) -> None:
    client = connect(redis_url, 1.0, 2)
    sets = (client.set(f"k{number}", number, ex=60) for number in range(40))
    assert all(await asyncio.gather(*sets))
    assert len(await client.client_list()) <= 2


async def test_a_call_ends_within_its_deadline_and_tells_why() -> None:
    began_at = monotonic()
    answer = await attempt(asyncio.Event().wait(), 0.05)
    assert isinstance(answer, Failure)
    assert answer.reason == "no answer in time"
    assert monotonic() - began_at < 1


@pytest.mark.parametrize(
    "error", [AttributeError("reset"), RedisClusterException("down"), OSError()]
)
async def test_r14_r16_an_error_that_is_no_redis_error_stops_at_the_net(error: Exception) -> None:
    async def break_down() -> None:
        raise error

    answer = await attempt(break_down(), 1.0)
    assert isinstance(answer, Failure)
    assert answer.error is error


async def test_cancelling_passes_the_net() -> None:
    task = asyncio.create_task(attempt(asyncio.Event().wait(), 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_reason_is_one_short_line() -> None:
    assert reason_of(RuntimeError("first\nsecond")) == "first"
    assert reason_of(RuntimeError("x" * 1000)) == "x" * 200
    assert reason_of(AttributeError()) == "AttributeError"


async def test_closing_a_client_of_a_frozen_server_is_bounded(
    lone_redis: RedisServer, connect: Connect
) -> None:
    client = connect(lone_redis.url)
    await client.ping()
    lone_redis.freeze()
    began_at = monotonic()
    await close_client(client)
    assert monotonic() - began_at < 2


@pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
async def test_r17_a_cancelled_call_never_leaves_its_answer_to_another(
    redis_url: str, connect: Connect
) -> None:
    client = connect(redis_url, 1.0, 3)
    for number in range(50):
        await client.set(f"k{number}", f"v{number}" + "." * 20_000, ex=60)
    dice = random.Random(17)
    cancelled = mixed = 0

    async def read(number: int) -> None:
        nonlocal mixed
        pipeline = client.pipeline(transaction=False)
        pipeline.get(f"k{number}")
        pipeline.get(f"k{49 - number}")
        first, second = await pipeline.execute()
        mixed += not first.startswith(b"v%d." % number)
        mixed += not second.startswith(b"v%d." % (49 - number))

    while cancelled < 1000:
        task = asyncio.create_task(read(dice.randrange(50)))
        for _ in range(dice.randrange(12)):
            await asyncio.sleep(0)
        cancelled += task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if dice.random() < 0.3:
            await read(dice.randrange(50))
    assert mixed == 0
