"""``collector simulator`` as a process."""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from collector.errors import UsageError
from collector.simulator import command
from tests.simulator.wire import DEADLINE_S, SLICE, get

ROOT = Path(__file__).parents[2]
PROGRAM = (
    "import argparse, asyncio, sys; from collector.simulator import command;"
    " parser = argparse.ArgumentParser(); command.add_arguments(parser);"
    " sys.exit(asyncio.run(command.main(parser.parse_args())))"
)
HEAVY = {"aiohttp", "polars", "numpy", "orjson", "exchange_calendars", "asyncio"}
FULL = "/historical-price-eod/full"


def parsed(*words: str) -> argparse.Namespace:
    """Return the options that a command line gives."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


@asynccontextmanager
async def running(*words: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Lend the process of the command, and the line that it printed; it is killed in the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, *words, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(2 * DEADLINE_S):
            line = await process.stdout.readline()
        yield process, line.decode().rstrip("\n")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_serves_until_it_is_told_to_stop(number: signal.Signals) -> None:
    async with running("--plan", "free", "--key", "mine") as (process, url):
        assert url.startswith("http://127.0.0.1:")
        assert url.endswith("/stable")
        assert (await get(url, f"{FULL}?symbol=AAPL", apikey="mine")).status == 200
        assert (await get(url, f"{FULL}?symbol=AAPL", apikey="other")).status == 401
        process.send_signal(number)
        async with asyncio.timeout(DEADLINE_S):
            assert await process.wait() == 0
        assert process.stdout is not None
        assert await process.stdout.read() == b""


async def test_replay_lives_at_the_instant_named() -> None:
    words = ["--replay", str(SLICE), "--now", "2018-02-08T06:00:00-05:00"]
    async with running(*words, "--requests-per-minute", "2", "--latency-ms", "1") as (_, url):
        answers = [await get(url, f"{FULL}?symbol=O", apikey="k") for _ in range(3)]
    assert orjson.loads(answers[0].body)[0]["date"] == "2018-02-07"
    assert [answer.status for answer in answers] == [200, 200, 429]


async def test_main_serves_within_a_loop_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    task = asyncio.create_task(command.main(parsed("--requests-per-minute", "7")))
    url = ""
    async with asyncio.timeout(DEADLINE_S):
        while not url:
            await asyncio.sleep(0)
            url = capsys.readouterr().out
    assert (await get(url.strip(), "/splits?symbol=AAPL", apikey="k")).status == 200
    signal.raise_signal(signal.SIGTERM)
    async with asyncio.timeout(DEADLINE_S):
        assert await task == 0


@pytest.mark.parametrize("content", [None, b"not a parquet file"])
async def test_file_that_cannot_be_replayed_is_a_usage_error(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "bars.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"cannot replay .*bars\.parquet"):
        await command.main(parsed("--replay", str(path)))


async def test_port_in_use_is_a_usage_error() -> None:
    server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}: .*in use"):
            await command.main(parsed("--port", str(port)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--now", "2018-02-08T06:00:00"], "lacks its offset"),
        (["--now", "yesterday"], "not an instant"),
        (["--requests-per-minute", "0"], "above 0"),
        (["--requests-per-minute", "many"], "above 0"),
        (["--plan", "gold"], "ultimate"),
    ],
)
def test_bad_option_is_refused_with_the_way_to_write_it(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(*words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_module_imports_nothing_heavy() -> None:
    program = "import sys, collector.simulator.command; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(done.stdout.split())
