"""A market, a vendor, and the whole program against servers that a test may break."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from collector.simulator.history import ReplayedBars
from tests.faults.program import Ended, Program
from tests.faults.tables import Tables
from tests.faults.vendor import TICKERS, Fmp, write_market
from tests.servers import PostgresServer, RedisServer, database_of

ASKED = TICKERS[:600]  # three batches
LATENCY_S = 0.06  # so that a run over them fetches for more than a second


@dataclass(frozen=True)
class FaultFree:
    """What a run over ``ASKED`` comes to where nothing breaks."""

    ended: Ended
    sums: dict[str, str]
    items: list[list[object]]
    sum_by_ticker: dict[str, str]


NewProgram = Callable[[str, str, Fmp], Program]


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> ReplayedBars:
    """Return the market."""
    return ReplayedBars(write_market(tmp_path_factory.mktemp("market") / "bars.parquet"))


@pytest.fixture
def fmp(history: ReplayedBars) -> Iterator[Fmp]:
    """Lend a vendor that answers after a while."""
    with Fmp(history, latency_s=LATENCY_S) as vendor:
        yield vendor


@pytest.fixture(scope="session")
def fault_free(
    history: ReplayedBars,
    postgres_server: PostgresServer,
    redis_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[FaultFree]:
    """Return what a run comes to where nothing breaks; every sum is compared with it."""
    home = tmp_path_factory.mktemp("fault-free")
    with database_of(postgres_server) as dsn, Fmp(history, latency_s=LATENCY_S) as vendor:
        program = Program(home, servers(dsn, redis_server.url, vendor))
        ended = program.run(ASKED)
        tables = Tables(postgres_server, dsn)
        assert (ended.code, ended.report["tickers"]["stored"]) == (0, len(ASKED))
        items = tables.items(ended.report["run"])
        yield FaultFree(ended, tables.sums(), items, tables.sum_by_ticker())


def servers(dsn: str, redis_url: str, vendor: Fmp) -> dict[str, str]:
    """Return the settings that name the servers."""
    return {
        "FMP_API_KEY": "a-key-of-the-tests",
        "FMP_BASE_URL": vendor.url,
        "COLLECTOR_FMP__REQUESTS_PER_MINUTE": "none",
        "COLLECTOR_FMP__HISTORY_YEARS": "1",
        "DATABASE_URL": dsn,
        "REDIS_URL": redis_url,
    }


@pytest.fixture
def new_program(tmp_path: Path) -> Iterator[NewProgram]:
    """Lend a maker of programs; what they started is killed after the test."""
    made: list[Program] = []

    def make(dsn: str, redis_url: str, vendor: Fmp) -> Program:
        home = tmp_path / f"program-{len(made)}"
        home.mkdir()
        made.append(Program(home, servers(dsn, redis_url, vendor)))
        return made[-1]

    yield make
    for program in made:
        program.kill_all()


@pytest.fixture
def tables(postgres_server: PostgresServer, pg_dsn: str) -> Tables:
    """Return the tables of this test on the session's PostgreSQL."""
    return Tables(postgres_server, pg_dsn)


@pytest.fixture
def program(new_program: NewProgram, pg_dsn: str, redis_url: str, fmp: Fmp) -> Program:
    """Return the program on the session's servers, which no test may break."""
    return new_program(pg_dsn, redis_url, fmp)


@pytest.fixture
def lone_tables(lone_postgres: PostgresServer) -> Tables:
    """Return the tables of this test on a PostgreSQL that it may break."""
    return Tables(lone_postgres, lone_postgres.create_database())


@pytest.fixture
def lone_program(new_program: NewProgram, lone_tables: Tables, redis_url: str, fmp: Fmp) -> Program:
    """Return the program on a PostgreSQL that this test may break."""
    return new_program(lone_tables.dsn, redis_url, fmp)
