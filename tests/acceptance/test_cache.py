"""The keys and values that scanners read."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from tests.acceptance.bars import COLUMNS, stored
from tests.acceptance.program import MORNING, World, new_york

RUN = ["run", "--timeframe", "1d", "--tickers", "AAPL,MSFT"]
MEMBERS = [
    *("v", "rev", "ticker", "timeframe", "lookback", "rows", "published_at", "run", "through"),
    *("fresh_until", "bars"),
]
TABLES = {"1h": "hourly_prices", "1d": "daily_prices", "1wk": "weekly_prices"}
TTL_S = {"1h": 300, "1d": 3600, "1wk": 7200}
AFTERNOON = new_york("2025-03-05 14:40")


@pytest.fixture(scope="module")
def runs(scene: World) -> dict[str, dict[str, Any]]:
    """A daily run in the morning and an hourly one in the afternoon."""
    daily = scene.report(*RUN, at=MORNING)
    hourly = scene.report("run", "--timeframe", "1h", "--tickers", "AAPL,MSFT", at=AFTERNOON)
    return {"1d": daily, "1wk": daily, "1h": hourly}


def key_of(timeframe: str, ticker: str = "AAPL") -> str:
    return f"scanner:price:{ticker}:{timeframe}:500"


def test_the_keys_are_those_of_the_contract(scene: World, runs: dict[str, Any]) -> None:
    assert runs
    prices = {key_of(timeframe, name) for timeframe in TTL_S for name in ("AAPL", "MSFT")}
    found = {key for key in scene.keys() if key.startswith("scanner:")}  # noqa: SIM118
    assert found == prices | {"scanner:run:1d", "scanner:run:1h"}


def test_every_key_has_a_ttl(scene: World, runs: dict[str, Any]) -> None:
    assert runs
    ttls = scene.keys()
    assert all(ttl > 0 for ttl in ttls.values()), ttls


@pytest.mark.parametrize("timeframe", TTL_S)
def test_the_ttl_is_that_of_the_timeframe(
    scene: World, runs: dict[str, Any], timeframe: str
) -> None:
    assert runs
    assert TTL_S[timeframe] - 150 < scene.keys()[key_of(timeframe)] <= TTL_S[timeframe]


@pytest.mark.parametrize("timeframe", TTL_S)
def test_a_value_has_the_members_of_the_contract_in_its_order(
    scene: World, runs: dict[str, Any], timeframe: str
) -> None:
    value = scene.cached(key_of(timeframe))
    assert list(value) == MEMBERS
    instant = "ts" if timeframe == "1h" else "date"
    assert list(value["bars"]) == [instant, *COLUMNS]
    assert {name: value[name] for name in MEMBERS[2:6]} == {
        "ticker": "AAPL", "timeframe": timeframe, "lookback": 500, "rows": 500
    }  # fmt: skip
    assert value["v"] == 1
    assert value["run"] == runs[timeframe]["run"]


@pytest.mark.parametrize("timeframe", TTL_S)
@pytest.mark.parametrize("ticker", ["AAPL", "MSFT"])
def test_a_value_holds_the_last_bars_of_the_database(
    scene: World, runs: dict[str, Any], timeframe: str, ticker: str
) -> None:
    assert runs
    bars = scene.cached(key_of(timeframe, ticker))["bars"]
    rows = list(zip(*bars.values(), strict=True))
    expected = stored(scene, TABLES[timeframe], ticker)[-500:]
    assert [row[1:] for row in rows] == [row[1:] for row in expected]
    assert [datetime.fromisoformat(row[0]) for row in rows] == [
        row[0] if timeframe == "1h" else datetime(row[0].year, row[0].month, row[0].day)  # noqa: DTZ001
        for row in expected
    ]


def test_through_and_fresh_until_tell_how_fresh_a_value_is(
    scene: World, runs: dict[str, Any]
) -> None:
    assert runs
    told = {
        timeframe: (value["through"], value["fresh_until"])
        for timeframe in TTL_S
        for value in [scene.cached(key_of(timeframe))]
    }
    assert told["1d"] == ("2025-03-04", "2025-03-06T11:30:00Z")
    assert told["1wk"][0] == "2025-02-24"
    assert "2025-03-07T21:" < told["1wk"][1] < "2025-03-08T12:"
    assert told["1h"][0].startswith("2025-03-05T18:30:00")
    assert "2025-03-05T20:30:00Z" < told["1h"][1] < "2025-03-05T21:00:00Z"


def test_published_at_is_the_runs_instant_and_rev_that_of_the_state(
    scene: World, runs: dict[str, Any]
) -> None:
    for timeframe in TTL_S:
        value = scene.cached(key_of(timeframe))
        at = datetime.fromisoformat(value["published_at"])
        told = runs[timeframe]
        start, finish = (datetime.fromisoformat(told[f"{n}_at"]) for n in ("started", "finished"))
        assert start.replace(microsecond=0) <= at <= finish
        assert value["rev"] == scene.value(
            "SELECT rev FROM ticker_state WHERE ticker = 'AAPL' AND timeframe = $1", timeframe
        )


def test_rev_comes_early_so_that_getrange_can_read_it(scene: World, runs: dict[str, Any]) -> None:
    assert runs
    with scene.redis() as client:
        head = client.getrange(key_of("1d"), 0, 40)
    assert head.startswith(b'{"v":1,"rev":')
    assert b"," in head[13:]


def test_the_last_run_is_in_redis_as_its_report(scene: World, runs: dict[str, Any]) -> None:
    told = scene.cached("scanner:run:1d")
    assert told["run"] == runs["1d"]["run"]
    assert told["tickers"] == runs["1d"]["tickers"]
    assert told["status"] == "ok"


def test_round_trips_do_not_grow_with_the_tickers(runs: dict[str, Any]) -> None:
    cache = runs["1d"]["cache"]
    assert (cache["published"], cache["failed"]) == (4, 0)
    assert cache["round_trips"] <= 2 + 4 / 250
    assert cache["bytes"] > 40_000


def test_prefix_and_lookback_make_the_key_and_as_stored_publishes_too(scene: World) -> None:
    report = scene.report(
        *("run", "--timeframe", "1d", "--tickers", "KO,PEP,JPM"),
        at=MORNING,
        COLLECTOR_CACHE__KEY_PREFIX="mine:",
        COLLECTOR_CACHE__LOOKBACK="20",
        COLLECTOR_CACHE__PUBLISH="as_stored",
        COLLECTOR_CACHE__TTL_S='{"1h": 60, "1d": 120, "1wk": 180}',
    )
    assert report["cache"]["published"] == 6
    mine = {key: ttl for key, ttl in scene.keys().items() if key.startswith("mine:")}
    assert set(mine) == {"mine:run:1d"} | {
        f"mine:price:{name}:{tf}:20" for name in ("KO", "PEP", "JPM") for tf in ("1d", "1wk")
    }
    assert 60 < mine["mine:price:KO:1d:20"] <= 120
    value = scene.cached("mine:price:KO:1d:20")
    assert value["rows"] == value["lookback"] == len(value["bars"]["close"]) == 20


def test_caching_switched_off_writes_nothing(world: World) -> None:
    report = world.run(*RUN, "--json", at=MORNING, ENABLE_SCHEDULER_CACHING="false").json
    assert report["tickers"]["stored"] == 2
    assert report["cache"] == {"published": 0, "failed": 0, "round_trips": 0, "bytes": 0}
    assert world.keys() == {}


def test_a_cache_that_is_away_changes_no_row_and_no_exit_code(world: World) -> None:
    result = world.run(*RUN, "--json", at=MORNING, REDIS_URL="unix:///nowhere/redis.sock")
    report = result.json
    assert report["status"] == "ok"
    assert report["tickers"]["stored"] == 2
    assert (report["cache"]["published"], report["cache"]["failed"]) == (0, 4)
    assert "Failed to cache" not in result.err  # that is DEBUG
    assert world.value("SELECT count(DISTINCT ticker) FROM daily_prices") == 2


def test_warm_publishes_from_the_database_without_a_call(world: World) -> None:
    world.run("tickers", "add", "AAPL", "MSFT")
    world.run("run", "--timeframe", "1d", at=MORNING, ENABLE_SCHEDULER_CACHING="false")
    assert len(world.calls()) == 2
    told = world.run("warm", "--timeframe", "1d", "--json", at=MORNING).json
    assert told["published"] == 4
    assert world.calls() == []
    value = world.cached("scanner:price:AAPL:1d:500")
    assert value["run"] is None
    assert list(value) == MEMBERS
    assert value["bars"]["close"] == [r[4] for r in stored(world, "daily_prices", "AAPL")[-500:]]


def test_a_young_ticker_has_fewer_rows_and_no_nan(scene: World, runs: dict[str, Any]) -> None:
    assert runs
    words = ["backfill", "BA", "--since", "2025-02-03"]
    scene.run(*words, at=MORNING, COLLECTOR_CACHE__KEY_PREFIX="young:")
    with scene.redis() as client:
        raw = client.get("young:price:BA:1d:500").decode()
    value = json.loads(raw, parse_constant=lambda name: pytest.fail(name))
    assert value["rows"] == len(value["bars"]["date"]) == 21
    assert value["bars"]["date"][0] == "2025-02-03"
