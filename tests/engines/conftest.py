"""Homes for engines, and commands that hold an engine in a process of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from collector.engines.place import Housing
from collector.engines.processes import listener_pid

HOLD = """
import asyncio, logging, signal, sys
from pathlib import Path
import uvloop
from collector.engines.place import Housing
from collector.engines.postgres import embedded_postgres
from collector.engines.redis import embedded_redis

async def main(engine, home):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    use = {"postgres": embedded_postgres, "redis": embedded_redis}[engine]
    async with use(home, housing=Housing("nobody", home / "fallback")) as address:
        print(address, flush=True)
        await stop.wait()

logging.basicConfig(level=logging.INFO)
uvloop.run(main(sys.argv[1], Path(sys.argv[2])))
"""


class Command:
    """A process that holds an engine until SIGTERM."""

    def __init__(self, engine: str, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, engine, str(home)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def address(self) -> str:
        """Return the engine's DSN or URL, when it is there."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, number: signal.Signals = signal.SIGTERM) -> str:
        """End the process by a signal and return what it logged."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=15)[1]


@pytest.fixture
def home() -> Iterator[Path]:
    """Lend a directory that every user can reach; what still listens in it is killed."""
    path = Path(tempfile.mkdtemp(prefix="ct-home-"))
    path.chmod(0o755)
    yield path
    for socket in (*path.rglob("run/.s.PGSQL.5432"), *path.rglob("run/redis.sock")):
        pid = listener_pid(socket)
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def housing(home: Path) -> Housing:
    """Return a housing that makes no user and leaves no file outside the home."""
    return Housing("nobody", home / "fallback")


@pytest.fixture
def command(home: Path) -> Iterator[Callable[[str], Command]]:
    """Start commands that hold an engine of ``home``; those still there at the end are killed."""
    started: list[Command] = []

    def start(engine: str) -> Command:
        started.append(Command(engine, home))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate(timeout=10)
