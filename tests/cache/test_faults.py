"""Redis broken in every way: nothing is raised, all is counted, little time is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from time import monotonic

import pytest

from collector.cache.breaker import Breaker
from collector.cache.client import close_client
from collector.cache.publish import Publisher
from collector.cache.read import get_many
from collector.market.timeframe import Timeframe
from tests.cache.conftest import Connect, Publish, ttls
from tests.cache.tap import tapped
from tests.cache.values import PREFIX, Clock, value_of, values_of
from tests.servers import RedisServer, free_port

RUN = 1000
MOST_S = 5.0


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Allow no record above DEBUG but the start-up WARNING."""
    caplog.set_level(logging.DEBUG, "collector.cache")
    yield
    loud = [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert all(record.getMessage().startswith("cache disabled: ") for record in loud)
    assert len(loud) <= 1


async def whole_run(writer: Publisher, batch: int = RUN) -> float:
    """Do all that a run does with its publisher, and return the seconds that it took."""
    began_at = monotonic()
    await writer.probe()
    values = values_of(RUN, rows=100)
    for start in range(0, RUN, batch):
        await writer.publish(values[start : start + batch])
    await writer.publish_run(Timeframe.DAY, {"run": "r"})
    if writer._client is not None:
        await close_client(writer._client)
    return monotonic() - began_at


def total(writer: Publisher) -> int:
    return writer.counts.published + writer.counts.failed


async def test_r01_down_all_through_costs_nothing_and_is_counted(
    lone_redis: RedisServer, publisher: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    lone_redis.stop()
    writer = publisher(lone_redis.url)
    assert await whole_run(writer) < 2
    assert (writer.counts.published, writer.counts.failed) == (0, RUN)
    assert caplog.text.count("Failed to cache daily data: ") == RUN


async def test_r01_down_a_read_is_a_miss_and_a_run_record_is_lost(
    lone_redis: RedisServer, publisher: Publish, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    lone_redis.stop()
    assert await get_many(connect(lone_redis.url), PREFIX, ["T0"], Timeframe.DAY, 500) == {}
    await publisher(lone_redis.url).publish_run(Timeframe.DAY, {"run": "r"})
    first, second = caplog.messages
    assert first.startswith("Failed to read the cache: ")
    assert second.startswith("Failed to cache the daily run: ")


async def test_r01_the_breaker_lets_one_try_through_in_ten_seconds(
    lone_redis: RedisServer, publisher: Publish
) -> None:
    lone_redis.stop()
    clock = Clock()
    writer = publisher(lone_redis.url, clock=clock)
    for _ in range(60):
        await writer.publish(values_of(1))
        clock.at += 1
    assert writer.counts.failed == 60
    assert 2 + 5 <= writer.counts.round_trips <= 2 + 6
    lone_redis.start()
    clock.at += 10
    await writer.publish(values_of(1))
    await writer.publish(values_of(4))
    assert writer.counts.published == 5


async def test_r02_restarted_while_idle_loses_nothing(
    lone_redis: RedisServer, publisher: Publish
) -> None:
    writer = publisher(lone_redis.url)
    await writer.publish(values_of(3))
    lone_redis.restart()
    await writer.publish(values_of(3))
    assert (writer.counts.published, writer.counts.failed) == (6, 0)


async def test_r03_killed_in_the_middle_is_counted_and_written_anew_by_the_next_run(
    lone_redis: RedisServer, publisher: Publish
) -> None:
    breaker = Breaker(open_s=0.0)
    writer = publisher(lone_redis.url, breaker=breaker)
    task = asyncio.create_task(writer.publish(values_of(RUN, rows=500)))
    await asyncio.to_thread(lone_redis.kill9)
    await task
    assert total(writer) == RUN
    assert writer.counts.failed > 0
    lone_redis.start()
    again = publisher(lone_redis.url, breaker=breaker)
    await again.publish(values_of(RUN))
    assert (again.counts.published, again.counts.failed) == (RUN, 0)
    assert all(left > 0 for left in ttls(lone_redis).values())


@pytest.mark.parametrize("batch", [RUN, 10], ids=["together", "as_stored"])
async def test_r04_frozen_adds_less_than_five_seconds_to_a_run(
    lone_redis: RedisServer, publisher: Publish, batch: int
) -> None:
    lone_redis.freeze()
    breaker = Breaker(open_s=0.0)  # the worst: the breaker never keeps a try back
    writer = publisher(lone_redis.url, breaker=breaker)
    assert await whole_run(writer, batch) < MOST_S + 0.5
    assert (writer.counts.published, writer.counts.failed) == (0, RUN)


async def test_r04_frozen_reads_end_within_their_deadline(
    lone_redis: RedisServer, publisher: Publish, connect: Connect
) -> None:
    await publisher(lone_redis.url).publish(values_of(3))
    client = connect(lone_redis.url)
    lone_redis.freeze()
    began_at = monotonic()
    assert await get_many(client, PREFIX, ["T0"], Timeframe.DAY, 500, deadline_s=0.5) == {}
    assert monotonic() - began_at < 1
    lone_redis.thaw()
    assert list(await get_many(client, PREFIX, ["T0"], Timeframe.DAY, 500)) == ["T0"]


async def test_r05_late_answers_are_nobodys_and_given_up_values_do_not_arrive(
    lone_redis: RedisServer, publisher: Publish
) -> None:
    writer = publisher(lone_redis.url, 0.2, breaker=Breaker(open_s=0.0))
    await writer.publish([value_of("FIRST")])
    lone_redis.freeze()
    await writer.publish(values_of(250, rows=500))
    assert writer.counts.failed == 250
    lone_redis.thaw()
    await writer.publish([value_of("LAST")])
    assert writer.counts.published == 2
    assert len(ttls(lone_redis)) < 50  # but for what the kernel had taken already


async def test_a_slow_link_is_no_dead_cache(lone_redis: RedisServer, publisher: Publish) -> None:
    async with tapped(lone_redis.socket, chunk_s=0.02) as (tap, url):
        writer = publisher(url, 0.2)
        began_at = monotonic()
        await writer.publish(values_of(100, rows=500))
        assert monotonic() - began_at > 0.4  # twice the time-out, which measures progress
        assert (writer.counts.published, tap.connections) == (100, 1)
        assert writer._client is not None
        await close_client(writer._client)


async def test_r10_a_server_that_loads_counts_as_down(
    lone_redis: RedisServer, publisher: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    lone_redis.call("CONFIG SET rdbcompression no")
    lone_redis.call("DEBUG POPULATE 400 filler 100000")
    lone_redis.call("CONFIG SET key-load-delay 2500")
    reader, loading = await asyncio.open_unix_connection(lone_redis.socket)
    loading.write(b"DEBUG RELOAD\r\n")
    breaker = Breaker(failures=1, open_s=0.0)
    writer = publisher(lone_redis.url, 0.3, breaker=breaker)
    while "loading" not in caplog.text.lower() and not writer.counts.published:
        await writer.publish(values_of(1))
    assert "loading" in caplog.text.lower()
    assert await reader.readline() == b"+OK\r\n"
    again = publisher(lone_redis.url, breaker=breaker)
    await again.publish(values_of(2))
    assert again.counts.published == 2
    loading.close()
    await loading.wait_closed()


async def test_r07_what_fits_is_stored_and_the_rest_counted(publisher: Publish) -> None:
    options = {"maxmemory": "3mb", "maxmemory-policy": "noeviction"}
    with RedisServer(options=options) as server:
        writer = publisher(server.url)
        assert await whole_run(writer) < MOST_S
        stored = [key for key in ttls(server) if ":price:" in key]
        assert 0 < writer.counts.published == len(stored) < RUN
        assert total(writer) == RUN


async def test_r09_a_replica_is_left_and_the_name_resolved_anew(
    lone_redis: RedisServer, publisher: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    async with tapped(lone_redis.socket) as (tap, url):
        writer = publisher(url)
        await writer.publish(values_of(1))
        lone_redis.call("REPLICAOF 127.0.0.1 1")
        await writer.publish(values_of(2))
        assert writer.counts.failed == 2
        assert "read only" in caplog.text
        lone_redis.call("REPLICAOF NO ONE")
        await writer.publish(values_of(4))
        assert writer.counts.published == 5
        assert tap.connections == 2
        assert writer._client is not None
        await close_client(writer._client)


@pytest.mark.parametrize("fault", ["password", "no password", "permission", "key"])
async def test_r11_what_never_heals_is_one_warning_at_the_start(
    lone_redis: RedisServer, publisher: Publish, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    keys = "~other:*" if fault == "key" else "~scanner:*"
    allowed = "+get +info" if fault == "permission" else "+get +info +set"
    lone_redis.call(f"ACL SETUSER canary on >CANARY9f {keys} {allowed}")
    lone_redis.call("CONFIG SET requirepass other")
    user = {"password": "canary:CANARY8f@", "no password": ""}.get(fault, "canary:CANARY9f@")
    breaker = Breaker()
    writer = publisher(f"redis://{user}127.0.0.1:{lone_redis.port}", breaker=breaker)
    assert await whole_run(writer) < 1
    assert (writer.counts.failed, writer.counts.round_trips) == (RUN, 0)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "CANARY" not in caplog.text
    await publisher(f"redis://{user}127.0.0.1:{lone_redis.port}", breaker=breaker).probe()


async def test_r11_a_mended_permission_is_seen_by_the_next_probe(
    lone_redis: RedisServer, publisher: Publish
) -> None:
    lone_redis.call("ACL SETUSER writer on >pw ~scanner:* +get +info")
    breaker = Breaker()
    url = f"redis://writer:pw@127.0.0.1:{lone_redis.port}"
    await publisher(url, breaker=breaker).probe()
    assert "not permitted" in breaker.disabled
    lone_redis.call("ACL SETUSER writer +set")
    writer = publisher(url, breaker=breaker)
    await writer.probe()
    await writer.publish(values_of(3))
    assert writer.counts.published == 3


async def test_the_smallest_permissions_suffice(
    lone_redis: RedisServer, publisher: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    lone_redis.call("ACL SETUSER writer on >pw ~scanner:* +set")
    writer = publisher(f"redis://writer:pw@127.0.0.1:{lone_redis.port}")
    await whole_run(writer)
    assert writer.counts.published == RUN
    assert "disabled" not in caplog.text


async def test_r12_cluster_mode_is_one_warning_at_the_start(
    publisher: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    port = next(port for port in iter(free_port, None) if port < 55_000)
    with RedisServer(options={"cluster-enabled": "yes", "port": str(port)}) as server:
        writer = publisher(server.url)
        await whole_run(writer)
    assert "cache disabled: this Redis runs in cluster mode" in caplog.text
    assert writer.counts.failed == RUN


async def test_r18_anything_at_our_key_is_a_miss_and_is_overwritten(
    redis_url: str, publisher: Publish, connect: Connect
) -> None:
    client = connect(redis_url)
    await client.lpush("scanner:price:T0:1d:500", "x")
    await client.set("scanner:price:T1:1d:500", b"{corrupt")
    await client.set("scanner:price:T2:1d:500", b'{"v":2}')
    names = ["T0", "T1", "T2"]
    assert await get_many(client, PREFIX, names, Timeframe.DAY, 500) == {}
    await publisher(redis_url).publish(values_of(3))
    assert list(await get_many(client, PREFIX, names, Timeframe.DAY, 500)) == names


async def test_a_value_of_another_ticker_under_the_key_is_a_miss(
    redis_url: str, publisher: Publish, connect: Connect
) -> None:
    await publisher(redis_url).publish([value_of("AAPL")])
    client = connect(redis_url)
    await client.copy("scanner:price:AAPL:1d:500", "scanner:price:MSFT:1d:500")
    assert list(await get_many(client, PREFIX, ["AAPL", "MSFT"], Timeframe.DAY, 500)) == ["AAPL"]
