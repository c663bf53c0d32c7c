"""Publishing to a Redis that is well: what is written, counted and logged."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import orjson
import pytest

from collector.cache import publish
from collector.cache.codec import encode
from collector.cache.keys import parse_price_key
from collector.cache.publish import PIPELINE, RUN_TTL_S, CacheCounts
from collector.cache.read import get_many
from collector.market.timeframe import Timeframe
from tests.cache.conftest import Connect, Publish, ttls
from tests.cache.tap import tapped
from tests.cache.values import PREFIX, TTL_S, value_of, values_of
from tests.servers import RedisServer


async def test_values_stand_under_the_contracts_keys_with_their_ttl(
    redis_url: str, redis_server: RedisServer, publisher: Publish, connect: Connect
) -> None:
    values = [value_of("BRK-B", timeframe) for timeframe in Timeframe]
    await publisher(redis_url).publish(values)
    client = connect(redis_url)
    assert await client.get("scanner:price:BRK-B:1d:500") == encode(values[1])
    left = ttls(redis_server)
    assert len(left) == 3
    for key, seconds in left.items():
        name = parse_price_key(PREFIX, key)
        assert name is not None
        assert TTL_S[name.timeframe] - 5 <= seconds <= TTL_S[name.timeframe]


async def test_every_key_has_its_ttl_at_any_instant(
    redis_url: str, redis_server: RedisServer, publisher: Publish
) -> None:
    publishing = asyncio.create_task(publisher(redis_url).publish(values_of(2000)))
    seen = 0
    while not publishing.done():
        left = ttls(redis_server)
        seen += 0 < len(left) < 2000
        assert all(seconds > 0 for seconds in left.values())
        await asyncio.sleep(0)
    assert seen
    assert len(ttls(redis_server)) == 2000


@pytest.mark.parametrize("count", [1, PIPELINE, PIPELINE + 1, 1000])
async def test_round_trips_are_few_and_counted_as_they_are(
    redis_url: str, redis_server: RedisServer, publisher: Publish, count: int
) -> None:
    assert redis_url == redis_server.url
    async with tapped(redis_server.socket) as (tap, url):
        writer = publisher(url)
        await writer.publish(values_of(count))
        await writer.publish_run(Timeframe.DAY, {})
        assert tap.connections == 1
        assert writer.counts.round_trips == tap.round_trips <= 2 + count / PIPELINE
    assert (writer.counts.published, writer.counts.failed) == (count, 0)


async def test_bytes_are_those_of_the_bodies(redis_url: str, publisher: Publish) -> None:
    writer, values = publisher(redis_url), values_of(7, rows=100)
    await writer.publish(values)
    assert writer.counts == CacheCounts(7, 0, 1, sum(len(encode(value)) for value in values))


async def test_long_values_are_cut_into_pipelines_by_bytes(
    redis_url: str, publisher: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = values_of(10, rows=100)
    monkeypatch.setattr(publish, "PIPELINE_BYTES", 3 * len(encode(values[0])) - 100)
    writer = publisher(redis_url)
    await writer.publish(values)
    assert (writer.counts.published, writer.counts.round_trips) == (10, 4)


@pytest.mark.parametrize("off", [{"enabled": False}, {"client": None}])
async def test_switched_off_nothing_is_connected_and_nothing_counted(
    redis_server: RedisServer, redis_url: str, publisher: Publish, off: dict[str, object]
) -> None:
    assert redis_url == redis_server.url
    async with tapped(redis_server.socket) as (tap, url):
        writer = publisher(url, **off)
        await writer.probe()
        await writer.publish(values_of(3))
        await writer.publish_run(Timeframe.DAY, {"run": "r"})
        assert tap.connections == 0
    assert not writer.enabled
    assert writer.counts == CacheCounts()


async def test_the_last_run_is_json_that_expires(
    redis_url: str, redis_server: RedisServer, publisher: Publish, connect: Connect
) -> None:
    writer, report = publisher(redis_url), {"run": "r-1", "tickers": {"asked": 3}}
    await writer.publish_run(Timeframe.WEEK, report)
    body = await connect(redis_url).get("scanner:run:1wk")
    assert body == orjson.dumps(report)
    assert RUN_TTL_S - 5 <= ttls(redis_server)["scanner:run:1wk"] <= RUN_TTL_S
    assert writer.counts == CacheCounts(round_trips=1)


async def test_a_value_that_cannot_be_written_down_fails_alone(
    redis_url: str, publisher: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "collector.cache")
    bad = value_of("BAD")
    bad = replace(bad, columns={**bad.columns, "close": [1.0, float("nan"), 2.0]})
    writer = publisher(redis_url)
    await writer.publish([value_of("A"), bad, value_of("B")])
    assert (writer.counts.published, writer.counts.failed) == (2, 1)
    assert "BAD: Failed to cache daily data: BAD: a bar holds" in caplog.text
    await writer.publish([bad])
    assert (writer.counts.failed, writer.counts.round_trips) == (2, 1)


async def test_each_value_is_logged_in_the_contracts_words(
    redis_url: str, publisher: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "collector.cache")
    await publisher(redis_url).publish([value_of("AAPL", rows=500)])
    assert caplog.messages == ["AAPL: Cached 1d data (500 rows, TTL: 3600s)"]
    assert caplog.records[0].levelno == logging.DEBUG


async def test_without_debug_no_record_is_made(
    redis_url: str, publisher: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "collector.cache")
    await publisher(redis_url).publish(values_of(3))
    assert caplog.records == []


async def test_a_probe_writes_nothing_and_says_nothing_where_all_is_well(
    redis_url: str,
    redis_server: RedisServer,
    publisher: Publish,
    caplog: pytest.LogCaptureFixture,
) -> None:
    writer = publisher(redis_url)
    await writer.probe()
    assert ttls(redis_server) == {}
    assert caplog.records == []
    assert writer.counts == CacheCounts()


async def test_cancelled_it_counts_what_it_cannot_vouch_for(
    lone_redis: RedisServer, publisher: Publish
) -> None:
    writer = publisher(lone_redis.url)
    await writer.publish(values_of(5))
    lone_redis.freeze()
    task = asyncio.create_task(writer.publish(values_of(600)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (writer.counts.published, writer.counts.failed) == (5, 600)


async def test_many_tickers_are_read_in_chunks_and_misses_are_absent(
    redis_url: str, redis_server: RedisServer, publisher: Publish, connect: Connect
) -> None:
    values = values_of(600)
    await publisher(redis_url).publish(values)
    tickers = [value.ticker for value in values] + ["NONE"]
    async with tapped(redis_server.socket) as (tap, url):
        client = connect(url)
        found = await get_many(client, PREFIX, tickers, Timeframe.DAY, 500)
        assert tap.round_trips == 3
    assert list(found) == tickers[:-1]
    assert all(found[value.ticker].rev == value.rev for value in values)
    assert await get_many(connect(redis_url), PREFIX, tickers, Timeframe.WEEK, 500) == {}
    assert await get_many(connect(redis_url), PREFIX, [], Timeframe.DAY, 500) == {}
