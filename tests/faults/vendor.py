"""The vendor of these tests: a small market, and the simulator that serves it from a thread.

The market's clock stands at a Saturday, so that what a run has to bring depends on no real date.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Self, TypeVar

import polars as pl

from collector.clock import clock
from collector.simulator.app import Simulator, SimulatorConfig
from collector.simulator.history import History
from collector.simulator.journal import Entry
from collector.simulator.quota import SlidingWindow
from collector.simulator.script import Rule

T = TypeVar("T")
NOW = datetime(2018, 2, 10, 12, 0, tzinfo=UTC)
FIRST, LAST = date(2018, 1, 8), date(2018, 2, 9)
HOLIDAY = date(2018, 1, 15)
SESSIONS = [
    day
    for day in (FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1))
    if day.weekday() < 5 and day != HOLIDAY
]
TICKERS = tuple(f"T{number:04d}" for number in range(1500))
DEADLINE_S = 10.0


def write_market(path: Path, tickers: Sequence[str] = TICKERS) -> Path:
    """Write a parquet file with a bar of every ticker for every session, all of them different."""
    frame = pl.DataFrame({"symbol": tickers}).with_row_index("place")
    rows = frame.join(pl.DataFrame({"date": SESSIONS}).with_row_index("session"), how="cross")
    price = 10.0 + pl.col("place") + pl.col("session") * 0.25
    rows.select(
        "symbol",
        "date",
        open=price,
        high=price + 0.75,
        low=price - 0.5,
        close=price + 0.125,
        volume=1000.0 * pl.col("session") + pl.col("place"),
    ).write_parquet(path)
    return path


class Fmp:
    """A simulator in a thread of its own, so that a test may block on what it does meanwhile."""

    def __init__(self, history: History, **config: float) -> None:
        self.simulator = Simulator(
            SimulatorConfig(history=history, clock=clock(NOW), **config)  # type: ignore[arg-type]
        )
        self.url = ""
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(DEADLINE_S), "the simulator does not serve"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._down.set)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        self._loop, self._down = asyncio.get_running_loop(), asyncio.Event()
        async with self.simulator.serve() as self.url:
            self._up.set()
            await self._down.wait()

    def _there(self, work: Callable[[], T]) -> T:
        async def call() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(DEADLINE_S)

    def script(self, *rules: Rule) -> None:
        """Put ``rules`` into force."""
        self._there(lambda: self.simulator.script(*rules))

    def enforce(self, *windows: SlidingWindow) -> None:
        """Refuse what is not within all of these ``windows``."""
        self._there(lambda: self.simulator._windows.extend(windows))

    @property
    def calls(self) -> int:
        """How many calls have come in."""
        return len(self.simulator.log)

    def entries(self) -> list[Entry]:
        """Every call so far, in the order of arrival."""
        return self._there(lambda: list(self.simulator.log))
