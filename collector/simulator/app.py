"""The simulator as an HTTP server.

::

    config = SimulatorConfig(history=GeneratedBars(), requests_per_minute=300)
    async with Simulator(config).serve() as base_url:
        ...  # GET {base_url}/historical-price-eod/full?symbol=AAPL

Beside FMP's tree there are two doors for tests in other processes, without a key and out of the
log: ``GET /__log`` gives every call as a JSON list (``DELETE`` empties it), ``POST /__script``
takes a list of `Rule` as JSON.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import orjson
from aiohttp import web

from collector.clock import Clock, clock
from collector.simulator import wire
from collector.simulator.call import JSON, Answer, Call
from collector.simulator.endpoints import ENDPOINTS, Endpoint
from collector.simulator.history import GeneratedBars, History
from collector.simulator.journal import Entry, Journal
from collector.simulator.pages import Page, Pages
from collector.simulator.plan import Plan
from collector.simulator.quota import SlidingWindow
from collector.simulator.refusals import (
    LIMIT_REACHED,
    NO_SUCH_PATH,
    key_refusal,
    parameter_refusal,
    plan_refusal,
)
from collector.simulator.script import Rule, Script

MINUTE_S, DAY_S = 60.0, 86_400.0


@dataclass(frozen=True)
class SimulatorConfig:
    """How the simulator behaves.

    ``keys``: the ones accepted, or ``None`` for any that is not empty. ``requests_per_minute``: the
    quota, over the plan's; ``None`` leaves it to the plan, whose default is none. ``clock`` gives
    the aware instant that the answers are of; quota and latency go by real time. ``log_entries``
    and ``page_bytes`` bound what is kept.
    """

    history: History = field(default_factory=GeneratedBars)
    keys: frozenset[str] | None = None
    requests_per_minute: int | None = None
    plan: Plan = field(default_factory=Plan)
    latency_s: float = 0.0
    clock: Clock = field(default_factory=clock)
    gzip: bool = True
    log_entries: int = 100_000
    page_bytes: int = 32 * 2**20


class Simulator:
    """An FMP server. ``log`` holds its calls, ``script(*rules)`` orders faults."""

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.config = config or SimulatorConfig()
        self.log = Journal(self.config.log_entries)
        self.script = Script()
        self._pages = Pages(self.config.page_bytes)
        self._windows = _windows(self.config)

    @asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Serve on ``host`` and lend the base URL, ending in ``/stable``; port 0 is any free one.

        Raises `OSError` where the port cannot be had.
        """
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            yield f"http://{host}:{runner.addresses[0][1]}/stable"
        finally:
            await runner.cleanup()

    def page(self, call: Call, arrived_at: float) -> tuple[int, Page, str]:
        """Status, body and content type for ``call``; ``arrived_at`` is in monotonic seconds."""
        refusal = key_refusal(call, self.config.keys) or self._quota_refusal(arrived_at)
        endpoint = ENDPOINTS.get(call.endpoint)
        if refusal is None and endpoint is not None:
            return self._served(call, endpoint)
        answer = refusal or NO_SUCH_PATH
        return answer.status, Page(answer.body), answer.content_type

    def _served(self, call: Call, endpoint: Endpoint) -> tuple[int, Page, str]:
        at, history = self.config.clock(), self.config.history
        refusal = plan_refusal(call, self.config.plan) or parameter_refusal(
            call, endpoint.required, self.config.plan, history.today(at)
        )
        if refusal is not None:
            return refusal.status, Page(refusal.body), refusal.content_type
        key: Hashable = (call.endpoint, frozenset(call.query.items()), history.edition(at))
        return 200, self._pages.get(key, partial(endpoint.body, call, history, at)), JSON

    def _quota_refusal(self, arrived_at: float) -> Answer | None:
        admitted = all(window.admit(arrived_at) for window in self._windows)
        return None if admitted else LIMIT_REACHED

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        monotonic, wall = time.monotonic(), time.time()
        door = request.path.rpartition("/")[2]
        if door == "__log":
            return self._log_door(request)
        if door == "__script":
            return await self._script_door(request)
        call = wire.call_of(request)
        rule = self.script.rule_for(call) or Rule()
        reply = self._reply(call, rule, monotonic, wire.wants_gzip(request) and self.config.gzip)
        dropped = rule.close and rule.truncate_to is None
        status, sent = (0, 0) if dropped else (reply.status, len(reply.payload))
        self.log.add(Entry.of(call, monotonic, wall, status, sent))
        delay_s = self.config.latency_s + rule.delay_s
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        return await wire.send(request, reply, cut=rule.close)

    def _reply(self, call: Call, rule: Rule, arrived_at: float, gzip: bool) -> wire.Reply:
        scripted = rule.answer()
        if scripted is not None:
            reply = wire.reply_of(scripted.status, Page(scripted.body), scripted.content_type, gzip)
            reply = replace(reply, headers={**reply.headers, **scripted.headers})
        else:
            reply = wire.reply_of(*self.page(call, arrived_at), gzip)
        return reply.cut(rule.truncate_to, announce_all=rule.close)

    def _log_door(self, request: web.BaseRequest) -> web.Response:
        rows = self.log.rows()
        if request.method == "DELETE":
            self.log.clear()
        return web.Response(body=orjson.dumps(rows), content_type="application/json")

    async def _script_door(self, request: web.BaseRequest) -> web.Response:
        try:
            rules = [Rule(**row) for row in orjson.loads(await request.read())]
        except (TypeError, ValueError) as error:
            return web.Response(status=400, text=f"not a list of rules: {error}")
        self.script(*rules)
        return web.Response(status=204)


@asynccontextmanager
async def serve(
    config: SimulatorConfig, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """Serve a simulator that nobody has to look into, and lend its base URL."""
    async with Simulator(config).serve(host, port) as base_url:
        yield base_url


def _windows(config: SimulatorConfig) -> list[SlidingWindow]:
    per_minute = config.requests_per_minute or config.plan.requests_per_minute
    limits = [(per_minute, MINUTE_S), (config.plan.requests_per_day, DAY_S)]
    return [SlidingWindow(limit, period_s) for limit, period_s in limits if limit]
