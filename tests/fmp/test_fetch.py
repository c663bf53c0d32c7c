"""One ticker's windows, from the simulator and from servers with a mind of their own."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from collector.errors import Failed, Kind
from collector.fmp.client import FmpClient
from collector.fmp.decode import decode
from collector.fmp.endpoints import EOD, HOURLY, Request, bars
from collector.fmp.fetch import Answer, fetch
from collector.market.plan import Window, split
from collector.market.timeframe import Timeframe
from collector.simulator.app import Simulator, SimulatorConfig
from collector.simulator.plan import Plan
from tests.fmp.server import KEY, Scripted, Seen, asked, recorded, reply, rows

NEW_YORK = ZoneInfo("America/New_York")
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ELEVEN_YEARS = (Window(date(2015, 11, 23), date(2026, 11, 21)),)
OLD_FROM = reply(recorded("err_402_from_value.txt"), 402)


async def days(client: FmpClient, *windows: Window, ticker: str = "AAPL") -> Answer:
    """The end-of-day rows of ``ticker``."""
    return await fetch(client, ticker, Timeframe.DAY, windows or ELEVEN_YEARS, NEW_YORK)


def asked_for(seen: Seen) -> dict[str, str]:
    """The parameters of a request."""
    return dict(pair.split("=") for pair in seen.target.partition("?")[2].split("&"))


@pytest.mark.parametrize(
    ("ticker", "timeframe", "target"),
    [
        ("AAPL", Timeframe.DAY, f"{EOD}?symbol=AAPL&from=2026-01-02&to=2026-01-31"),
        ("^GSPC", Timeframe.DAY, f"{EOD}?symbol=%5EGSPC&from=2026-01-02&to=2026-01-31"),
        ("EUR=X", Timeframe.WEEK, f"{EOD}?symbol=EUR%3DX&from=2026-01-02&to=2026-01-31"),
        ("BRK-B", Timeframe.HOUR, f"{HOURLY}?symbol=BRK-B&from=2026-01-02&to=2026-01-31"),
    ],
)
def test_a_window_becomes_a_request(ticker: str, timeframe: Timeframe, target: str) -> None:
    """Half-open days become FMP's inclusive `from` and `to`."""
    window = Window(date(2026, 1, 2), date(2026, 2, 1))
    assert bars(ticker, timeframe, window).target == target
    open_start = bars(ticker, timeframe, window, open_start=True)
    assert open_start.target == target.replace("from=2026-01-02&", "")


def test_an_empty_window_is_a_mistake() -> None:
    """FMP would answer a reversed intraday range with the day of `to`."""
    with pytest.raises(ValueError, match="empty window"):
        bars("A", Timeframe.HOUR, Window(date(2026, 1, 2), date(2026, 1, 2)))
    assert Request("x").target == "x?"


async def test_daily_history_from_the_simulator() -> None:
    """One call brings eleven years."""
    simulator = Simulator(SimulatorConfig(clock=lambda: NOW))
    async with simulator.serve() as url, FmpClient(url, KEY, requests_per_minute=None) as client:
        answer = await days(client)
    assert (answer.asked_from, answer.note, client.usage.calls) == (date(2015, 11, 23), "", 1)
    assert 2_700 < answer.frame.height < 2_800
    assert answer.frame.get_column("date").max() == date(2026, 11, 20)
    assert answer.frame.null_count().sum_horizontal().item() == 0


async def test_hourly_history_from_the_simulator() -> None:
    """Two windows, two calls, the older one first; stamps are instants in UTC."""
    windows = split(Window(date(2026, 7, 27), date(2026, 11, 21)), Timeframe.HOUR)
    simulator = Simulator(SimulatorConfig(clock=lambda: NOW))
    async with simulator.serve() as url, FmpClient(url, KEY, requests_per_minute=None) as client:
        answer = await fetch(client, "AAPL", Timeframe.HOUR, windows, NEW_YORK)
    stamps = answer.frame.get_column("ts")
    assert (len(windows), client.usage.calls) == (2, 2)
    assert stamps.n_unique() == len(stamps) > 500
    assert stamps.min() == datetime(2026, 7, 27, 13, 30, tzinfo=UTC)
    assert stamps.max() == datetime(2026, 11, 20, 20, 30, tzinfo=UTC)


async def test_a_plan_of_five_years_is_found_out_once() -> None:
    """Then no ticker asks for more, and each says where its history begins."""
    plan = Plan(history_years=5)
    simulator = Simulator(SimulatorConfig(clock=lambda: NOW, plan=plan))
    async with simulator.serve() as url, FmpClient(url, KEY, requests_per_minute=None) as client:
        first = await days(client)
        second = await days(client, ticker="MSFT")
        recent = await days(client, Window(date(2026, 11, 2), date(2026, 11, 21)))
    begins = date(2026, 11, 21) - timedelta(days=1_820)
    assert first.asked_from == second.asked_from == begins
    assert (
        first.note == f"the FMP plan does not reach back to 2015-11-23: history begins at {begins}"
    )
    assert 1_240 < first.frame.height < 1_265
    assert (recent.asked_from, recent.note) == (date(2026, 11, 2), "")
    assert client.usage.calls == 2 + 1 + 1


async def test_a_plan_of_unknown_depth_is_asked_without_from() -> None:
    """The answer tells where it begins, and other tickers ask the same way at once."""

    def only_without_from(seen: Seen) -> bytes:
        asked = asked_for(seen)
        return (
            OLD_FROM
            if "from" in asked
            else reply(rows(asked["symbol"], "2026-11-20", "2026-08-03"))
        )

    server = Scripted(only_without_from)
    async with asked(server) as client:
        first = await days(client)
        second = await days(client, ticker="MSFT")
    assert first.asked_from == second.asked_from == date(2026, 8, 3)
    assert "history begins at 2026-08-03" in second.note
    assert ["from" in asked_for(seen) for seen in server.seen] == [True, True, False, False]


async def test_a_plan_that_refuses_any_history_fails_the_ticker() -> None:
    """After three ways to ask."""
    server = Scripted(lambda _: OLD_FROM)
    async with asked(server) as client:
        with pytest.raises(Failed) as caught:
            await days(client)
        assert len(server.seen) == 3
    assert caught.value.kind is Kind.PLAN


async def test_windows_below_the_floor_cost_no_call() -> None:
    """A backfill goes on backwards until nothing comes."""

    def five_years(seen: Seen) -> bytes:
        asked = asked_for(seen)
        return OLD_FROM if asked["from"] < "2021-11-23" else reply(rows("AAPL", "2026-11-20"))

    server = Scripted(five_years)
    older = Window(date(2002, 1, 1), date(2015, 11, 23))
    async with asked(server) as client:
        await days(client)
        calls = client.usage.calls
        answer = await days(client, older)
        both = await days(client, older, *ELEVEN_YEARS)
    assert answer.frame.height == 0
    assert answer.asked_from == date(2015, 11, 23)
    assert both.frame.height == 1
    assert both.asked_from == date(2026, 11, 21) - timedelta(days=1_820)
    assert client.usage.calls == calls + 1


async def test_a_newer_floor_replaces_one_learnt_from_an_old_window() -> None:
    """What an old window taught must not condemn a newer one."""

    def five_years(seen: Seen) -> bytes:
        first = asked_for(seen).get("from", "")
        return reply(rows("AAPL", "2026-11-20")) if first >= "2021-11-23" else OLD_FROM

    async with asked(Scripted(five_years)) as client:
        with pytest.raises(Failed):
            await days(client, Window(date(1990, 1, 1), date(2000, 1, 1)))
        answer = await days(client)
    assert answer.frame.height == 1
    assert answer.asked_from == date(2026, 11, 21) - timedelta(days=1_820)


async def test_what_another_ticker_learns_meanwhile_counts() -> None:
    """Two tickers are refused at once; the second does not lower the floor any further."""

    def five_years(seen: Seen) -> bytes:
        asked = asked_for(seen)
        return (
            OLD_FROM if asked["from"] < "2021-11-23" else reply(rows(asked["symbol"], "2026-11-20"))
        )

    async with asked(Scripted(five_years)) as client:
        both = await asyncio.gather(days(client), days(client, ticker="MSFT"))
    assert {answer.asked_from for answer in both} == {date(2026, 11, 21) - timedelta(days=1_820)}
    assert client.usage.calls == 4


async def test_what_the_row_cap_cut_off_is_asked_again() -> None:
    """FMP drops the oldest rows silently: the rest ends where the answer begins."""
    last = date(2026, 11, 20)
    all_days = [last - timedelta(days=n) for n in range(12_000)]

    def capped(seen: Seen) -> bytes:
        asked = asked_for(seen)
        found = [str(day) for day in all_days if asked["from"] <= str(day) <= asked["to"]]
        return reply(rows("AAPL", *found[:5_000]))

    async with asked(Scripted(capped)) as client:
        answer = await days(client, Window(all_days[-1], date(2026, 11, 21)))
    found = answer.frame.get_column("date")
    assert client.usage.calls == 3
    assert sorted(found) == sorted(all_days)
    assert found[-1] == last - timedelta(days=4_999)  # the oldest part stands first


async def test_a_full_answer_that_brings_nothing_older_ends_the_asking() -> None:
    """A server that ignores `to` would be asked for ever."""
    body = reply(rows("AAPL", *["2026-11-20"] * 5_000))
    async with asked(Scripted(lambda _: body)) as client:
        answer = await days(client, Window(date(2026, 11, 20), date(2026, 11, 21)))
        assert (client.usage.calls, answer.frame.height) == (1, 5_000)
        deeper = await days(client)
    assert client.usage.calls == 3
    assert deeper.frame.height == 10_000


async def test_a_large_body_is_read_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the other calls go on meanwhile."""
    threads: list[str] = []

    def noted(body: bytes, ticker: str, timeframe: Timeframe, zone: ZoneInfo) -> object:
        threads.append(threading.current_thread().name)
        return decode(body, ticker, timeframe, zone)

    monkeypatch.setattr("collector.fmp.fetch.decode", noted)
    large = reply(rows("AAPL", "2026-11-20")[:-1] + b" " * 1_000_000 + b"]")
    server = Scripted(lambda seen: large if seen.number == 1 else reply(rows("AAPL", "2026-11-20")))
    async with asked(server) as client:
        assert (await days(client)).frame.height == 1
        assert (await days(client)).frame.height == 1
    assert threads[0] != threading.main_thread().name == threads[1]


async def test_a_body_that_cannot_be_read_is_asked_again() -> None:
    """Good ends, broken middle."""
    good = rows("AAPL", "2026-11-20")
    broken = b"[" + b"x" * 5_000 + b"]"
    server = Scripted(lambda seen: reply(broken if seen.number == 1 else good))
    async with asked(server) as client:
        assert (await days(client)).frame.height == 1
    assert client.usage.retries == 1
