"""Redis may do what it wants: no row, no outcome, no exit code changes, and it costs seconds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.conftest import ASKED, FaultFree, NewProgram
from tests.faults.program import Ended, Program
from tests.faults.relay import Relay
from tests.faults.tables import Tables
from tests.faults.vendor import Fmp
from tests.servers import RedisServer, wait_until

ADDED_S = 5.0  # what a dead cache may cost
VALUES = 2 * len(ASKED)  # 1d and 1wk
MID_FETCH = len(ASKED) // 2
MID_PUBLISH = 500_000  # bytes: in the second pipeline of several

Break = Callable[[RedisServer], None]
BREAKS = pytest.mark.parametrize(
    "fault", [RedisServer.kill9, RedisServer.freeze], ids=lambda f: f.__name__
)


def same_as(fault_free: FaultFree, ended: Ended, tables: Tables) -> None:
    """Assert that the cache has changed nothing but its own counts."""
    report, expected = ended.report, fault_free.ended.report
    assert (ended.code, report["status"]) == (0, "ok")
    for name in ("tickers", "rows", "problems"):
        assert report[name] == expected[name]
    assert tables.sums() == fault_free.sums
    assert tables.items(report["run"]) == fault_free.items
    assert report["cache"]["published"] + report["cache"]["failed"] == VALUES
    assert ended.seconds < 2 * fault_free.ended.seconds + ADDED_S
    loud = [line for line in ended.log if line.level != "debug"]
    assert [line for line in loud if "cache" in (line.logger + line.message).lower()] == []


def test_a_fault_free_run_publishes_everything(fault_free: FaultFree) -> None:
    cache = fault_free.ended.report["cache"]
    assert (cache["published"], cache["failed"]) == (VALUES, 0)


@BREAKS
def test_redis_gone_before_the_run_changes_nothing(
    fault: Break, lone_redis: RedisServer, pg_dsn: str, fmp: Fmp,
    new_program: NewProgram, tables: Tables, fault_free: FaultFree,
) -> None:  # fmt: skip
    fault(lone_redis)
    ended = new_program(pg_dsn, lone_redis.url, fmp).run(ASKED)
    same_as(fault_free, ended, tables)
    assert ended.report["cache"]["published"] == 0


@BREAKS
def test_redis_gone_while_fetching_changes_nothing(
    fault: Break, lone_redis: RedisServer, pg_dsn: str, fmp: Fmp,
    new_program: NewProgram, tables: Tables, fault_free: FaultFree,
) -> None:  # fmt: skip
    process = new_program(pg_dsn, lone_redis.tcp_url, fmp).start_run(ASKED)
    wait_until(lambda: fmp.calls >= MID_FETCH, "half of the calls")
    fault(lone_redis)
    ended = process.end()
    same_as(fault_free, ended, tables)
    assert ended.report["cache"]["published"] == 0


@pytest.mark.parametrize(
    ("fault", "publish"),
    [
        (RedisServer.kill9, "together"),
        (RedisServer.freeze, "together"),
        (RedisServer.freeze, "as_stored"),
    ],
)
def test_redis_gone_in_the_middle_of_a_pipeline_changes_nothing(
    fault: Break, publish: str, lone_redis: RedisServer, pg_dsn: str, fmp: Fmp,
    new_program: NewProgram, tables: Tables, fault_free: FaultFree,
) -> None:  # fmt: skip
    path = lone_redis.root / "relay.sock"
    with Relay(path, lone_redis.socket, MID_PUBLISH, lambda: fault(lone_redis)) as relay:
        ended = new_program(pg_dsn, f"unix://{path}", fmp).run(ASKED, cache__publish=publish)
        assert relay.acted.is_set()
    same_as(fault_free, ended, tables)
    assert 0 < ended.report["cache"]["published"] < VALUES


def test_redis_gone_after_a_run_leaves_the_next_one_alone(
    lone_redis: RedisServer, pg_dsn: str, fmp: Fmp,
    new_program: NewProgram, tables: Tables, fault_free: FaultFree,
) -> None:  # fmt: skip
    program = new_program(pg_dsn, lone_redis.url, fmp)
    same_as(fault_free, program.run(ASKED), tables)
    lone_redis.kill9()
    again = program.run(ASKED)
    assert (again.code, again.report["tickers"]["unchanged"]) == (0, len(ASKED))
    assert again.report["cache"]["failed"] == VALUES
    assert tables.sums() == fault_free.sums
    lone_redis.start()
    assert program.run(ASKED).report["cache"]["published"] == VALUES


def test_redis_back_in_the_middle_of_a_run_is_published_to(
    lone_redis: RedisServer, pg_dsn: str, fmp: Fmp, new_program: NewProgram, tables: Tables,
    fault_free: FaultFree,
) -> None:  # fmt: skip
    lone_redis.stop()
    process = new_program(pg_dsn, lone_redis.url, fmp).start_run(ASKED)
    wait_until(lambda: fmp.calls >= MID_FETCH, "half of the calls")
    lone_redis.start()
    ended = process.end()
    same_as(fault_free, ended, tables)
    assert ended.report["cache"]["published"] == VALUES


def test_a_wrong_password_is_one_warning_and_nothing_else(
    program: Program, lone_redis: RedisServer, tables: Tables, fault_free: FaultFree
) -> None:
    lone_redis.call("CONFIG SET requirepass right")
    program.settings["REDIS_URL"] = f"unix://:wrong@{lone_redis.socket}"
    ended = program.run(ASKED)
    warned = ended.said("cache disabled")
    assert len(warned) == 1, (ended.log[:6], ended.report["cache"])
    assert "wrong" not in warned[0].replace("WRONGPASS", "")
    rest = [line for line in ended.log if line.message not in warned]
    same_as(fault_free, Ended(ended.code, ended.out, rest, ended.seconds, 0), tables)
