"""The program as its users have it: a process with words, variables, two streams and an exit code.

``World`` is what a scenario runs in: an empty directory, a simulator whose clock the scenario
sets, a database and a Redis. The simulator runs on a thread of the tests' process, so that a
scenario can look into it and change it between two runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import redis

from collector.simulator.app import Simulator, SimulatorConfig
from collector.simulator.journal import Entry
from collector.simulator.script import Rule
from tests.servers import PostgresServer, RedisServer, database_of

NEW_YORK = ZoneInfo("America/New_York")
DEADLINE_S = 50.0
KEY = "k3y-of-the-tests"
TRACED = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")


def new_york(text: str) -> datetime:
    """The instant of ``2025-03-05 06:00`` on the clocks of New York."""
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


MORNING = new_york("2025-03-05 06:00")  # a Wednesday; the last session was Tuesday, the 4th


@dataclass(frozen=True)
class Result:
    """How a process ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON document of stdout."""
        document: dict[str, Any] = json.loads(self.out)
        return document


@dataclass
class Served:
    """A simulator on a thread of its own. It lives ``behind`` the instant ``at``."""

    at: datetime = MORNING
    behind: timedelta = timedelta()
    base_url: str = ""
    simulator: Simulator = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def calls(self) -> list[Entry]:
        """The calls since the last time that this was asked."""
        found = list(self.simulator.log)
        self.simulator.log.clear()
        return found

    def script(self, *rules: Rule) -> None:
        """Order faults; none at all ends them."""
        self.simulator.script(*rules)

    @contextmanager
    def serving(self, config: SimulatorConfig) -> Iterator[Served]:
        """Serve until the end of the block, by the clock of this object."""
        self.simulator = Simulator(replace(config, clock=lambda: self.at - self.behind))
        stop, ready = asyncio.Event(), threading.Event()

        async def serve() -> None:
            async with self.simulator.serve() as self.base_url:
                ready.set()
                await stop.wait()

        thread = threading.Thread(target=self._loop.run_until_complete, args=[serve()])
        thread.start()
        try:
            assert ready.wait(10), "the simulator does not start"
            yield self
        finally:
            self._loop.call_soon_threadsafe(stop.set)
            thread.join(10)
            self._loop.close()


@contextmanager
def simulator(config: SimulatorConfig | None = None, at: datetime = MORNING) -> Iterator[Served]:
    """Lend a simulator."""
    with Served(at).serving(config or SimulatorConfig()) as served:
        yield served


@dataclass
class World:
    """What a scenario runs in. ``variables`` is the whole environment of the program."""

    home: Path
    variables: dict[str, str]
    server: Served | None = None
    dsn: str = ""
    redis_url: str = ""

    def run(
        self,
        *words: str,
        at: datetime | None = None,
        code: int | None = 0,
        without: Sequence[str] = (),
        deadline_s: float = DEADLINE_S,
        **variables: str,
    ) -> Result:
        """Run the program to its end; it must exit with ``code`` (None: any).

        ``at`` sets its clock and the simulator's, ``variables`` are added, ``without`` left out.
        """
        process = self.start(*words, at=at, without=without, **variables)
        result = _ended(process, deadline_s)
        assert code is None or result.code == code, result
        return result

    def start(
        self, *words: str, at: datetime | None = None, without: Sequence[str] = (), **variables: str
    ) -> subprocess.Popen[str]:
        """Start the program, for tests that do something while it runs."""
        environment = {**self.variables, **self._clock(at), **variables}
        return subprocess.Popen(
            [sys.executable, "-m", "collector", *words],
            cwd=self.home,
            env={name: value for name, value in environment.items() if name not in without},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def report(self, *words: str, at: datetime | None = None, **variables: str) -> dict[str, Any]:
        """Run ``run``, ``backfill`` … with ``--json`` and return the report, whatever the code."""
        process = self.start(*words, "--json", at=at, **variables)
        return _ended(process, DEADLINE_S).json

    def calls(self) -> list[Entry]:
        """The calls that reached the simulator since the last time that this was asked."""
        assert self.server is not None
        return self.server.calls()

    def server_log(self) -> list[Entry]:
        """The calls since then, without forgetting them."""
        assert self.server is not None
        return list(self.server.simulator.log)

    def rows(self, sql: str, *arguments: object) -> list[dict[str, Any]]:
        """What a query gives, as dicts."""
        return asyncio.run(_fetch(self.dsn, sql, *arguments))

    def value(self, sql: str, *arguments: object) -> Any:  # noqa: ANN401 - whatever it asks for
        """The one value that a query gives."""
        (row,) = self.rows(sql, *arguments)
        (found,) = row.values()
        return found

    @contextmanager
    def redis(self) -> Iterator[Any]:
        """Lend a client of the world's Redis."""
        client = redis.Redis.from_url(self.redis_url)
        try:
            yield client
        finally:
            client.close()

    def cached(self, key: str) -> dict[str, Any]:
        """The value under ``key``, decoded; the key must be there."""
        with self.redis() as client:
            raw = client.get(key)
        assert raw is not None, key
        value: dict[str, Any] = json.loads(raw)
        return value

    def keys(self) -> dict[str, int]:
        """Every key of Redis with its TTL in seconds."""
        with self.redis() as client:
            return {key.decode(): client.ttl(key) for key in client.scan_iter()}

    def _clock(self, at: datetime | None) -> dict[str, str]:
        if at is None:
            return {}
        if self.server is not None:
            self.server.at = at.astimezone(UTC)
        return {"COLLECTOR_CLOCK__STARTS_AT": at.isoformat()}


def _ended(process: subprocess.Popen[str], deadline_s: float) -> Result:
    began_at = time.monotonic()
    try:
        out, err = process.communicate(timeout=deadline_s)
    finally:
        end(process)
    return Result(process.returncode, out, err, time.monotonic() - began_at)


def end(process: subprocess.Popen[str]) -> None:
    """See to it that the process is gone and its streams are closed."""
    if process.poll() is None:
        process.kill()
    with suppress(ValueError):  # read to the end already
        process.communicate(timeout=10)


def bare(home: Path, **variables: str) -> World:
    """A world without any server: an empty directory and an environment with nothing in it."""
    home.mkdir(parents=True, exist_ok=True)
    return World(home, {**_ground(home), **variables})


@contextmanager
def world_of(
    home: Path,
    postgres: PostgresServer,
    cache: RedisServer,
    config: SimulatorConfig | None = None,
    at: datetime = MORNING,
    number: int = 1,
) -> Iterator[World]:
    """Lend a world with a simulator, an empty database, and number so many of Redis, emptied."""
    cache.start()
    home.mkdir(parents=True, exist_ok=True)
    with database_of(postgres) as dsn, simulator(config, at) as server:
        variables = {
            "FMP_API_KEY": KEY,
            "FMP_BASE_URL": server.base_url,
            "DATABASE_URL": dsn,
            "REDIS_URL": f"{cache.url}?db={number}",
            "COLLECTOR_FMP__REQUESTS_PER_MINUTE": "none",
        }
        world = World(home, {**_ground(home), **variables}, server, dsn, variables["REDIS_URL"])
        with world.redis() as client:
            client.flushdb()
        yield world


def _ground(home: Path) -> Mapping[str, str]:
    traced = {name: os.environ[name] for name in TRACED if name in os.environ}
    return {
        "PATH": os.defpath,
        "HOME": str(home),
        "COLLECTOR_DATA_DIR": str(home / "own"),
        **traced,
    }


async def _fetch(dsn: str, sql: str, *arguments: object) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.set_type_codec(
            "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
        )
        return [dict(row) for row in await connection.fetch(sql, *arguments)]
    finally:
        await connection.close()
