"""What the state remembers of answers: the span that was asked for, successes and failures."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from collector.errors import Kind
from collector.market.plan import TickerState
from collector.market.timeframe import Timeframe
from collector.store.pool import Store
from collector.store.read import states
from tests.store.build import AT, FIRST, THROUGH, answer, bars, execute, hours, items_of, put, table

LATER = AT + timedelta(hours=1)
# Asked through and asked from of a second window, and what both together say was asked for. The
# first window is 2026-11-09 … 2026-11-20.
WINDOWS = {
    "the same again": ("2026-11-09", "2026-11-20", "2026-11-09", "2026-11-20"),
    "its end and more": ("2026-11-18", "2026-11-25", "2026-11-09", "2026-11-25"),
    "right after it": ("2026-11-23", "2026-11-30", "2026-11-09", "2026-11-30"),
    "after a week without a session": ("2026-11-27", "2026-11-30", "2026-11-09", "2026-11-30"),
    "after a gap": ("2026-11-28", "2026-11-30", "2026-11-28", "2026-11-30"),
    "inside it": ("2026-11-12", "2026-11-13", "2026-11-09", "2026-11-20"),
    "its beginning and before": ("2026-10-01", "2026-11-10", "2026-10-01", "2026-11-20"),
    "right before it": ("2026-10-01", "2026-11-06", "2026-10-01", "2026-11-20"),
    "before a gap": ("2026-10-01", "2026-11-01", "2026-11-09", "2026-11-20"),
    "all of it and more": ("2026-01-01", "2026-11-30", "2026-01-01", "2026-11-30"),
}


def midnight(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)


async def state_of(store: Store, ticker: str = "A") -> TickerState:
    return (await states(store, [ticker], Timeframe.DAY))[ticker]


@pytest.mark.parametrize(("begin", "through", "from_", "to"), WINDOWS.values(), ids=WINDOWS)
async def test_the_span_asked_for_grows_and_never_claims_a_gap(
    store_18: Store, begin: str, through: str, from_: str, to: str
) -> None:
    await put(store_18, bars("A"))
    second = replace(
        bars("A", days=0, at=LATER),
        asked_from=date.fromisoformat(begin),
        asked_through=midnight(through),
    )
    await put(store_18, second)
    state = await state_of(store_18)
    assert (state.asked_from, state.asked_through) == (date.fromisoformat(from_), midnight(to))
    newest = through >= "2026-11-20"
    assert state.asked_at == (LATER if newest else AT)  # an old window says nothing of today


async def test_a_success_from_the_future_gives_way(store: Store) -> None:
    ahead = replace(bars("A", at=AT + timedelta(days=300)), asked_through=midnight("2027-09-16"))
    await put(store, ahead)
    await put(store, bars("A"), run="r2")
    state = await state_of(store)
    assert (state.asked_through, state.asked_at) == (THROUGH, AT)


async def test_an_empty_answer_is_empty_and_moves_what_was_asked(store: Store) -> None:
    await put(store, bars("A"))
    nothing = replace(bars("A", days=0, at=LATER), asked_through=midnight("2026-11-23"))
    (stored,) = (await put(store, nothing, run="r2")).values()
    assert (stored.outcome, stored.kind, stored.rev) == ("empty", None, 1)
    state = await state_of(store)
    assert (state.asked_through, state.asked_at) == (midnight("2026-11-23"), LATER)
    assert state.last == datetime(2026, 11, 13, tzinfo=UTC)


async def test_a_ticker_of_empty_answers_alone_has_a_state_without_bars(store: Store) -> None:
    await put(store, bars("A", days=0))
    state = await state_of(store)
    assert (state.first, state.last, state.rev) == (None, None, 0)
    assert (state.asked_from, state.asked_through) == (FIRST, THROUGH)


async def test_a_rejected_answer_is_a_failure_that_was_asked_and_the_next_clears_it(
    store: Store,
) -> None:
    rejected = answer("A", "rejected", Kind.BAD_ROWS, "2 of 2 rows rejected")
    (stored,) = (await put(store, rejected)).values()
    assert (stored.outcome, stored.kind) == ("rejected", Kind.BAD_ROWS)
    assert await items_of(store, "r1") == [("A", "rejected", "bad_rows", "2 of 2 rows rejected")]
    errors = "SELECT last_error, last_error_at, failures FROM ticker_state WHERE timeframe = '1d'"
    assert await table(store, errors) == [("2 of 2 rows rejected", AT, 1)]
    assert (await state_of(store)).asked_through == THROUGH
    await put(store, answer("A", "rejected", Kind.BAD_ROWS, "again"), run="r2")
    assert await table(store, errors) == [("again", AT, 2)]
    await put(store, bars("A"), run="r3")
    assert await table(store, errors) == [(None, None, 0)]


async def test_good_and_failed_answers_share_a_batch(store: Store) -> None:
    failed = answer("B", "failed", Kind.NOT_FOUND, "FMP knows no bars")
    stored = await put(store, bars("C"), failed, bars("A"))
    assert list(stored) == ["A", "B", "C"]
    assert await items_of(store, "r1") == [
        ("A", "stored", None, ""),
        ("B", "failed", "not_found", "FMP knows no bars"),
        ("C", "stored", None, ""),
    ]


async def test_the_weeks_have_a_state_and_a_rev_of_their_own(store: Store) -> None:
    await put(store, bars("A", days=12))
    await put(store, bars("A", 11, days=1, first=FIRST + timedelta(days=14), at=LATER))
    sql = "SELECT timeframe, first_bar, last_bar, rev FROM ticker_state ORDER BY timeframe"
    first, week = (datetime.combine(FIRST + timedelta(days=n), datetime.min.time()) for n in (0, 7))
    last = first + timedelta(days=14)
    assert await table(store, sql) == [("1d", first, last, 2), ("1wk", first, week, 1)]


async def test_hourly_bars_have_a_state_and_touch_no_other_table(store: Store) -> None:
    assert (await put(store, hours("A"), hours("B", 20)))["B"].inserted == 7
    revised = await put(store, hours("A", 11, count=2, at=LATER), hours("B", 20), run="r2")
    assert [(one.revised, one.rev) for one in revised.values()] == [(2, 2), (0, 1)]
    state = (await states(store, ["A"], Timeframe.HOUR))["A"]
    assert (state.first, state.last) == (
        datetime(2026, 11, 9, 14, 30, tzinfo=UTC),
        datetime(2026, 11, 9, 20, 30, tzinfo=UTC),
    )
    revisions = "SELECT timeframe, bar, old_close, new_close FROM price_revisions ORDER BY bar"
    rows = [(row[0], str(row[1]), *row[2:]) for row in await table(store, revisions)]
    assert rows == [
        ("1h", "2026-11-09 14:30:00", 10.0, 11.0),
        ("1h", "2026-11-09 15:30:00", 10.0, 11.0),
    ]
    assert await table(store, "SELECT FROM daily_prices UNION ALL SELECT FROM weekly_prices") == []


async def test_of_rows_deleted_by_hand_the_state_says_so_and_the_next_run_restores(
    store: Store,
) -> None:
    await put(store, bars("A"), bars("B"))
    await execute(
        store,
        "DELETE FROM daily_prices WHERE ticker = 'A' AND date >= '2026-11-12'",
        "DELETE FROM daily_prices WHERE ticker = 'B'",
        "DELETE FROM ticker_state WHERE ticker = 'A'",
    )
    found = await states(store, ["A", "B", "C"], Timeframe.DAY)
    assert set(found) == {"A", "B"}
    assert (found["A"].last, found["A"].asked_through) == (midnight("2026-11-11"), None)
    assert (found["B"].first, found["B"].last, found["B"].rev) == (None, None, 1)
    again = await put(store, bars("A", at=LATER), bars("B", at=LATER), run="r2")
    assert {name: (one.inserted, one.rev) for name, one in again.items()} == {
        "A": (2, 1),
        "B": (5, 2),
    }


async def test_an_empty_batch_is_nothing(store_18: Store) -> None:
    assert await put(store_18) == {}
    assert await table(store_18, "SELECT FROM collector_commits") == []
