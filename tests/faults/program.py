"""The whole program as a process, watched and hit from outside only."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from tests.faults.vendor import NOW
from tests.servers import wait_until

RUN_S = 35.0  # no process of these tests lives longer: a test fails before its own time is up
OURS = re.compile(r"COLLECTOR_|FMP_|DATABASE_URL|REDIS_|ENABLE_SCHEDULER_CACHING")
STORED = re.compile(r"(\S+): Stored (\d+) (?:daily|hourly) records")
BETWEEN_STARTS = timedelta(minutes=90)  # what the clock of each process is ahead of the last one's


@dataclass(frozen=True)
class Line:
    """A line of the log."""

    level: str
    logger: str
    message: str


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    code: int
    out: str
    log: list[Line]
    seconds: float
    peak_mb: float

    @property
    def report(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        document: dict[str, Any] = json.loads(self.out)
        return document

    @property
    def problems(self) -> dict[str, tuple[str, str]]:
        """Outcome and kind of each problem, by ticker."""
        rows = self.report["problems"]
        assert len({row["ticker"] for row in rows}) == len(rows)
        return {row["ticker"]: (row["outcome"], row["kind"]) for row in rows}

    @property
    def acknowledged(self) -> dict[str, int]:
        """The rows that the log called stored, by ticker."""
        found = [STORED.fullmatch(line.message) for line in self.log]
        return {match[1]: int(match[2]) for match in found if match}

    def said(self, text: str) -> list[str]:
        """The messages that hold ``text``."""
        return [line.message for line in self.log if text in line.message]


class Process:
    """A running collector. It is killed at the end of the ``with`` block, if it is still there."""

    def __init__(self, words: Sequence[str], environment: dict[str, str], home: Path) -> None:
        self._paths = [home / "out", home / "err"]
        self.began_at = time.monotonic()
        self._ended: Ended | None = None
        with self._paths[0].open("wb") as out, self._paths[1].open("wb") as err:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "collector", *words],
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def log(self) -> list[Line]:
        """The lines written so far, but a line that is not complete."""
        text = self._paths[1].read_text(errors="replace")
        return [_line(row) for row in text[: text.rfind("\n") + 1].splitlines()]

    def says(self, text: str) -> bool:
        """Tell whether the log holds ``text`` by now."""
        return text in self._paths[1].read_text(errors="replace")

    def wait_for(self, text: str) -> None:
        """Return when the log holds ``text``."""
        wait_until(lambda: self.says(text) or self.is_over, f"the log says {text!r}", RUN_S)
        assert self.says(text), self._paths[1].read_text()[-2000:]

    @property
    def is_over(self) -> bool:
        """Whether the process has ended."""
        return self._reaped(os.WNOHANG) is not None

    @property
    def age_s(self) -> float:
        """How long ago the process was started."""
        return time.monotonic() - self.began_at

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        if self._ended is None:
            os.kill(self.pid, number)

    def end(self, deadline_s: float = RUN_S) -> Ended:
        """Return how the process ended; an assertion fails if it takes longer."""
        wait_until(lambda: self.is_over, "the collector ends", deadline_s, step_s=0.01)
        assert self._ended is not None
        return self._ended

    def stop(self, number: signal.Signals, deadline_s: float = RUN_S) -> Ended:
        """Send a signal and return how the process ended."""
        self.send(number)
        return self.end(deadline_s)

    def _reaped(self, options: int) -> Ended | None:
        if self._ended is None:
            pid, status, usage = os.wait4(self.pid, options)
            if pid:
                self._popen.returncode = code = os.waitstatus_to_exitcode(status)
                took_s = time.monotonic() - self.began_at
                out = self._paths[0].read_text()
                self._ended = Ended(code, out, self.log, took_s, usage.ru_maxrss / 1024)
        return self._ended

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._ended is None:
            os.kill(self.pid, signal.SIGKILL)
            self._reaped(0)


@dataclass
class Program:
    """Starts collectors with settings. Each one's clock is later than the last one's."""

    home: Path
    settings: dict[str, str]
    _started: int = 0
    _processes: list[Process] = field(default_factory=list)

    def start(self, *words: str, **settings: str) -> Process:
        """Start ``collector words``; ``section__name="value"`` changes a setting for it."""
        own = {name: value for name, value in os.environ.items() if not OURS.match(name)}
        starts_at = NOW + BETWEEN_STARTS * self._started
        self._started += 1
        directory = self.home / f"run-{self._started}"
        directory.mkdir()
        told = {
            "COLLECTOR_CLOCK__STARTS_AT": starts_at.isoformat(),
            "COLLECTOR_LOG__FORMAT": "json",
            "COLLECTOR_DATA_DIR": str(self.home / "data"),
            **self.settings,
            **{f"COLLECTOR_{name.upper()}": value for name, value in settings.items()},
        }
        self._processes.append(Process(words, own | told, directory))
        return self._processes[-1]

    def start_run(self, tickers: Sequence[str], *words: str, **settings: str) -> Process:
        """Start ``collector run --timeframe 1d --json`` for ``tickers``."""
        path = self.home / f"tickers-{self._started}"
        path.write_text("\n".join(tickers))
        line = ("run", "--timeframe", "1d", "--json", "--tickers-file", str(path))
        return self.start(*line, *words, **settings)

    def run(self, tickers: Sequence[str], *words: str, **settings: str) -> Ended:
        """Do a run to its end."""
        with self.start_run(tickers, *words, **settings) as process:
            return process.end()

    def kill_all(self) -> None:
        """Kill what still runs."""
        for process in self._processes:
            process.__exit__()


def _line(row: str) -> Line:
    try:
        fields: dict[str, str] = json.loads(row)
    except json.JSONDecodeError:
        return Line("raw", "", row)
    return Line(fields["level"], fields["logger"], fields["message"])


def instants(process: Process, seconds: float) -> Iterator[float]:
    """Yield once, ``seconds`` after the start of ``process`` or at its end."""
    at = process.began_at + seconds
    wait_until(lambda: process.is_over or time.monotonic() >= at, "the instant", RUN_S, 0.005)
    yield at
