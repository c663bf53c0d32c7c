"""One process fetches at a time."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from collector.simulator.script import Rule
from tests.acceptance.program import World, end
from tests.servers import wait_until

RUN = ["run", "--timeframe", "1d", "--tickers", "AAPL"]


@contextmanager
def fetching(world: World) -> Iterator[subprocess.Popen[str]]:
    """Lend a run that is in the middle of a call which takes very long."""
    assert world.server is not None
    world.server.script(Rule(symbol="MSFT", delay_s=25))
    holder = world.start("run", "--timeframe", "1d", "--tickers", "MSFT", "--json")
    try:
        wait_until(lambda: len(world.calls()) > 0, "the holder fetches")
        yield holder
    finally:
        end(holder)
        world.server.script()


def test_a_second_one_exits_75_with_no_wait(world: World) -> None:
    with fetching(world):
        result = world.run(*RUN, "--no-wait", "--json", code=75)
        assert world.run("backfill", "AAPL", "--no-wait", code=75).out == ""
    assert result.json["status"] == "skipped"
    assert result.json["tickers"]["not_attempted"] == 1
    assert "collector" in result.err
    assert "fetching" in result.err
    assert world.calls() == []


def test_a_second_one_waits_says_for_whom_and_goes_on(world: World) -> None:
    with fetching(world) as holder:
        second = world.start(*RUN)
        assert second.stderr is not None
        try:
            told = next(line for line in second.stderr if "waiting for" in line)
            assert "collector" in told
            assert world.calls() == []
            holder.send_signal(signal.SIGTERM)
            out, _ = second.communicate(timeout=30)
        finally:
            end(second)
        assert second.returncode == 0
        assert "1 stored" in out
        report = json.loads(holder.communicate(timeout=10)[0])
        assert holder.returncode == 143
    assert report["status"] == "interrupted"
    assert [problem["kind"] for problem in report["problems"]] == ["cancelled"]
    calls = [entry.query["symbol"] for entry in world.calls()]
    assert calls == ["AAPL"]


def test_one_that_was_killed_leaves_no_lock_behind(world: World) -> None:
    with fetching(world) as holder:
        holder.kill()
        holder.wait(10)
        assert world.run(*RUN, "--no-wait", deadline_s=20).code == 0
    statuses = world.rows("SELECT asked[1] AS ticker, status FROM runs ORDER BY started_at")
    assert [tuple(row.values()) for row in statuses] == [("MSFT", "interrupted"), ("AAPL", "ok")]


def test_tickers_can_be_listed_and_shown_while_another_fetches(world: World) -> None:
    with fetching(world):
        assert "AAPL" in world.run("tickers", "add", "AAPL", "--json").out
        assert "AAPL" in world.run("tickers", "list").out.split()
