"""Reading what was published: values by ticker, misses absent. A broken cache is a miss."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from redis.asyncio import Redis

from collector.cache.client import Failure, attempt
from collector.cache.codec import Value, decode
from collector.cache.keys import PriceKey, price_key
from collector.market.timeframe import Timeframe

READ_VALUES = 250  # in one MGET: 6 MB of 500 bars each
READ_S = 2.0

log = logging.getLogger(__name__)


async def get_many(
    client: Redis,
    prefix: str,
    tickers: Sequence[str],
    timeframe: Timeframe,
    lookback: int,
    deadline_s: float = READ_S,
) -> dict[str, Value]:
    """Return the published values of ``tickers``; a miss, or what is not sound, is absent.

    All of it ends within ``deadline_s``. On an error what was read before it is returned.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + deadline_s
    found: dict[str, Value] = {}
    for start in range(0, len(tickers), READ_VALUES):
        names = [PriceKey(each, timeframe, lookback) for each in tickers[start:][:READ_VALUES]]
        keys = [price_key(prefix, name.ticker, timeframe, lookback) for name in names]
        bodies = await attempt(client.mget(keys), give_up_at - loop.time())
        if isinstance(bodies, Failure):
            log.debug("Failed to read the cache: %s", bodies.reason)
            break
        found |= _sound(names, bodies)
    return found


def _sound(names: Sequence[PriceKey], bodies: Sequence[bytes | str | None]) -> dict[str, Value]:
    pairs = zip(names, bodies, strict=True)
    values = [decode(body, name) for name, body in pairs if body is not None]
    return {value.ticker: value for value in values if value is not None}
