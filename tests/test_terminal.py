"""What a person sees, and how the process is stopped and told the time."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collector.clock import clock
from collector.collect.report import Item, Outcome, Report, Status
from collector.commands import tickers_in
from collector.errors import Kind, UsageError
from collector.market.ticker import BadTicker
from collector.market.timeframe import Timeframe
from collector.signals import stop_on_signals
from collector.terminal import Lines, shown, summary

AT = datetime(2026, 11, 24, 11, tzinfo=UTC)
REPORT = Report(
    "r1",
    Timeframe.DAY,
    Status.PARTIAL,
    AT,
    AT + timedelta(seconds=3),
    3.0,
    {"asked": 30, "stored": 5, "failed": 25},
    {"fetched": 1234, "inserted": 1000, "revised": 1, "rejected": 2},
    {"calls": 31, "retries": 1, "throttled": 0, "bytes": 2_500_000},
    {"published": 10, "failed": 0, "round_trips": 2, "bytes": 240_000},
    tuple(Item(f"T{n}", Outcome.FAILED, Kind.SERVER, "503") for n in range(25)),
)


def test_the_summary_tells_the_sums_and_the_first_problems() -> None:
    lines = summary(REPORT).splitlines()
    assert lines[0] == "run r1: partial in 3.0 s"
    assert lines[1].endswith("30 asked, 5 stored, 25 failed")
    assert "1,234 fetched" in lines[2]
    assert "31 calls, 1 retries, 0 throttled, 2.5 MB" in lines[3]
    assert "10 published" in lines[4]
    assert lines[5].split() == [
        "failed",
        *["T0,", "T1,", "T2,", "T3,", "T4", "and", "20", "more:", "server:", "503"],
    ]
    assert len(lines) == 6
    assert "more" not in summary(replace(REPORT, problems=REPORT.problems[:3]))


def test_the_summary_says_why_redis_failed_and_how_to_go_on() -> None:
    text = summary(replace(REPORT, status=Status.INTERRUPTED, cache_reason="Connection refused"))
    assert "0 failed, 2 round trips, 0.2 MB (Redis: Connection refused)" in text
    assert text.endswith("the same command again goes on from here")


def test_the_summary_shows_so_many_different_problems_and_no_more() -> None:
    different = tuple(replace(each, message=each.ticker) for each in REPORT.problems)
    lines = summary(replace(REPORT, problems=different)).splitlines()
    assert len(lines) == 5 + 20 + 1
    assert lines[-1].strip().startswith("and 5 more problems")


def test_without_a_terminal_a_line_comes_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with shown() as progress:
        assert isinstance(progress, Lines)
        progress.start(4)
        progress.ended(Item("A", Outcome.STORED))
        assert not caplog.messages
        progress._last -= 11
        progress.ended(Item("B", Outcome.FAILED, Kind.SERVER, "503"))
        progress.phase("publishing")
    assert caplog.messages[0].startswith("2 of 4 tickers, 1 failed, ")
    assert caplog.messages[1] == "publishing"


def test_on_a_terminal_there_is_a_bar() -> None:
    script = (
        "from collector.terminal import shown\n"
        "from collector.collect.report import Item, Outcome\n"
        "with shown() as progress:\n"
        "    progress.start(2)\n"
        "    progress.ended(Item('A', Outcome.STORED))\n"
        "    progress.ended(Item('B', Outcome.NOT_ATTEMPTED))\n"
        "    progress.phase('publishing')\n"
    )
    ours, theirs = os.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen([sys.executable, "-c", script], stderr=theirs, env=environ) as process:
        os.close(theirs)
        written = b""
        while chunk := _read(ours):
            written += chunk
        assert process.wait(20) == 0
    os.close(ours)
    assert b"2/2" in written
    assert b"1 failed" in written
    assert b"publishing" in written


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # Linux says so when the other end is closed
        return b""


async def test_the_first_signal_is_an_event_and_ends_what_only_starts() -> None:
    with stop_on_signals() as stop:
        starting = asyncio.create_task(asyncio.sleep(30))
        stop.starting = starting
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            await stop.event.wait()
            with pytest.raises(asyncio.CancelledError):
                await starting
    assert stop.by == signal.SIGTERM


def test_the_second_signal_ends_the_process_at_once() -> None:
    script = (
        "import asyncio, os, signal\n"
        "from collector.signals import stop_on_signals\n"
        "async def main():\n"
        "    with stop_on_signals() as stop:\n"
        "        stop.starting = None\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        await stop.event.wait()\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        await asyncio.sleep(30)\n"
        "asyncio.run(main())\n"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=20, check=False).returncode == 130


def test_the_clock_is_now_or_ticks_on_from_where_it_starts() -> None:
    assert abs(clock()() - datetime.now(UTC)) < timedelta(seconds=5)
    replayed = clock(AT)
    first = replayed()
    assert AT <= first <= replayed() < AT + timedelta(seconds=5)


@pytest.mark.parametrize(
    ("text", "tickers"),
    [
        ("aapl\nMSFT\n", ["AAPL", "MSFT"]),
        ("# mine\nAAPL, MSFT BRK-B  # three\n\n^GSPC\nAAPL\n", ["AAPL", "MSFT", "BRK-B", "^GSPC"]),
        ("\ufeffAAPL\r\nMSFT\r\n", ["AAPL", "MSFT"]),
        ('Name,Symbol\n"Apple, Inc.",AAPL\nMicrosoft,MSFT\n', ["AAPL", "MSFT"]),
    ],
)
def test_a_file_of_tickers_is_read_whatever_separates_them(
    tmp_path: Path, text: str, tickers: list[str]
) -> None:
    path = tmp_path / "tickers.txt"
    path.write_text(text, encoding="utf-8", newline="")
    assert tickers_in(path) == tickers


def test_a_file_without_tickers_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "tickers.txt"
    with pytest.raises(UsageError, match="tickers\\.txt: No such file"):
        tickers_in(path)
    path.write_text("# none\n")
    with pytest.raises(UsageError, match="holds no ticker"):
        tickers_in(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not text in UTF-8"):
        tickers_in(path)
    path.write_text("AAPL'; DROP TABLE tickers\n")
    with pytest.raises(BadTicker, match="not a ticker"):
        tickers_in(path)
    with path.open("wb") as file:
        file.truncate(9 * 2**20)
    with pytest.raises(UsageError, match="larger than 8 MiB"):
        tickers_in(path)
