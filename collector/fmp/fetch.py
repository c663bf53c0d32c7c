"""All windows of one ticker, asked one by one, as one raw frame."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

import polars as pl

from collector.errors import Failed, Kind
from collector.fmp.classify import OldFrom
from collector.fmp.client import FmpClient
from collector.fmp.decode import decode
from collector.fmp.endpoints import EOD_ROWS, bars, bars_path
from collector.fmp.floors import Floor
from collector.market.bars import empty
from collector.market.plan import Window
from collector.market.sessions import EARLIEST
from collector.market.timeframe import Timeframe

LARGE = 1_000_000  # bytes; a larger body would keep the loop busy for 10 ms
TRUNCATED_IN_A_ROW = 10  # EOD answers: two hundred years


@dataclass(frozen=True)
class Answer:
    """The raw rows of all windows (see `collector.fmp.decode`), the oldest window first.

    ``asked_from`` is the first day that the rows speak of: the first window's, unless the plan
    reaches less far back; ``note`` then says so, for a warning.
    """

    frame: pl.DataFrame
    asked_from: date
    note: str = ""


@dataclass(frozen=True)
class _Asker:
    client: FmpClient
    ticker: str
    timeframe: Timeframe
    zone: ZoneInfo

    async def rows(self, window: Window, floor: Floor | None) -> pl.DataFrame:
        """The rows of ``window``; what a cap has cut off at its old end is asked again."""
        frames: list[pl.DataFrame] = []
        rest: Window | None = window
        while rest is not None and len(frames) < TRUNCATED_IN_A_ROW:
            frames.append(await self._call(rest, floor))
            rest = _cut_off(frames[-1], rest, self.timeframe)
        return pl.concat(reversed(frames))

    async def _call(self, window: Window, floor: Floor | None) -> pl.DataFrame:
        open_start = floor is not None and floor.hides(window)
        request = bars(self.ticker, self.timeframe, window, open_start=open_start)
        return await self.client.ask(request, self._decoder())

    def _decoder(self) -> Callable[[bytes], Awaitable[pl.DataFrame]]:
        async def read(body: bytes) -> pl.DataFrame:
            if len(body) > LARGE:
                return await asyncio.to_thread(decode, body, self.ticker, self.timeframe, self.zone)
            return decode(body, self.ticker, self.timeframe, self.zone)

        return read


async def fetch(
    client: FmpClient,
    ticker: str,
    timeframe: Timeframe,
    windows: tuple[Window, ...],
    zone: ZoneInfo,
) -> Answer:
    """Ask for ``windows``, oldest first, one call each.

    Where the plan does not reach back to the first of them, what it allows is asked for instead:
    five years, or else what FMP gives without ``from``. Raises `FetchError`.
    """
    path = bars_path(timeframe)
    asker = _Asker(client, ticker, timeframe, zone)
    floor = client.floors.of(path)
    while True:
        try:
            return await _above(asker, windows, floor)
        except OldFrom as refusal:
            message = str(refusal)
        lower = client.floors.refused(path, floor, windows[-1].end)
        if lower is None:
            raise Failed(Kind.PLAN, message)
        floor = lower


async def _above(asker: _Asker, windows: tuple[Window, ...], floor: Floor | None) -> Answer:
    allowed = windows if floor is None else floor.cut(windows)
    frames = [
        _of_window(await asker.rows(window, floor), window, asker, newest=window is allowed[-1])
        for window in allowed
    ]
    frame = pl.concat([empty(asker.timeframe), *frames])
    if floor is None or floor.day <= windows[0].start:
        return Answer(frame, windows[0].start)
    begins = _first_day(frame, asker.timeframe) if floor.is_open else floor.day
    begins = min(begins or windows[-1].end, windows[-1].end)
    return Answer(
        frame,
        begins,
        f"the FMP plan does not reach back to {windows[0].start}: history begins at {begins}",
    )


def _of_window(frame: pl.DataFrame, window: Window, asker: _Asker, *, newest: bool) -> pl.DataFrame:
    """Leave out the rows of other windows, which a server that ignores from and to sends again.

    Rows without a date or of no possible one stay, and those after the newest window: they are
    judged, and counted, with the others.
    """
    days = pl.col(asker.timeframe.instant)
    if asker.timeframe is Timeframe.HOUR:
        days = days.dt.convert_time_zone(str(asker.zone)).dt.date()
    within = (days >= window.start) & (pl.lit(newest) | (days < window.end))
    return frame.filter(within | days.is_null() | (days < EARLIEST))


def _cut_off(frame: pl.DataFrame, asked: Window, timeframe: Timeframe) -> Window | None:
    """What of ``asked`` a full EOD answer leaves out: FMP drops the oldest rows silently."""
    if timeframe is Timeframe.HOUR or frame.height < EOD_ROWS:
        return None
    first = _first_day(frame, timeframe)
    return Window(asked.start, first) if first and asked.start < first < asked.end else None


def _first_day(frame: pl.DataFrame, timeframe: Timeframe) -> date | None:
    column = frame.get_column(timeframe.instant)
    first = (column.dt.date() if timeframe is Timeframe.HOUR else column).min()
    return first if isinstance(first, date) else None
