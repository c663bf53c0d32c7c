"""The engines of ``--demo`` outlive a killed command: the next one recovers them without a hand."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.program import Program
from tests.servers import wait_until

DEMO = ("run", "--timeframe", "1d", "--demo", "--json")


def processes_in(home: Path) -> list[str]:
    """The command lines that name ``home``: engines that still run."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended meanwhile
            continue
        if str(home) in line:
            lines.append(line)
    return lines


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Program]:
    """Lend a program without servers; what it started is killed after the test."""
    program = Program(tmp_path, {})
    yield program
    program.kill_all()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("instant", ["to fetch", "Stored"])
def test_a_killed_demo_is_recovered_by_the_next_one(instant: str, demo: Program) -> None:
    with demo.start(*DEMO) as process:
        process.wait_for(instant)
        process.send(signal.SIGKILL)
        assert process.end().code in (-signal.SIGKILL, 0)
    with demo.start(*DEMO) as process:
        ended = process.end()
    assert (ended.code, ended.report["status"]) == (0, "ok")
    tickers = ended.report["tickers"]
    assert tickers["stored"] + tickers["unchanged"] == tickers["asked"] == 50
    assert ended.report["cache"]["published"] == 100
    with demo.start("show", "AAPL", "--demo", "--json") as process:
        shown = process.end()
    assert (shown.code, bool(json.loads(shown.out))) == (0, True)
    wait_until(lambda: not processes_in(demo.home), "the engines end")
