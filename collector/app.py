"""The composition root: the only place that builds clients and hands them on."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import time, timedelta
from pathlib import Path
from time import monotonic
from zoneinfo import ZoneInfo

from pydantic import SecretStr
from redis.asyncio import Redis

from collector import logs
from collector.cache.breaker import Breaker
from collector.cache.client import build_client, close_client
from collector.cache.publish import Publisher
from collector.clock import Clock, clock
from collector.collect.publishing import Publishing
from collector.collect.run import Rooms
from collector.engines.postgres import embedded_postgres
from collector.engines.redis import embedded_redis
from collector.errors import UsageError
from collector.fmp.client import FmpClient
from collector.market.plan import FIRST_HOURS, Rules
from collector.market.schedule import Schedule
from collector.market.sessions import Calendar, calendar
from collector.market.timeframe import Timeframe
from collector.settings import Settings, data_dir, load, secrets
from collector.simulator.app import Simulator, SimulatorConfig
from collector.simulator.tickers import demo_tickers
from collector.store import universe, usage
from collector.store.lock import TIMEOUT_S, FetchLock
from collector.store.migrate import check, migrate
from collector.store.pool import Store, open_store

log = logging.getLogger(__name__)

REACHABLE_WITHIN_S = 5.0  # so that a run without its database says so within ten seconds

NO_KEY = """\
no FMP API key: set FMP_API_KEY, or FMP_API_KEY_FILE to a file that holds it
a key is had at https://site.financialmodelingprep.com (the free plan is enough to try)
or try without one: add --demo"""

DEMO_WITH_A_DATABASE = """\
--demo refuses to run where a database or Redis is configured ({names}):
simulated prices must never reach it; unset it, or leave --demo out"""


# The simulator is on loopback, which lets settings through that FMP's address would not.
DEMO_OVERRIDES = {"fmp.base_url": "http://127.0.0.1/stable", "fmp.requests_per_minute": "none"}


@dataclass(frozen=True)
class Setup:
    """What a command was told, by its line, the environment and the files."""

    settings: Settings
    demo: bool
    home: Path
    clock: Clock

    @property
    def calendar(self) -> Calendar:
        """The exchange's calendar; `UsageError` where ``schedule.exchange`` is unknown."""
        try:
            return calendar(self.settings.schedule.exchange, self.clock())
        except ValueError as error:
            raise UsageError(f"schedule.exchange: {error}") from None

    @property
    def schedule(self) -> Schedule:
        """When bars are due."""
        told = self.settings.schedule
        return Schedule(
            ZoneInfo(told.timezone),
            tuple(time.fromisoformat(at) for at in told.daily_at),
            timedelta(seconds=told.hourly_delay_s),
            timedelta(seconds=told.weekly_delay_s),
        )


def setup(config: Path | None, *, demo: bool, environ: Mapping[str, str]) -> Setup:
    """Read the settings and set up the log. Raises `UsageError` with all that is wrong."""
    settings = load(config, overrides=DEMO_OVERRIDES if demo else {}, environ=environ)
    logs.setup(settings.log.level, settings.log.format)
    for secret in secrets(settings):
        logs.hide(secret)
    for note in settings.notes:
        log.warning("%s", note)
    if not settings.log.per_ticker:
        logging.getLogger("collector.per_ticker").setLevel(logging.WARNING)
    home = data_dir(settings, environ)
    if demo:
        settings, home = _demo(settings), home / "demo"
    return Setup(settings, demo, home, clock(settings.clock.starts_at))


def _demo(settings: Settings) -> Settings:
    """The settings of a demo, which must not touch a real database. Its address comes later."""
    told = {"postgres.dsn": settings.postgres.dsn, "redis.url": settings.redis.url}
    names = ", ".join(name for name, value in told.items() if value is not None)
    if names:
        raise UsageError(DEMO_WITH_A_DATABASE.format(names=names))
    fmp = settings.fmp.model_copy(update={"api_key": SecretStr("demo"), "bandwidth_gb": None})
    return settings.model_copy(update={"fmp": fmp})


@dataclass(frozen=True)
class Database:
    """The database of a command, and its address for a connection beside the pool."""

    store: Store
    dsn: str


@asynccontextmanager
async def opened_database(setup: Setup, *, writes: bool) -> AsyncIterator[Database]:
    """Lend the database: the configured one, else an embedded one. Its schema fits.

    A command that ``writes`` brings the schema up to date, and seeds the universe. Raises
    `DatabaseUnavailable`, `SchemaMismatch`.
    """
    told = setup.settings.postgres
    async with AsyncExitStack() as stack:
        dsn = told.dsn.get_secret_value() if told.dsn else None
        if dsn is None:
            dsn = await stack.enter_async_context(embedded_postgres(setup.home))
        opening = open_store(
            dsn,
            schema=told.schema_name,
            pool_size=told.pool_size,
            timeout_s=told.timeout_s,
            outage_s=told.outage_s,
        )
        store = await stack.enter_async_context(opening)
        await store.wait_until_reachable(REACHABLE_WITHIN_S)
        await (_bring_up_to_date(setup, store) if writes else check(store))
        yield Database(store, dsn)


async def _bring_up_to_date(setup: Setup, store: Store) -> None:
    await migrate(store)
    names = demo_tickers() if setup.demo else setup.settings.universe.tickers
    await universe.seed(store, names, setup.clock())


@asynccontextmanager
async def opened_redis(setup: Setup) -> AsyncIterator[Redis | None]:
    """Lend the cache's client: of the configured Redis, else of an embedded one.

    None where caching is off, or no Redis can be had for this platform.
    """
    told = setup.settings.redis
    if not setup.settings.cache.enabled:
        yield None
        return
    async with AsyncExitStack() as stack:
        url = told.url.get_secret_value() if told.url else None
        if url is None:
            url = await stack.enter_async_context(embedded_redis(setup.home))
        client = build_client(url, told.timeout_s, told.pool_size) if url else None
        if client is not None:
            stack.push_async_callback(close_client, client)
        yield client


@asynccontextmanager
async def opened_publishing(setup: Setup, store: Store) -> AsyncIterator[Publishing]:
    """Lend what publishes from ``store``; a Redis that cannot be used is told once, here."""
    told = setup.settings.cache
    async with opened_redis(setup) as client:
        publisher = Publisher(
            client,
            told.key_prefix,
            told.lookback,
            {Timeframe(name): ttl_s for name, ttl_s in told.ttl_s.items()},
            told.enabled,
            Breaker(),
            monotonic,
        )
        await publisher.probe()
        yield Publishing(store, publisher, setup.calendar, setup.schedule, setup.clock)


@asynccontextmanager
async def opened_client(setup: Setup, store: Store) -> AsyncIterator[FmpClient]:
    """Lend the FMP client; of a demo that of a simulator, which lives as long."""
    told = setup.settings.fmp
    async with AsyncExitStack() as stack:
        base_url = told.base_url
        if setup.demo:
            base_url = await stack.enter_async_context(
                Simulator(SimulatorConfig(clock=setup.clock)).serve()
            )
        client = FmpClient(
            base_url,
            told.api_key.get_secret_value() if told.api_key else "",
            requests_per_minute=told.requests_per_minute,
            concurrency=told.concurrency,
            timeout_s=told.timeout_s,
            attempts=told.attempts,
            max_body_bytes=told.max_body_mb * 2**20,
            bytes_left=await _bytes_left(setup, store),
        )
        yield await stack.enter_async_context(client)


async def _bytes_left(setup: Setup, store: Store) -> int | None:
    """What ``fmp.bandwidth_gb`` leaves of the trailing 30 days; None where it is not set."""
    limit = setup.settings.fmp.bandwidth_gb
    if limit is None:
        return None
    return int(limit * 1e9) - await usage.trailing_bytes(store, setup.clock())


@asynccontextmanager
async def opened_rooms(setup: Setup, *, wait_s: float, force: bool = False) -> AsyncIterator[Rooms]:
    """Lend all that a run works with, under the fetch lock, for which it waits.

    Raises `UsageError` where there is no key, `LockHeld` after ``wait_s`` seconds.
    """
    told = setup.settings
    if told.fmp.api_key is None:
        raise UsageError(NO_KEY)
    rules = Rules(
        setup.calendar,
        setup.schedule,
        told.fmp.history_years,
        told.fmp.overlap_sessions,
        max(FIRST_HOURS, told.cache.lookback),
        force,
    )
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(opened_database(setup, writes=True))
        lock = FetchLock(
            database.dsn,
            schema=told.postgres.schema_name,
            timeout_s=min(TIMEOUT_S, told.postgres.timeout_s),
        )
        await stack.enter_async_context(lock)
        await lock.acquire(wait_s)  # what is read after it is of the time after the other's run
        yield Rooms(
            database.store,
            lock,
            await stack.enter_async_context(opened_client(setup, database.store)),
            await stack.enter_async_context(opened_publishing(setup, database.store)),
            rules,
            setup.clock,
            told.fmp.concurrency,
            told.cache.publish == "as_stored",
        )
