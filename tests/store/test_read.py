"""The last bars of many tickers: in the order asked, in chunks, of one moment."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from collector.market.timeframe import Timeframe
from collector.store import read
from collector.store.pool import Store
from collector.store.read import LastBars, frame_of, last_bars
from tests.store.build import AT, bars, execute, hours, put


async def chunks(
    store: Store, tickers: list[str], n: int = 3, timeframe: Timeframe = Timeframe.DAY
) -> list[list[LastBars]]:
    return [chunk async for chunk in last_bars(store, tickers, timeframe, n)]


async def test_bars_come_in_the_order_asked_and_oldest_first(store: Store) -> None:
    await put(store, *(bars(name, 10 + n) for n, name in enumerate(("^GSPC", "A", "BRK-B"))))
    (chunk,) = await chunks(store, ["BRK-B", "NONE", "^GSPC", "A"])
    assert [one.ticker for one in chunk] == ["BRK-B", "^GSPC", "A"]
    assert frame_of(chunk[0]).equals(bars("BRK-B", 12).frame.tail(3))
    assert (chunk[0].rev, chunk[0].asked_at) == (1, AT)


async def test_tickers_come_in_chunks_of_which_one_may_be_empty(
    store_18: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "CHUNK", 2)
    await put(store_18, *(bars(name) for name in "ABCDE"))
    found = await chunks(store_18, ["E", "D", "X", "Y", "A"])
    assert [[one.ticker for one in chunk] for chunk in found] == [["E", "D"], [], ["A"]]
    assert await chunks(store_18, []) == []


async def test_no_connection_is_held_between_two_chunks(
    store_18: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "CHUNK", 1)
    await put(store_18, bars("A"), bars("B"))
    async for _ in last_bars(store_18, ["A", "B"], Timeframe.DAY, 1):
        assert store_18._pool.get_idle_size() == store_18._pool.get_size()


async def test_a_short_history_and_one_of_another_timeframe(store: Store) -> None:
    await put(store, bars("SHORT", days=2))
    await put(store, hours("H"))
    (daily,) = await chunks(store, ["SHORT", "H"], n=500)
    assert [(one.ticker, len(one.columns["close"])) for one in daily] == [("SHORT", 2)]
    (hourly,) = await chunks(store, ["SHORT", "H"], n=2, timeframe=Timeframe.HOUR)
    assert frame_of(hourly[0]).equals(hours("H").frame.tail(2))


async def test_rows_without_a_state_are_of_rev_nought(store: Store) -> None:
    await put(store, bars("A"))
    await execute(store, "DELETE FROM ticker_state")
    ((one,),) = await chunks(store, ["A"])
    assert (one.rev, one.asked_at, len(one.columns["open"])) == (0, None, 3)


async def test_the_rev_belongs_to_the_bars_while_they_are_rewritten(store: Store) -> None:
    await put(store, bars("A", 11))

    async def rewrite() -> None:
        for n in range(2, 25):
            await put(store, bars("A", 10 + n, at=AT + timedelta(seconds=n)), run=f"r{n}")

    writing, seen = asyncio.create_task(rewrite()), set()
    while not writing.done():
        ((one,),) = await chunks(store, ["A"])
        assert one.columns["close"] == [10.0 + one.rev] * 3
        seen.add(one.rev)
    await writing
    assert len(seen) > 1
