"""The universe and the API's usage: small tables, each with a rule."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta

import pytest

from collector.errors import DatabaseRejected
from collector.market.timeframe import Timeframe
from collector.store import universe, usage
from collector.store.pool import Store
from tests.store.build import AT, execute, table

LATER = AT + timedelta(days=1)
TODAY = AT.date()


async def test_seeding_adds_what_was_never_there_and_says_so(store: Store) -> None:
    assert await universe.seed(store, ["MSFT", "^GSPC", "AAPL", "MSFT"], AT) == [
        "AAPL",
        "MSFT",
        "^GSPC",
    ]
    assert await universe.seed(store, ["AAPL", "BRK-B"], LATER) == ["BRK-B"]
    assert await universe.active(store, Timeframe.DAY) == ["AAPL", "BRK-B", "MSFT", "^GSPC"]


async def test_a_removed_ticker_stays_removed_by_a_seed_and_returns_by_an_add(store: Store) -> None:
    await universe.seed(store, ["A", "B"], AT)
    assert await universe.remove(store, ["A", "NONE"], LATER) == ["A"]
    assert await universe.remove(store, ["A"], LATER) == []
    assert await universe.seed(store, ["A", "B"], LATER) == []
    assert await universe.active(store, Timeframe.DAY) == ["B"]
    removed, kept = await universe.listed(store)
    assert (removed.ticker, removed.active, removed.removed_at) == ("A", False, LATER)
    assert (kept.active, kept.removed_at, kept.added_at) == (True, None, AT)
    again = LATER + timedelta(days=1)
    assert await universe.add(store, ["A", "B", "C"], again) == ["A", "C"]
    returned = (await universe.listed(store))[0]
    assert (returned.active, returned.added_at, returned.removed_at) == (True, again, None)


async def test_a_run_covers_the_tickers_of_its_timeframe(store: Store) -> None:
    await universe.seed(store, ["A", "B"], AT)
    await execute(store, "UPDATE tickers SET timeframes = '{1d}' WHERE ticker = 'A'")
    assert await universe.active(store, Timeframe.HOUR) == ["B"]
    assert await universe.active(store, Timeframe.WEEK) == ["A", "B"]  # made of daily bars
    assert (await universe.listed(store))[0].timeframes == (Timeframe.DAY,)


@pytest.mark.parametrize("name", ["a", "A B", "", "-A", "A" * 21, "É", "A'; DROP TABLE tickers"])
async def test_what_is_no_ticker_is_refused_with_all_of_its_batch(
    store_18: Store, name: str
) -> None:
    with pytest.raises(DatabaseRejected):
        await universe.add(store_18, ["GOOD", name], AT)
    assert await universe.listed(store_18) == []


async def test_usage_sums_up_by_day_also_from_several_at_once(store: Store) -> None:
    await asyncio.gather(*(usage.add(store, TODAY, 2, 100, 1) for _ in range(8)))
    await usage.add(store, TODAY + timedelta(days=1), 1, 5_000_000_000, 0)
    assert await table(store, "SELECT calls, bytes, refusals FROM api_usage ORDER BY day") == [
        (16, 800, 8),
        (1, 5_000_000_000, 0),
    ]


async def test_the_trailing_sum_covers_thirty_days_and_today(store: Store) -> None:
    assert await usage.trailing_bytes(store, AT) == 0
    for days_ago, received in ((-1, 1000), (0, 1), (29, 10), (30, 100)):
        await usage.add(store, TODAY - timedelta(days=days_ago), 1, received, 0)
    assert await usage.trailing_bytes(store, AT) == 11
    assert await usage.trailing_bytes(store, AT, days=1) == 1


async def test_a_day_is_a_row_of_its_own(store_18: Store) -> None:
    await usage.add(store_18, date(2026, 1, 1), 1, 1, 1)
    await usage.add(store_18, date(2026, 1, 2), 0, 0, 0)
    assert len(await table(store_18, "SELECT FROM api_usage")) == 2
