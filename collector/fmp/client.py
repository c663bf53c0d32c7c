"""The client: every call to FMP goes through it, one quota and one retry layer around each."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TypeVar

from collector.errors import Failed, FetchError, Kind, Refused, Throttled, Transient
from collector.fmp.bandwidth import Bandwidth
from collector.fmp.classify import Reply, classify
from collector.fmp.endpoints import Request
from collector.fmp.floors import Floors
from collector.fmp.gate import EVERYTHING, Gate, Pass
from collector.fmp.quota import MINUTE_S, Quota
from collector.fmp.retries import FIRST_BACKOFF_S, Retries, RetryBudget
from collector.fmp.transport import Transport

log = logging.getLogger(__name__)

T = TypeVar("T")
REFUSALS = (Kind.AUTH, Kind.PLAN, Kind.QUOTA)


@dataclass
class ApiUsage:
    """What a client has cost so far.

    ``calls`` are requests sent, ``retries`` those of them that repeated one, ``throttled`` the
    answers that said slow down, ``refused`` those that key, plan or quota refused; ``bytes`` are
    of decompressed bodies, the safe reading of FMP's meter (FMP.md section 9).
    """

    calls: int = 0
    retries: int = 0
    throttled: int = 0
    refused: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Waits:
    """How long the client waits for what, in seconds. Tests shorten them.

    ``minute_s`` is the quota's window, ``outage_s`` the first pause when the server fails,
    ``backoff_s`` the base of the waits between attempts; ``throttled_s`` gives the pause after a
    429 that names none.
    """

    minute_s: float = MINUTE_S
    outage_s: float = 5.0
    backoff_s: float = FIRST_BACKOFF_S
    throttled_s: Callable[[], float] = lambda: to_next_minute(time.time())


class FmpClient:
    """Asks FMP, within the quota, and raises nothing but `FetchError`.

    An async context manager that owns one HTTP session. Calls in flight are at most
    ``concurrency``; each has ``timeout_s`` for its answer, and is attempted at most ``attempts``
    times. A body over ``max_body_bytes``, compressed or not, is refused. ``bytes_left`` of
    bandwidth may be used (None: no limit). ``floors`` is what is known of the plan's history.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        requests_per_minute: int | None = 300,
        concurrency: int = 32,
        timeout_s: float = 30.0,
        attempts: int = 4,
        max_body_bytes: int = 16 * 2**20,
        bytes_left: int | None = None,
        waits: Waits | None = None,
    ) -> None:
        self.usage = ApiUsage()
        self.floors = Floors()
        self._waits = waits or Waits()
        self._base_url, self._key = base_url, key
        self._secret = key.encode()
        self._concurrency, self._timeout_s = concurrency, timeout_s
        self._attempts, self._max_body_bytes = attempts, max_body_bytes
        self._bandwidth = Bandwidth(bytes_left)
        self._budget = RetryBudget()
        self._gate = Gate(self._waits.outage_s)
        self._quota = Quota(requests_per_minute, self._waits.minute_s)
        self._line = asyncio.Lock()
        self._places = asyncio.Semaphore(concurrency)
        self._transport: Transport | None = None

    async def __aenter__(self) -> Self:
        """Open the session; no connection is made yet."""
        self._transport = Transport(
            self._base_url,
            self._key,
            connections=self._concurrency,
            timeout_s=self._timeout_s,
            max_body_bytes=self._max_body_bytes,
            sent=self._count_call,
        )
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Close the session and its connections."""
        if self._transport is not None:
            await self._transport.close()

    async def get(self, request: Request) -> bytes:
        """The body of the answer, which is JSON as far as its two ends tell; else `FetchError`."""
        return await self.ask(request, _as_it_is)

    async def ask(self, request: Request, read: Callable[[bytes], Awaitable[T]]) -> T:
        """What ``read`` makes of the answer's body. A `Transient` that it raises is tried again.

        Raises `FetchError`: `Refused` once calls make no sense any more, at once and without one.
        """
        retries = Retries(self._budget, self._attempts, self._waits.backoff_s)
        async for attempt in retries.attempts():
            with attempt:
                again = retries.begins(attempt.num)
                try:
                    return await self._read(await self._body(request, again=again), read)
                except Refused as refusal:
                    refusal.called |= again  # an earlier attempt of this call was sent
                    raise
        raise AssertionError("stamina ends with an answer or an error")  # pragma: no cover

    async def _body(self, request: Request, *, again: bool) -> bytes:
        async with self._places, self._leave(request.path) as leave:
            self.usage.retries += again
            reply, error = await self._reply(request)
            self._settle(request.path, leave, reply, error)
        if error is not None:
            raise error
        return reply.body

    async def _reply(self, request: Request) -> tuple[Reply, FetchError | None]:
        if self._transport is None:
            raise RuntimeError("the client is not open: use `async with`")
        try:
            reply = await self._transport.exchange(request)
        except FetchError as failure:
            return Reply(0, b""), failure
        self.usage.bytes += len(reply.body)
        self._bandwidth.received(len(reply.body))
        at = datetime.now(UTC)
        error = classify(reply, at)
        if error is not None and self._quotes_key(reply.body):
            error = classify(self._without_key(reply), at)
        return reply, error

    async def _read(self, body: bytes, read: Callable[[bytes], Awaitable[T]]) -> T:
        """A message may quote the body: where that holds the key, it is read again without."""
        try:
            return await read(body)
        except FetchError:
            if not self._quotes_key(body):
                raise
        return await read(self._without_key(Reply(200, body)).body)

    @asynccontextmanager
    async def _leave(self, path: str) -> AsyncIterator[Pass]:
        """Line up for the gate and the quota; callers go in the order in which they came."""
        async with self._line:
            await self._gate.opened(path)
            await self._quota.next()
            while not self._gate.is_open:  # a pause began meanwhile
                await self._gate.opened(path)
                await self._quota.next()
            self._stop_if_used_up()
            self._gate.check(path)
            leave = self._gate.enter()
            self._quota.sent()
            self._bandwidth.sent()
        try:
            yield leave
        finally:
            self._quota.answered()
            self._bandwidth.answered()
            self._gate.leave(leave)

    def _settle(self, path: str, leave: Pass, reply: Reply, error: FetchError | None) -> None:
        """Tell the gate what the answer means for the calls to come."""
        if error is not None and error.kind in REFUSALS:
            self.usage.refused += 1
        match error:
            case Throttled():
                self.usage.throttled += 1
                self._gate.throttled(leave, error, self._pause_s(reply, error))
            case Refused():
                self._gate.stop(error, path if error.kind is Kind.PLAN else EVERYTHING)
            case Transient() | Failed(kind=Kind.TLS):
                self._gate.failed(leave, error)
            case _:
                self._gate.good(leave)

    def _pause_s(self, reply: Reply, error: Throttled) -> float:
        if error.retry_after_s is not None:
            return error.retry_after_s
        if reply.retry_after:
            log.warning("FMP sent a Retry-After that makes no sense: %a", reply.retry_after[:40])
        return self._waits.throttled_s()

    def _count_call(self) -> None:
        self.usage.calls += 1

    def _stop_if_used_up(self) -> None:
        if not self._bandwidth.has_room():
            self._gate.stop(Refused(Kind.QUOTA, "fmp.bandwidth_gb is used up"))

    def _quotes_key(self, body: bytes) -> bool:
        return bool(self._secret) and self._secret in body

    def _without_key(self, reply: Reply) -> Reply:
        body = reply.body.replace(self._secret, b"***")
        return Reply(reply.status, body, reply.retry_after, reply.location)


def to_next_minute(at: float) -> float:
    """Seconds from ``at`` (Unix time) to the next full minute and a bit: its window is unknown."""
    return 60 - at % 60 + random.uniform(0.5, 2)  # noqa: S311 - no secret


async def _as_it_is(body: bytes) -> bytes:
    return body
