"""PostgreSQL breaks in the middle of a run: it completes, and what it acknowledged is there."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.faults.conftest import ASKED, FaultFree
from tests.faults.program import Ended, Process, Program
from tests.faults.tables import Tables
from tests.faults.vendor import Fmp
from tests.servers import CLEAN_ENVIRONMENT, PostgresServer, free_port, wait_until

Break = Callable[[Tables], None]
UNAVAILABLE = "db_unavailable"


def restart_fast(tables: Tables) -> None:
    """Restart as an administrator does."""
    tables.server.restart("fast")


def restart_immediate(tables: Tables) -> None:
    """Restart without waiting for anybody: the server recovers from its log."""
    tables.server.restart("immediate")


def kill_postmaster(tables: Tables) -> None:
    """Crash the server, and start it again."""
    tables.server.kill9()
    tables.server.start()


def kill_backend(tables: Tables) -> None:
    """Crash one server process: PostgreSQL cuts all connections, and recovers."""
    os.kill(_blocked(tables), signal.SIGKILL)


def terminate_backend(tables: Tables) -> None:
    """Cut one connection, as an administrator does."""
    tables.ask(f"SELECT pg_terminate_backend({_blocked(tables)})")


def terminate_all(tables: Tables) -> None:
    """Cut all connections, that of the fetcher's lock too."""
    tables.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name='collector'"
    )


BREAKS = pytest.mark.parametrize(
    "fault",
    [
        restart_fast,
        restart_immediate,
        kill_postmaster,
        kill_backend,
        terminate_backend,
        terminate_all,
    ],
    ids=lambda fault: fault.__name__,
)


def _blocked(tables: Tables) -> int:
    pid = tables.blocked_backend()
    assert pid is not None
    return pid


@contextmanager
def prices_locked(tables: Tables) -> Iterator[None]:
    """Let nobody write daily prices meanwhile: who tries waits in the middle of a transaction."""
    psql = [str(tables.server.binaries / "psql"), "-XAtq", "-d", tables.dsn]
    locker = subprocess.Popen(
        psql,
        env=CLEAN_ENVIRONMENT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert locker.stdin is not None
    assert locker.stdout is not None
    with locker, locker.stdin, locker.stdout:
        locker.stdin.write("BEGIN; LOCK TABLE daily_prices IN EXCLUSIVE MODE; SELECT 'locked';\n")
        locker.stdin.flush()
        assert locker.stdout.readline() == "locked\n"
        yield
        locker.kill()


def complete_as(fault_free: FaultFree, ended: Ended, tables: Tables) -> None:
    """Assert that the run came to what it comes to without a fault."""
    assert (ended.code, ended.report["status"]) == (0, "ok")
    for name in ("tickers", "rows", "problems"):
        assert ended.report[name] == fault_free.ended.report[name]
    assert tables.sums() == fault_free.sums
    assert tables.items(ended.report["run"]) == fault_free.items
    assert tables.runs() == {ended.report["run"]: "ok"}


def assert_kept(ended: Ended, tables: Tables) -> None:
    """Assert that every row that was called stored is in the table."""
    rows = tables.rows()
    assert {name: rows.get(name) for name in ended.acknowledged} == ended.acknowledged
    reported = {row[0] for row in tables.items(ended.report["run"]) if row[1] == "stored"}
    assert set(ended.acknowledged) >= reported


def hit_in_a_transaction(process: Process, tables: Tables, fault: Break) -> None:
    """Let ``fault`` happen when a first batch is stored, and a later one half."""
    process.wait_for("Stored")
    with prices_locked(tables):
        wait_until(lambda: tables.blocked_backend() is not None, "a transaction is under way")
        fault(tables)


@BREAKS
def test_the_run_completes_and_nothing_acknowledged_is_lost(
    fault: Break, lone_tables: Tables, lone_program: Program, fault_free: FaultFree
) -> None:
    with lone_program.start_run(ASKED) as process:
        hit_in_a_transaction(process, lone_tables, fault)
        ended = process.end()
    assert_kept(ended, lone_tables)
    complete_as(fault_free, ended, lone_tables)


def test_a_restart_while_fetching_goes_unnoticed(
    lone_tables: Tables, lone_program: Program, fmp: Fmp, fault_free: FaultFree
) -> None:
    with lone_program.start_run(ASKED) as process:
        wait_until(lambda: fmp.calls > 50, "calls")
        lone_tables.server.restart("fast")
        ended = process.end()
    complete_as(fault_free, ended, lone_tables)


def test_a_server_that_froze_and_went_on_completes_the_run(
    lone_tables: Tables, lone_program: Program, lone_postgres: PostgresServer, fault_free: FaultFree
) -> None:
    with lone_program.start_run(ASKED, postgres__timeout_s="1") as process:
        process.wait_for("Stored")
        lone_postgres.freeze()
        process.wait_for("waiting for PostgreSQL")
        lone_postgres.thaw()
        ended = process.end()
    assert len(ended.said("waiting for PostgreSQL")) <= 2  # for the tables, and for the lock
    assert_kept(ended, lone_tables)
    complete_as(fault_free, ended, lone_tables)


@pytest.mark.parametrize("gone", [PostgresServer.stop, PostgresServer.freeze])
def test_a_database_gone_for_good_ends_the_run_with_every_ticker_accounted_for(
    gone: Callable[[PostgresServer], None], lone_tables: Tables, lone_program: Program,
    lone_postgres: PostgresServer, fmp: Fmp, fault_free: FaultFree,
) -> None:  # fmt: skip
    settings = {"postgres__outage_s": "2", "postgres__timeout_s": "1", "fmp__concurrency": "8"}
    with lone_program.start_run(ASKED, **settings) as process:
        process.wait_for("Stored")
        gone(lone_postgres)
        calls = fmp.calls
        ended = process.end(30)
    # A batch, the queue and the calls in flight: more is not fetched into nowhere.
    assert fmp.calls <= calls + 250 + 2 * 8
    tickers = ended.report["tickers"]
    assert (ended.code, ended.report["status"]) == (3, "partial")
    assert tickers["stored"] >= 250
    assert tickers["failed"] + tickers["not_attempted"] == len(ASKED) - tickers["stored"]
    assert {kind for _, kind in ended.problems.values()} == {UNAVAILABLE}
    assert len(ended.problems) == tickers["failed"] + tickers["not_attempted"]
    assert tickers["failed"] > 0
    lone_postgres.thaw() if gone is PostgresServer.freeze else lone_postgres.start()
    assert set(lone_tables.rows()) >= set(ended.acknowledged)
    assert set(ended.acknowledged) | set(ended.problems) == set(ASKED)
    again = lone_program.run(ASKED)
    assert (again.code, again.report["status"]) == (0, "ok")
    assert lone_tables.sums() == fault_free.sums


@pytest.mark.parametrize("how", ["refused", "stopped", "frozen"])
def test_a_database_that_is_down_at_the_start_costs_no_call(
    how: str, lone_program: Program, lone_postgres: PostgresServer, fmp: Fmp
) -> None:
    if how == "stopped":
        lone_postgres.stop()
    elif how == "frozen":
        lone_postgres.freeze()
    else:
        lone_program.settings["DATABASE_URL"] = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    ended = lone_program.run(ASKED)
    assert ended.code == 4
    assert ended.seconds < 10
    assert fmp.calls == 0
    assert ended.report["tickers"]["not_attempted"] == len(ASKED)
    assert set(ended.problems.values()) == {("not_attempted", UNAVAILABLE)}
