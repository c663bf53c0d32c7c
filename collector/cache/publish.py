"""Publishing: values in pipelines, each with its TTL in the same command, and never in the way.

Whatever Redis does, `Publisher.publish` returns; what was not written is counted. Time lost on
failures is bounded for the whole run, however many values it has and however often it publishes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    ReadOnlyError,
)

from collector.cache.breaker import Breaker
from collector.cache.client import CLOSE_S, Failure, attempt, reason_of
from collector.cache.codec import Value, encode
from collector.cache.keys import price_key, probe_key, run_key
from collector.market.timeframe import Timeframe

PIPELINE = 250  # values
PIPELINE_BYTES = 16 * 2**20  # 250 values of 500 bars are 6 to 15 MB: only longer ones are cut here
PIPELINE_S = 5.0
LOST_S = 4.0  # what failures may cost a run; with the closing of the client it stays below 5 s
PROBE_S = 1.0
RUN_TTL_S = 7 * 86_400

log = logging.getLogger(__name__)


@dataclass
class CacheCounts:
    """The report's ``cache``: ``published + failed`` are the values that should have been written.

    ``bytes`` are those of the values published; a probe is no round trip of publishing.
    """

    published: int = 0
    failed: int = 0
    round_trips: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What one pipeline carries: values with their bodies."""

    values: list[Value]
    bodies: list[bytes]


class Publisher:
    """Writes one run's values; a run has its own, the runs of a process share client and breaker.

    ``client`` is None where there is no Redis; then, as with ``enabled`` false, nothing should be
    written: nothing is connected and nothing counted. ``lookback`` is how many bars a value should
    hold, ``ttl_s`` seconds by timeframe, ``clock`` a monotonic clock in seconds. Not for concurrent
    use.
    """

    def __init__(
        self,
        client: Redis | None,
        prefix: str,
        lookback: int,
        ttl_s: Mapping[Timeframe, int],
        enabled: bool,
        breaker: Breaker,
        clock: Callable[[], float],
    ) -> None:
        self._client = client if enabled else None
        self._prefix = prefix
        self.lookback = lookback
        self._ttl_s = dict(ttl_s)
        self._breaker = breaker
        self._clock = clock
        self._lost_s = 0.0
        self.counts = CacheCounts()
        self.reason = ""  # of the first failure, for a person

    @property
    def enabled(self) -> bool:
        """Whether anything should be written."""
        return self._client is not None

    async def probe(self) -> None:
        """Try, in one round trip that writes nothing, whether this Redis can be used.

        What no waiting heals (a wrong password, a missing permission, cluster mode) is one WARNING,
        and nothing is tried until a later probe finds it mended. All else is for `publish` to meet.
        """
        if self._client is None or not (self._breaker.disabled or self._may_try()):
            return
        pipeline = self._client.pipeline(transaction=False)
        pipeline.execute_command("INFO", "cluster")
        pipeline.set(probe_key(self._prefix), b"", ex=1, xx=True)
        answer = await self._execute(pipeline, PROBE_S)
        self._judge(unusable(answer), answer)

    def _judge(self, reason: str, answer: list[Any] | Failure) -> None:
        if reason and not self._breaker.disabled:
            log.warning("cache disabled: %s", reason)
        if reason:
            self._breaker.disable(reason)
        elif isinstance(answer, list):
            self._breaker.enable()
        else:
            log.debug("cache unreachable: %s", answer.reason)

    async def publish(self, values: Sequence[Value]) -> None:
        """Write the values, pipeline by pipeline; log and count each. Never raises for the cache.

        A value that cannot be encoded fails alone. Cancelled, it counts the rest as failed.
        """
        if self._client is None:
            return
        promised = self._counted + len(values)
        try:
            await self._publish(self._client, values)
        finally:
            self.counts.failed += promised - self._counted

    @property
    def _counted(self) -> int:
        return self.counts.published + self.counts.failed

    async def _publish(self, client: Redis, values: Sequence[Value]) -> None:
        start = 0
        while start < len(values) and self._may_try():
            batch, start = self._take(values, start)
            if batch.values:
                await self._send(client, batch)
        self._fail(values[start:], self._why_not())

    async def publish_run(self, timeframe: Timeframe, report: Mapping[str, Any]) -> None:
        """Write the report of the last finished run, for `RUN_TTL_S`: a round trip, not a value."""
        if self._client is None or not self._may_try():
            return
        pipeline = self._client.pipeline(transaction=False)
        pipeline.set(run_key(self._prefix, timeframe), orjson.dumps(report), ex=RUN_TTL_S)
        self.counts.round_trips += 1
        answer = await self._execute(pipeline, PIPELINE_S)
        for error in failures(answer):
            log.debug("Failed to cache the %s run: %s", timeframe.adjective, reason_of(error))

    def _may_try(self) -> bool:
        return self._lost_s < LOST_S and self._breaker.allows(self._clock())

    def _why_not(self) -> str:
        if self._breaker.disabled:
            return f"cache disabled: {self._breaker.disabled}"
        return "the cache does not answer: not tried"

    def _take(self, values: Sequence[Value], start: int) -> tuple[Batch, int]:
        """Return what the next pipeline carries, and where the one after begins."""
        batch, size = Batch([], []), 0
        for position in range(start, len(values)):
            if len(batch.values) == PIPELINE or size >= PIPELINE_BYTES:
                return batch, position
            body = self._encoded(values[position])
            if body is not None:
                batch.values.append(values[position])
                batch.bodies.append(body)
                size += len(body)
        return batch, len(values)

    def _encoded(self, value: Value) -> bytes | None:
        try:
            return encode(value)
        except (ValueError, TypeError, KeyError) as error:
            self._fail([value], reason_of(error))
            return None

    async def _send(self, client: Redis, batch: Batch) -> None:
        pipeline = client.pipeline(transaction=False)
        for value, body in zip(batch.values, batch.bodies, strict=True):
            key = price_key(self._prefix, value.ticker, value.timeframe, value.lookback)
            pipeline.set(key, body, ex=self._ttl_s[value.timeframe])
        self.counts.round_trips += 1
        answer = await self._execute(pipeline, PIPELINE_S)
        if isinstance(answer, Failure):
            self._fail(batch.values, answer.reason)
        else:
            self._count(batch, answer)

    def _count(self, batch: Batch, answers: list[Any]) -> None:
        for value, body, answer in zip(batch.values, batch.bodies, answers, strict=True):
            if isinstance(answer, Exception):
                self._fail([value], reason_of(answer))
            else:
                self.counts.published += 1
                self.counts.bytes += len(body)
        if log.isEnabledFor(logging.DEBUG):
            self._log_published(batch, answers)

    def _log_published(self, batch: Batch, answers: list[Any]) -> None:
        for value, answer in zip(batch.values, answers, strict=True):
            if not isinstance(answer, Exception):
                log.debug(
                    "%s: Cached %s data (%d rows, TTL: %ds)",
                    value.ticker,
                    value.timeframe.value,
                    value.rows,
                    self._ttl_s[value.timeframe],
                )

    def _fail(self, values: Sequence[Value], reason: str) -> None:
        self.counts.failed += len(values)
        if values and not self.reason:
            self.reason = reason
        if not log.isEnabledFor(logging.DEBUG):
            return
        for value in values:
            adjective = value.timeframe.adjective
            log.debug("%s: Failed to cache %s data: %s", value.ticker, adjective, reason)

    async def _execute(self, pipeline: Any, deadline_s: float) -> list[Any] | Failure:  # noqa: ANN401
        """Run a pipeline within its deadline and what is left to lose; tell the breaker."""
        began_at = self._clock()
        left_s = min(deadline_s, LOST_S - self._lost_s)
        answer = await attempt(pipeline.execute(raise_on_error=False), left_s)
        if isinstance(answer, list) and not all(isinstance(each, Exception) for each in answer):
            self._breaker.succeeded()
        else:
            self._lost_s += self._clock() - began_at
            self._breaker.failed(self._clock())
        if any(isinstance(error, ReadOnlyError) for error in failures(answer)):
            # A replica: after a failover the name leads to another server, so connect anew.
            await attempt(pipeline.connection_pool.disconnect(inuse_connections=False), CLOSE_S)
        return answer


def failures(answer: list[Any] | Failure) -> Iterator[Exception]:
    """Yield the errors of a pipeline: its own, or those among its answers."""
    if isinstance(answer, Failure):
        yield answer.error
    else:
        yield from (each for each in answer if isinstance(each, Exception))


def unusable(answer: list[Any] | Failure) -> str:
    """Return why no waiting makes this Redis usable, from the answer to a probe; else nothing."""
    if isinstance(answer, Failure):
        # On a Unix socket redis-py raises a ConnectionError whose cause it is.
        errors = (answer.error, answer.error.__cause__)
        refused = any(isinstance(each, AuthenticationError | AuthorizationError) for each in errors)
        return f"authentication failed ({answer.reason})" if refused else ""
    info, written = answer
    if isinstance(written, NoPermissionError):
        return f"SET is not permitted ({reason_of(written)})"
    clustered = isinstance(info, dict) and info.get("cluster_enabled") == 1
    return "this Redis runs in cluster mode, which is not supported" if clustered else ""
