"""Memory does not grow with the number of tickers."""

from __future__ import annotations

from itertools import islice

from collector.simulator.history import GeneratedBars, listing
from tests.faults.conftest import NewProgram
from tests.faults.program import Ended
from tests.faults.vendor import Fmp
from tests.servers import PostgresServer, database_of

NAMES = (f"M{number:04d}" for number in range(2500))
MANY = tuple(islice((name for name in NAMES if listing(name).year < 2016), 1500))
FEW = MANY[:300]


def test_five_times_the_tickers_take_the_same_memory(
    postgres_server: PostgresServer, redis_url: str, new_program: NewProgram
) -> None:
    """With a year of daily bars each: a batch is full in both runs."""
    with Fmp(GeneratedBars()) as fmp:

        def run_over(tickers: tuple[str, ...]) -> Ended:
            with database_of(postgres_server) as dsn:
                program = new_program(dsn, redis_url, fmp)
                return program.run(tickers, log__per_ticker="false")

        few, many = run_over(FEW), run_over(MANY)
    assert (few.code, many.code) == (0, 0)
    assert many.report["rows"]["inserted"] > 4.5 * few.report["rows"]["inserted"]
    assert len(MANY) == 1500
    assert many.peak_mb <= 1.15 * few.peak_mb + 15
