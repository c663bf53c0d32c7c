"""Real bars with their real defects, replayed whole: what is stored, rejected and published."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from collector.simulator.app import SimulatorConfig
from collector.simulator.history import ReplayedBars
from tests.acceptance.bars import COLUMNS, Row, rows_of, weeks_of
from tests.acceptance.program import World, new_york, world_of
from tests.servers import PostgresServer, RedisServer

HERE = Path(__file__).parent
SLICE = HERE.parent / "fixtures/sp500_slice.parquet"
WHOLE = HERE.parents[2] / "shared/data/daily/sp500_kaggle_2018-02-09.parquet"
AT = new_york("2018-02-08 06:00")  # the file's last session is the day before
RUN = ["run", "--timeframe", "1d", "--tickers-file", "tickers.txt", "--json"]
absent = pytest.mark.skipif(not WHOLE.exists(), reason="../shared/data is not beside the project")


@pytest.fixture(
    scope="module", params=[SLICE, pytest.param(WHOLE, marks=absent)], ids=["slice", "whole"]
)
def replay(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: PostgresServer,
    redis_server: RedisServer,
) -> Iterator[Replay]:
    """Two runs over the tickers of a file, with all that they left behind."""
    config = SimulatorConfig(history=ReplayedBars(request.param))
    home = tmp_path_factory.mktemp("replay")
    with world_of(home, postgres_server, redis_server, config, AT) as world:
        yield Replay(world, pl.read_parquet(request.param))


class Replay:
    """A replay: the file's rows sorted out by the rules of the contract, and the two runs."""

    def __init__(self, world: World, file: pl.DataFrame) -> None:
        values = file.select(COLUMNS)
        ok = pl.all_horizontal(pl.col(COLUMNS).is_not_null())
        prices = ["open", "high", "low", "close"]
        bar = (pl.min_horizontal(prices) == pl.col("low")) & (
            pl.max_horizontal(prices) == pl.col("high")
        )
        assert values.select((pl.col("volume") >= 0).all()).item()
        self.good = file.filter(ok & bar)
        self.bad = file.filter(~(ok & bar).fill_null(value=False))
        self.tickers = sorted(file["symbol"].unique())
        (world.home / "tickers.txt").write_text("\n".join(self.tickers))
        self.world = world
        self.first = world.run(*RUN, at=AT)
        self.calls = len(world.calls())
        self.daily = self._rows("daily_prices")
        self.weekly = self._rows("weekly_prices")
        self.keys = world.keys()

    def _rows(self, table: str) -> dict[str, list[Row]]:
        rows = self.world.rows(f"SELECT * FROM {table} ORDER BY ticker, date")  # noqa: S608
        found: dict[str, list[Row]] = {}
        for row in rows:
            ticker, *values = row.values()
            found.setdefault(ticker, []).append(tuple(values))
        return found


def test_every_good_row_is_stored_as_the_file_has_it(replay: Replay) -> None:
    by_ticker = replay.good.partition_by("symbol", as_dict=True)
    expected = {str(name): rows_of(part) for (name,), part in by_ticker.items()}
    assert replay.daily == expected


def test_every_defective_row_is_rejected_with_its_reason(replay: Replay) -> None:
    report = replay.first.json
    assert report["rows"]["rejected"] == replay.bad.height > 0
    assert report["rows"]["inserted"] == replay.good.height
    assert report["rows"]["fetched"] == replay.good.height + replay.bad.height
    items = replay.world.rows("SELECT * FROM run_items WHERE run = $1", report["run"])
    messages = {row["ticker"]: row["message"] for row in items}
    for (ticker,), rows in replay.bad.partition_by("symbol", as_dict=True).items():
        message = messages[str(ticker)]
        assert f"{rows.height} of " in message
        missing = rows.filter(pl.any_horizontal(pl.col(COLUMNS).is_null())).height
        assert ("missing_value" in message) == (missing > 0)
        assert ("outside_low_high" in message) == (missing < rows.height)


def test_defective_rows_do_not_make_their_tickers_fail(replay: Replay) -> None:
    report = replay.first.json
    assert report["status"] == "ok"
    assert report["tickers"]["stored"] == report["tickers"]["asked"] == len(replay.tickers)
    items = replay.world.rows("SELECT outcome FROM run_items WHERE run = $1", report["run"])
    assert [row["outcome"] for row in items] == ["stored"] * len(replay.tickers)


def test_weeks_equal_a_resampling_by_pandas(replay: Replay) -> None:
    for ticker, rows in replay.daily.items():
        assert replay.weekly[ticker] == weeks_of(rows, date(2018, 2, 5)), ticker


def test_every_ticker_has_its_keys_with_their_ttl(replay: Replay) -> None:
    prices = {
        f"scanner:price:{ticker}:{timeframe}:500": ttl
        for ticker in replay.tickers
        for timeframe, ttl in (("1d", 3600), ("1wk", 7200))
    }
    assert set(replay.keys) == {*prices, "scanner:run:1d"}
    assert all(ttl - 200 < replay.keys[key] <= ttl for key, ttl in prices.items())


def test_the_values_hold_the_last_bars(replay: Replay) -> None:
    for ticker in replay.tickers[::25]:
        value = replay.world.cached(f"scanner:price:{ticker}:1d:500")
        rows = replay.daily[ticker][-500:]
        assert value["rows"] == len(rows)
        assert list(zip(*value["bars"].values(), strict=True)) == [
            (row[0].isoformat(), *row[1:]) for row in rows
        ]


def test_publishing_costs_few_round_trips(replay: Replay) -> None:
    cache: dict[str, Any] = replay.first.json["cache"]
    assert cache["published"] == 2 * len(replay.tickers)
    assert cache["round_trips"] <= 2 + cache["published"] / 250


def test_a_run_asks_once_per_ticker_and_a_second_one_not_at_all(replay: Replay) -> None:
    assert replay.calls == len(replay.tickers)
    second = replay.world.run(*RUN, at=AT).json
    assert replay.world.calls() == []
    assert second["api"]["calls"] == 0
    asked = second["tickers"]["asked"]
    # a ticker whose newest bar is missing or was rejected may be asked again after an hour
    assert second["tickers"]["unchanged"] == asked == len(replay.tickers)
    assert second["cache"]["published"] == 2 * asked
